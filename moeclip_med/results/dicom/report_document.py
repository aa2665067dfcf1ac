"""DICOM Comprehensive 3D SR (PS3.3, A.35.13) after template TID 1500: the findings as measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from moeclip_med._version import __version__
from moeclip_med.results.dicom import common
from moeclip_med.results.dicom.character_sets import UTF_8
from moeclip_med.results.dicom.identity import MANUFACTURER
from moeclip_med.results.dicom.segmentation import tracking_id
from moeclip_med.results.formats import ResultFormat
from moeclip_med.scoring.measures import IntensityUnit

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr.templates import Template
    from pydicom.sr.coding import Code

    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.measures import FindingMeasures

    _Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations

_PROCEDURES: dict[str, Code] = {
    "CT": codes.cid100.CTUnspecifiedBodyRegion,
    "MR": codes.cid100.MRIUnspecifiedBodyRegion,
    "NM": codes.cid100.NMUnspecifiedBodyRegion,
    "PT": codes.cid100.PETUnspecifiedBodyRegion,
    "CR": codes.cid100.XRUnspecifiedBodyRegion,
    "DX": codes.cid100.XRUnspecifiedBodyRegion,
}
_ANY_PROCEDURE = codes.cid100.ImagingProcedure
_MILLILITRE = sr.CodedConcept("ml", "UCUM", "milliliter")
_PIXELS = sr.CodedConcept("{pixels}", "UCUM", "pixels")
_NAME_LENGTH = 64
"""Longest component group of a person's name (PS3.5, 6.2.1)."""
_AnyGroup = TypeVar("_AnyGroup", bound="Template")
_COUNT = sr.CodedConcept("{counts}", "UCUM", "counts")


def make_report_document(
    anomaly: AnomalyVolume,
    sources: Sources,
    identity: Identity,
    segmentation: Segmentation | None,
    first: sr.Comprehensive3DSR | None = None,
) -> sr.Comprehensive3DSR:
    """The findings as a measurement report.

    Every finding is a group with its volume, highest and mean score, tracking identifier and its segment. A group
    for the volume as a whole comes first: highest score, threshold and number of findings; it is there without
    findings too. Of a reviewed run, each group says what the reader decided, rejected findings are groups without a
    segment, and the reader is named as an observer where a name was typed.

    Args:
        anomaly: A scored DICOM volume.
        sources: What it was made from.
        identity: Who made it.
        segmentation: The segments that findings refer to; None where there is no finding.
        first: The report before the review, which this one cites as its predecessor; None for that one itself.

    Returns:
        The object, ready to be saved. It is neither complete nor verified: nobody has read it.
    """
    groups: list[_Group] = [_volume_group(anomaly, identity)]
    if segmentation is not None:
        groups += [
            _finding_group(finding, measures, identity, segmentation, sources)
            for finding, measures in zip(anomaly.findings, anomaly.measures, strict=True)
        ]
    groups += [_rejected_group(one.finding, one.measures, identity) for one in anomaly.rejected]
    content = sr.MeasurementReport(
        observation_context=_observers(identity, anomaly.reader),
        procedure_reported=_PROCEDURES.get(sources.modality, _ANY_PROCEDURE),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence: list[Dataset] = [*sources.placeholders, *([segmentation] if segmentation is not None else [])]
    arguments = common.series_arguments(identity, ResultFormat.SR)
    document = sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        sop_instance_uid=identity.instance_uid(ResultFormat.SR),
        instance_number=1 if first is None else 2,
        previous_versions=None if first is None else [first],
        **arguments,
    )
    common.finish(document, identity, ResultFormat.SR, sources)
    document.CurrentRequestedProcedureEvidenceSequence = [_evidence(sources, segmentation)]
    if anomaly.is_reviewed:
        document.SpecificCharacterSet = UTF_8
    return document


def _observers(identity: Identity, reader: str) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=identity.equipment_uid(),
        name=f"{MANUFACTURER} {__version__}",
        manufacturer_name=MANUFACTURER,
        model_name=identity.model,
        serial_number=identity.model_sha256[:16],
    )
    person = None
    if reader:
        name = _text(reader.replace("=", " "), _NAME_LENGTH - 1)
        attributes = sr.PersonObserverIdentifyingAttributes(name if "^" in name else f"{name}^")  # one component
        person = sr.ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=attributes)
    return sr.ObservationContext(
        observer_person_context=person,
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        ),
    )


def _volume_group(anomaly: AnomalyVolume, identity: Identity) -> sr.MeasurementsAndQualitativeEvaluations:
    values = [
        sr.Measurement(
            common.ANOMALY_SCORE, round(anomaly.peak_score, 6), codes.UCUM.NoUnits, derivation=codes.SCT.Maximum
        ),
        sr.Measurement(common.THRESHOLD, anomaly.threshold, codes.UCUM.NoUnits),
        sr.Measurement(common.FINDING_COUNT, len(anomaly.findings), _COUNT),
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identity.tracking_uid("whole volume"), "Whole volume"),
        algorithm_id=_algorithm(identity),
        measurements=values,
        qualitative_evaluations=_caveats(anomaly),
    )


def _caveats(anomaly: AnomalyVolume) -> list[sr.QualitativeEvaluation]:
    """What a reader of the report must not miss, as coded values that every viewer shows."""
    caveats = [sr.QualitativeEvaluation(common.INTENDED_USE, common.RESEARCH_ONLY)]
    if not anomaly.is_calibrated:
        caveats.append(sr.QualitativeEvaluation(common.THRESHOLD_STATE, common.UNCALIBRATED))
    if anomaly.scored is not None:
        caveats.append(sr.QualitativeEvaluation(common.COMPLETENESS, common.STOPPED_EARLY))
    return caveats


