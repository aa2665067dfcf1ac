"""DICOM RT Structure Set (PS3.3, A.19): the findings as regions of interest for planning systems.

highdicom has no such class. The attributes are those that A.19 requires, and the optional ones that planning systems
show; contours run along the borders of the voxels on the acquired slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from moeclip_med.results.dicom.common import algorithm_text, finish, series_arguments
from moeclip_med.results.dicom.contours import outline
from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.dicom.placeholders import decimals
from moeclip_med.results.dicom.segmentation import how_outlined, tracking_id
from moeclip_med.results.formats import ResultFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.valuerep import DSfloat

    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding

_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, which this module has named a study by since it was written (PS3.3, C.8.8.5)."""

_COLOURS = ((255, 0, 255), (0, 255, 255), (255, 170, 0), (90, 255, 90), (255, 80, 80), (120, 150, 255))


def make_structure_set(anomaly: AnomalyVolume, sources: Sources, identity: Identity) -> Dataset:
    """Make a structure set with one region per finding, numbered by rank.

    Args:
        anomaly: A scored DICOM volume with a place in space and at least one finding.
        sources: What it was made from.
        identity: Who made it.

    Returns:
        The object, ready to be saved; nobody has approved it. In implicit VR, since explicit VR limits a contour to
        64 KiB of text.
    """
    arguments = series_arguments(identity, ResultFormat.RTSTRUCT)
    equipment = arguments.pop("contributing_equipment")
    for name in ("content_date", "content_time"):  # the structure set has a date of its own
        arguments.pop(name)
    dataset = SOPClass(
        study_instance_uid=sources.study_uid,
        sop_instance_uid=identity.instance_uid(ResultFormat.RTSTRUCT),
        sop_class_uid=RTStructureSetStorage,
        instance_number=1,
        modality="RTSTRUCT",
        transfer_syntax_uid=ImplicitVRLittleEndian,
        **arguments,
    )
    dataset.OperatorsName = None
    dataset.StructureSetLabel = "ANOMALY"
    dataset.StructureSetName = OBJECTS[ResultFormat.RTSTRUCT].series_description
    dataset.StructureSetDescription = identity.description()
    when = identity.content_time
    dataset.StructureSetDate, dataset.StructureSetTime = when.date(), when.time()
    dataset.FrameOfReferenceUID = sources.image.FrameOfReferenceUID
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame_of_reference(sources)]
    dataset.StructureSetROISequence = [_region(finding, identity, sources) for finding in anomaly.findings]
    dataset.ROIContourSequence = [_contours(finding, anomaly, sources) for finding in anomaly.findings]
    dataset.RTROIObservationsSequence = [_observation(finding) for finding in anomaly.findings]
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ContributingEquipmentSequence = [equipment[0]]
    finish(dataset, identity, ResultFormat.RTSTRUCT, sources)
    return dataset


def _referenced_frame_of_reference(sources: Sources) -> Dataset:
    """Return the space of the contours and the images that they were drawn on (C.8.8.5)."""
    series: dict[str, Dataset] = {}
    for citation in sources.citations:
        if citation.series_uid not in series:
            series[citation.series_uid] = Dataset()
            series[citation.series_uid].SeriesInstanceUID = citation.series_uid
            series[citation.series_uid].ContourImageSequence = []
        series[citation.series_uid].ContourImageSequence.append(citation.reference())
    study, space = Dataset(), Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_COMPONENT, sources.study_uid
    study.RTReferencedSeriesSequence = list(series.values())
    space.FrameOfReferenceUID = sources.image.FrameOfReferenceUID
    space.RTReferencedStudySequence = [study]
    return space


def _region(finding: Finding, identity: Identity, sources: Sources) -> Dataset:
    item = Dataset()
    item.ROINumber = finding.rank
    item.ReferencedFrameOfReferenceUID = sources.image.FrameOfReferenceUID
    item.ROIName = tracking_id(finding)
    item.ROIDescription = f"Peak anomaly score {finding.peak_score:.3f}; research use only"
    if finding.volume_ml is not None:
        item.ROIVolume = decimals([finding.volume_ml])[0]  # cm3
    item.ROIGenerationAlgorithm = how_outlined(finding)
    item.ROIGenerationDescription = algorithm_text(identity)
    return item


def _observation(finding: Finding) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = finding.rank
    item.ROIObservationLabel = tracking_id(finding)
    item.RTROIInterpretedType = None  # neither organ nor target: nobody has interpreted it
    item.ROIInterpreter = None
    return item


def _contours(finding: Finding, anomaly: AnomalyVolume, sources: Sources) -> Dataset:
    """Return the polygons of a finding, slice by slice (C.8.8.6)."""
    item = Dataset()
    item.ReferencedROINumber = finding.rank
    item.ROIDisplayColor = list(_COLOURS[(finding.rank - 1) % len(_COLOURS)])
    (x, y, first), (x_stop, y_stop, stop) = finding.box_start, finding.box_stop
    contours: list[Dataset] = []
    for index in range(first, stop):
        mask = anomaly.labels[x:x_stop, y:y_stop, index] == finding.label
        for polygon in outline(mask):
            contour = Dataset()
            contour.ContourImageSequence = [sources.citations[index].reference()]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(polygon)
            contour.ContourNumber = len(contours) + 1
            contour.ContourData = _coordinates(polygon + np.array([x, y]), index, anomaly)
            contours.append(contour)
    item.ContourSequence = contours
    return item


def _coordinates(polygon: NDArray[np.float64], index: int, anomaly: AnomalyVolume) -> list[DSfloat]:
    """Return corners given in pixel indices (x, y) of one acquired slice as x, y, z in mm, LPS+."""
    frame = anomaly.volume.frame_geometry[index]
    spacing_x, spacing_y, _ = anomaly.volume.affine.spacing
    steps = np.stack([np.asarray(frame.row_direction) * spacing_x, np.asarray(frame.column_direction) * spacing_y])
    points = np.asarray(frame.position) + polygon @ steps
    return decimals(points.ravel())
