"""What all DICOM results share: equipment, codes, times, and how arrays become frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, ContributingEquipment
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from moeclip_med._version import __version__
from moeclip_med.results.dicom.character_sets import UTF_8
from moeclip_med.results.dicom.citing import cite
from moeclip_med.results.dicom.identity import CODING_SCHEME, MANUFACTURER, Identity
from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.dicom.placeholders import take_out_positions
from moeclip_med.results.notes import RESEARCH_USE
from moeclip_med.scoring.review import Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.results.formats import ResultFormat
    from moeclip_med.scoring.anomaly import Finding

ANOMALY_SCORE = CodedConcept("ANOMALY_SCORE", CODING_SCHEME, "Anomaly score")
INTENSITY = CodedConcept("INTENSITY", CODING_SCHEME, "Intensity in the image's own unit")
LONG_AXIS = codes.SCT.LongAxis
SHORT_AXIS = codes.SCT.ShortAxis
PIXEL_COUNT = CodedConcept("PIXEL_COUNT", CODING_SCHEME, "Number of pixels")
THRESHOLD = CodedConcept("SCORE_THRESHOLD", CODING_SCHEME, "Threshold of the anomaly score")
FINDING_COUNT = CodedConcept("FINDING_COUNT", CODING_SCHEME, "Number of findings")
INTENDED_USE = CodedConcept("INTENDED_USE", CODING_SCHEME, "Intended use")
RESEARCH_ONLY = CodedConcept("RESEARCH_ONLY", CODING_SCHEME, RESEARCH_USE.rstrip("."))
THRESHOLD_STATE = CodedConcept("THRESHOLD_STATE", CODING_SCHEME, "State of the threshold")
UNCALIBRATED = CodedConcept("UNCALIBRATED", CODING_SCHEME, "Uncalibrated")
READER_DECISION = CodedConcept("READER_DECISION", CODING_SCHEME, "Decision of the reader")
DECISIONS = {
    decision: CodedConcept(decision.name, CODING_SCHEME, meaning)
    for decision, meaning in (
        (Decision.OPEN, "Not decided"),
        (Decision.ACCEPTED, "Accepted"),
        (Decision.REJECTED, "Rejected"),
    )
}
OUTLINE_STATE = CodedConcept("OUTLINE_STATE", CODING_SCHEME, "State of the outline")
EDITED = CodedConcept("EDITED", CODING_SCHEME, "Edited by the reader")
DRAWN = CodedConcept("DRAWN", CODING_SCHEME, "Drawn by the reader")
COMPLETENESS = CodedConcept("COMPLETENESS", CODING_SCHEME, "Completeness of scoring")
STOPPED_EARLY = CodedConcept("STOPPED_EARLY", CODING_SCHEME, "Stopped early")

ABNORMAL_STRUCTURE = codes.SCT.MorphologicallyAbnormalStructure
"""What a finding is called: the least that can be said (SCT 49755003, in CID 7150); no diagnosis is implied."""


def to_frames(array: NDArray[Any]) -> NDArray[Any]:
    """(x, y, z) as (frame, row, column): for DICOM input x counts columns, y rows and z slices."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def coded_site(finding: Finding) -> CodedConcept | None:
    """Return where in the body a finding lies, if a reader or user said so by a code."""
    site = None if finding.review is None else finding.review.site
    return None if site is None or not site.code else CodedConcept(site.code, site.scheme, site.meaning)


def algorithm_text(identity: Identity) -> str:
    """Return the algorithm with its version in one line of at most 64 characters."""
    return f"MoECLIP {identity.model} {identity.model_version} ({identity.model_sha256[:12]})"[:64]


def series_arguments(identity: Identity, fmt: ResultFormat, result: str = "") -> dict[str, Any]:
    """Return series and equipment of a result, as highdicom's constructors name them.

    Args:
        identity: Who made it.
        fmt: What kind of result it is.
        result: What its identifiers are made from, where that is more than the format.
    """
    return {
        "series_instance_uid": identity.series_uid(result or fmt.value),
        "series_number": OBJECTS[fmt].series_number,
        "series_description": OBJECTS[fmt].series_description,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": identity.model,
        "software_versions": __version__,
        "device_serial_number": identity.model_sha256[:16],
        "content_date": identity.content_time.date(),
        "content_time": identity.content_time.time(),
        "contributing_equipment": [contributing_equipment(identity)],
    }


def algorithm(identity: Identity) -> AlgorithmIdentificationSequence:
    """The algorithm with its version and parameters (PS3.3, 10.16)."""
    return AlgorithmIdentificationSequence(
        name=f"MoECLIP {identity.model}",
        family=codes.DCM.ArtificialIntelligence,
        version=f"{identity.model_version} ({identity.model_sha256[:12]})",
        source=MANUFACTURER,
        parameters=identity.parameters,
    )


def contributing_equipment(identity: Identity) -> ContributingEquipment:
    """The program as processing equipment: where objects without an algorithm sequence tell model and settings."""
    return ContributingEquipment(
        MANUFACTURER,
        codes.DCM.ProcessingEquipment,
        manufacturer_model_name=identity.model,
        software_versions=__version__,
        device_serial_number=identity.model_sha256[:16],
        contribution_datetime=identity.created,
        contribution_description=identity.description(),
    )


def finish(dataset: Dataset, identity: Identity, result: str, sources: Sources) -> None:
    """Complete an object that highdicom made from placeholders, and make it the same for every run.

    Args:
        dataset: The object; changed in place.
        identity: Who made it.
        result: The kind of result, as in `Identity.series_uid`.
        sources: What it was made from.
    """
    dataset.update(sources.subject)
    if not all(str(element.value).isascii() for element in sources.subject.iterall()):  # our own texts are ASCII
        dataset.SpecificCharacterSet = UTF_8
    for equipment in dataset.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = identity.created
    if "DimensionIndexSequence" in dataset:
        _set_dimension_uid(dataset, identity.other_uid(f"dimensions {result}"))
        if not sources.has_position:
            take_out_positions(dataset)
    if "FrameOfReferenceUID" in dataset:
        dataset.PositionReferenceIndicator = sources.image.PositionReferenceIndicator
    if "LossyImageCompression" in dataset:
        _copy_compression(dataset, sources)
    cite(dataset, sources.citation_of_stand_in)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        dataset.SourceImageSequence = sources.references()
    if "ReferencedSeriesSequence" in dataset:
        dataset.ReferencedSeriesSequence = sources.referenced_series()
    when = identity.content_time
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = when.date(), when.time()


def _set_dimension_uid(dataset: Dataset, uid: str) -> None:
    """Replace the random identifier of the dimensions."""
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid


def _copy_compression(dataset: Dataset, sources: Sources) -> None:
    """State the lossy compression of the source, which all that is made from its pixels inherits (C.7.6.1.1.5)."""
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in sources.image:
            dataset[keyword] = sources.image[keyword]
