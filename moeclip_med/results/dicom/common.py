"""What all DICOM results share: equipment, codes, times, and how arrays become frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, ContributingEquipment
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from moeclip_med._version import __version__
from moeclip_med.results.dicom.identity import CODING_SCHEME, MANUFACTURER, Identity
from moeclip_med.results.dicom.unplaced import take_out_stand_ins
from moeclip_med.results.formats import ResultFormat
from moeclip_med.results.notes import RESEARCH_USE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from moeclip_med.results.dicom.sources import Sources

SERIES_NUMBERS = {ResultFormat.SEG: 9101, ResultFormat.PM: 9102, ResultFormat.SR: 9103, ResultFormat.SC: 9104}
"""Numbers that sort the results behind what a scanner makes."""

SERIES_DESCRIPTIONS = {
    ResultFormat.SEG: "Anomaly findings (research)",
    ResultFormat.PM: "Anomaly scores (research)",
    ResultFormat.SR: "Anomaly measurements (research)",
    ResultFormat.SC: "Anomaly overlay (research)",
}

_DEIDENTIFICATION = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
"""What goes with `PatientIdentityRemoved` (PS3.3, C.7.1.1), which highdicom copies alone."""

_LATERALITY = frozenset({ResultFormat.PM, ResultFormat.SC})
"""Objects whose general series module asks for the side of a paired organ (PS3.3, C.7.3.1): empty where unknown."""

ANOMALY_SCORE = CodedConcept("ANOMALY_SCORE", CODING_SCHEME, "Anomaly score")
PIXEL_COUNT = CodedConcept("PIXEL_COUNT", CODING_SCHEME, "Number of pixels")
THRESHOLD = CodedConcept("SCORE_THRESHOLD", CODING_SCHEME, "Threshold of the anomaly score")
FINDING_COUNT = CodedConcept("FINDING_COUNT", CODING_SCHEME, "Number of findings")
INTENDED_USE = CodedConcept("INTENDED_USE", CODING_SCHEME, "Intended use")
RESEARCH_ONLY = CodedConcept("RESEARCH_ONLY", CODING_SCHEME, RESEARCH_USE.rstrip("."))
THRESHOLD_STATE = CodedConcept("THRESHOLD_STATE", CODING_SCHEME, "State of the threshold")
UNCALIBRATED = CodedConcept("UNCALIBRATED", CODING_SCHEME, "Uncalibrated")
COMPLETENESS = CodedConcept("COMPLETENESS", CODING_SCHEME, "Completeness of scoring")
STOPPED_EARLY = CodedConcept("STOPPED_EARLY", CODING_SCHEME, "Stopped early")

ABNORMAL_STRUCTURE = codes.SCT.MorphologicallyAbnormalStructure
"""What a finding is called: the least that can be said (SCT 49755003, in CID 7150); no diagnosis is implied."""


def to_frames(array: NDArray[Any]) -> NDArray[Any]:
    """(x, y, z) as (frame, row, column): for DICOM input x counts columns, y rows and z slices."""
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def series_arguments(identity: Identity, fmt: ResultFormat) -> dict[str, Any]:
    """Series and equipment of a result, as highdicom's constructors name them."""
    return {
        "series_instance_uid": identity.series_uid(fmt),
        "series_number": SERIES_NUMBERS[fmt],
        "series_description": SERIES_DESCRIPTIONS[fmt],
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": identity.model,
        "software_versions": __version__,
        "device_serial_number": identity.model_sha256[:16],
        "content_date": identity.created.date(),
        "content_time": identity.created.time(),
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


def finish(dataset: Dataset, identity: Identity, fmt: ResultFormat, sources: Sources) -> None:
    """Complete an object that highdicom made, and make it the same for every run.

    Args:
        dataset: The object; changed in place.
        identity: Who made it.
        fmt: What kind of result it is.
        sources: What it was made from.
    """
    for keyword in _DEIDENTIFICATION:
        if keyword in sources.first and dataset.get("PatientIdentityRemoved") == "YES":
            dataset[keyword] = sources.first[keyword]
    if fmt in _LATERALITY:
        dataset.Laterality = sources.first.get("Laterality")
    dataset.InstanceCreationDate = dataset.ContentDate
    dataset.InstanceCreationTime = dataset.ContentTime
    for equipment in dataset.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = identity.created
    if "DimensionIndexSequence" in dataset:
        _set_dimension_uid(dataset, identity.other_uid(f"dimensions {fmt}"))
        if not sources.has_position:
            take_out_stand_ins(dataset)
    if sources.frame_numbers is not None:
        _correct_frame_numbers(dataset, sources.frame_numbers)


def _set_dimension_uid(dataset: Dataset, uid: str) -> None:
    """Replace the random identifier of the dimensions."""
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid


def _correct_frame_numbers(dataset: Dataset, numbers: tuple[int, ...]) -> None:
    """Cite the frames that were scored: highdicom numbers frames from 1 as they were handed over.

    Frames of several segments share the item that cites their source, which must not be corrected twice.
    """
    cited = {
        id(source): source
        for item in dataset.get("PerFrameFunctionalGroupsSequence", [])
        for derivation in item.get("DerivationImageSequence", [])
        for source in derivation.SourceImageSequence
    }
    for source in cited.values():
        source.ReferencedFrameNumber = numbers[int(source.ReferencedFrameNumber) - 1]