def _evidence(sources: Sources, segmentation: Segmentation | None) -> Dataset:
    """Return everything that the report is founded on: the source files and the segmentation (PS3.3, C.17.2.3)."""
    study = Dataset()
    study.StudyInstanceUID = sources.study_uid
    study.ReferencedSeriesSequence = []
    for series in sources.referenced_series():
        item = Dataset()
        item.SeriesInstanceUID = series.SeriesInstanceUID
        item.ReferencedSOPSequence = series.ReferencedInstanceSequence
        study.ReferencedSeriesSequence.append(item)
    if segmentation is not None:
        reference, item = Dataset(), Dataset()
        reference.ReferencedSOPClassUID = segmentation.SOPClassUID
        reference.ReferencedSOPInstanceUID = segmentation.SOPInstanceUID
        item.SeriesInstanceUID, item.ReferencedSOPSequence = segmentation.SeriesInstanceUID, [reference]
        study.ReferencedSeriesSequence.append(item)
    return study


def _finding_group(
    finding: Finding,
    measures: FindingMeasures,
    identity: Identity,
    segmentation: Segmentation,
    sources: Sources,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    name, site = tracking_id(finding), common.coded_site(finding)
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identity.tracking_uid(name), name),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=finding.rank,
            source_series=sr.SourceSeriesForSegmentation(sources.series_uid),
        ),
        finding_category=common.ABNORMAL_STRUCTURE,
        finding_type=common.ABNORMAL_STRUCTURE,
        finding_sites=None if site is None else [sr.FindingSite(site)],
        algorithm_id=_algorithm(identity),
        measurements=_measurements(finding, measures),
        qualitative_evaluations=_said(finding),
    )
    return _with_comment(group, finding)


def _rejected_group(
    finding: Finding, measures: FindingMeasures, identity: Identity
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return what was measured on a finding before its voxels were given up."""
    name = tracking_id(finding)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identity.tracking_uid(name), name),
        finding_category=common.ABNORMAL_STRUCTURE,
        finding_type=common.ABNORMAL_STRUCTURE,
        algorithm_id=_algorithm(identity),
        measurements=_measurements(finding, measures),
        qualitative_evaluations=_said(finding),
    )
    return _with_comment(group, finding)


def _said(finding: Finding) -> list[sr.QualitativeEvaluation] | None:
    """Return what a reader decided of a finding, as coded values; None where nothing."""
    review = finding.review
    if review is None or not review.is_read:
        return None
    said = [sr.QualitativeEvaluation(common.READER_DECISION, common.DECISIONS[review.decision])]
    if review.is_edited:
        state = common.DRAWN if review.is_drawn else common.EDITED
        said.append(sr.QualitativeEvaluation(common.OUTLINE_STATE, state))
    return said


def _with_comment(group: _AnyGroup, finding: Finding) -> _AnyGroup:
    """Add what a reader wrote on a finding, a site without a code among it."""
    review = finding.review
    if review is None:
        return group
    site = "" if review.site is None or review.site.code else f"Site: {review.site.meaning}"
    text = "; ".join(part for part in (site, review.comment) if part)
    if text:
        comment = sr.TextContentItem(codes.DCM.Comment, _text(text), sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _text(typed: str, longest: int | None = None) -> str:
    """Return what a reader typed without control characters and DICOM's own separators."""
    return "".join(letter if letter.isprintable() else " " for letter in typed).replace("\\", "/").strip()[:longest]


def _measurements(finding: Finding, measures: FindingMeasures) -> list[sr.Measurement]:
    return [_size(finding), *_scores(finding), *_diameters(measures), *_intensities(measures)]


def _size(finding: Finding) -> sr.Measurement:
    if finding.volume_ml is None:
        return sr.Measurement(common.PIXEL_COUNT, finding.voxel_count, _PIXELS)
    return sr.Measurement(codes.SCT.Volume, round(finding.volume_ml, 4), _MILLILITRE)


def _scores(finding: Finding) -> list[sr.Measurement]:
    return [
        sr.Measurement(common.ANOMALY_SCORE, round(value, 6), codes.UCUM.NoUnits, derivation=derivation)
        for value, derivation in ((finding.peak_score, codes.SCT.Maximum), (finding.mean_score, codes.SCT.Mean))
    ]


def _diameters(measures: FindingMeasures) -> list[sr.Measurement]:
    """Return the longest and the perpendicular diameter, by the codes that viewers show as such (CID 7470)."""
    return [
        sr.Measurement(name, round(line.mm, 3), codes.UCUM.Millimeter)
        for name, line in ((common.LONG_AXIS, measures.longest), (common.SHORT_AXIS, measures.perpendicular))
        if line is not None
    ]


def _intensities(measures: FindingMeasures) -> list[sr.Measurement]:
    """Return mean, standard deviation and maximum of the intensity: in HU for CT, else without a unit."""
    is_hu = measures.unit is IntensityUnit.HU
    name = codes.DCM.AttenuationCoefficient if is_hu else common.INTENSITY
    unit = codes.UCUM.HounsfieldUnit if is_hu else codes.UCUM.NoUnits
    values = (
        (measures.mean, codes.SCT.Mean),
        (measures.sd, codes.SCT.StandardDeviation),
        (measures.maximum, codes.SCT.Maximum),
    )
    return [
        sr.Measurement(name, round(value, 4), unit, derivation=derivation)
        for value, derivation in values
        if value is not None
    ]


def _algorithm(identity: Identity) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=f"MoECLIP {identity.model}",
        version=f"{identity.model_version} ({identity.model_sha256[:12]})",
        parameters=[f"{name}={value}" for name, value in identity.parameters.items()],
    )
