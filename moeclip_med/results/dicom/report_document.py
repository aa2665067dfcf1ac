"""DICOM Comprehensive 3D SR (PS3.3, A.35.13) after template TID 1500: the findings as measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from moeclip_med._version import __version__
from moeclip_med.results.dicom import common
from moeclip_med.results.dicom.identity import MANUFACTURER
from moeclip_med.results.dicom.segmentation import tracking_id
from moeclip_med.results.formats import ResultFormat
from moeclip_med.scoring.measures import IntensityUnit

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
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
_COUNT = sr.CodedConcept("{counts}", "UCUM", "counts")


def make_report_document(
    anomaly: AnomalyVolume,
    sources: Sources,
    identity: Identity,
    segmentation: Segmentation | None,
) -> sr.Comprehensive3DSR:
    """The findings as a measurement report.

    Every finding is a group with its volume, highest and mean score, tracking identifier and its segment. A group
    for the volume as a whole comes first: highest score, threshold and number of findings; it is there without
    findings too.

    Args:
        anomaly: A scored DICOM volume.
        sources: What it was made from.
        identity: Who made it.
        segmentation: The segments that findings refer to; None where there is no finding.

    Returns:
        The object, ready to be saved. It is neither complete nor verified: nobody has read it.
    """
    groups: list[_Group] = [_volume_group(anomaly, identity)]
    if segmentation is not None:
        groups += [
            _finding_group(finding, measures, identity, segmentation, sources)
            for finding, measures in zip(anomaly.findings, anomaly.measures, strict=True)
        ]
    content = sr.MeasurementReport(
        observation_context=_observer(identity),
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
        instance_number=1,
        **arguments,
    )
    common.finish(document, identity, ResultFormat.SR, sources)
    document.CurrentRequestedProcedureEvidenceSequence = [_evidence(sources, segmentation)]
    return document


def _observer(identity: Identity) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=identity.equipment_uid(),
        name=f"{MANUFACTURER} {__version__}",
        manufacturer_name=MANUFACTURER,
        model_name=identity.model,
        serial_number=identity.model_sha256[:16],
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
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
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
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
        measurements=[_size(finding), *_scores(finding), *_diameters(measures), *_intensities(measures)],
    )


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
