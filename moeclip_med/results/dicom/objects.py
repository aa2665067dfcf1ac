"""The DICOM objects that are written, in one table: for the writers, for messages and for the conformance statement."""

from __future__ import annotations

from dataclasses import dataclass

from moeclip_med.results.formats import ResultFormat

_PATIENT_AND_STUDY = {"Patient": "PatientID", "General Study": "StudyInstanceUID"}
_EQUIPMENT = {"General Equipment": "Manufacturer", "SOP Common": "SOPInstanceUID"}
_FRAMES = {
    "General Image": "ImageType",
    "Multi-frame Functional Groups": "SharedFunctionalGroupsSequence",
    "Multi-frame Dimension": "DimensionOrganizationSequence",
    "Common Instance Reference": "ReferencedSeriesSequence",
}
_EXPLICIT = "1.2.840.10008.1.2.1"
_IMPLICIT = "1.2.840.10008.1.2"
_RLE = "1.2.840.10008.1.2.5"


@dataclass(frozen=True)
class WrittenObject:
    """One kind of object.

    Attributes:
        name: What it is called in a sentence.
        section: The section of PS3.3 that defines it.
        sop_class_uids: Its SOP classes.
        transfer_syntax_uid: How it is encoded.
        series_number: Sorts the results behind what a scanner makes.
        series_description: What a viewer shows.
        modules: The modules of PS3.3 that it holds, each with an attribute by which it is recognized.
        content: What is in it, for the conformance statement.
        needs_position: Whether every frame must have a place in space.
    """

    name: str
    section: str
    sop_class_uids: tuple[str, ...]
    transfer_syntax_uid: str
    series_number: int
    series_description: str
    modules: dict[str, str]
    content: str
    needs_position: bool = False


OBJECTS: dict[ResultFormat, WrittenObject] = {
    ResultFormat.SEG: WrittenObject(
        "Segmentation",
        "A.51",
        ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"),
        _EXPLICIT,
        9101,
        "Anomaly findings (research)",
        _PATIENT_AND_STUDY
        | {"General Series": "Modality", "Enhanced General Equipment": "DeviceSerialNumber"}
        | _EQUIPMENT
        | _FRAMES
        | {"Segmentation Image": "SegmentSequence"},
        "One segment per finding; the segment number is the finding's rank, the property Morphologically Abnormal "
        "Structure (49755003, SCT). `--seg binary` (default) holds a bit a voxel, `--seg labelmap` the segment numbers "
        "as one image (Label Map Segmentation Storage), `--seg fractional` the anomaly score inside each finding "
        "(255 stands for 1; the type reads PROBABILITY, for want of another word, and the content description says "
        "that it is none). Frames without a place in space are ordered by their number in the stack.",
    ),
    ResultFormat.PM: WrittenObject(
        "Parametric Map",
        "A.75",
        ("1.2.840.10008.5.1.4.1.1.30",),
        _EXPLICIT,
        9102,
        "Anomaly scores (research)",
        _PATIENT_AND_STUDY
        | {"General Series": "Modality", "Frame of Reference": "FrameOfReferenceUID"}
        | _EQUIPMENT
        | _FRAMES
        | {"Floating Point Image Pixel": "FloatPixelData", "Parametric Map Image": "ContentQualification"},
        "The anomaly score of every voxel, 32-bit float, 0 to 1, without unit (Class activation, 130402, DCM); content "
        "qualification RESEARCH. One frame per acquired slice.",
        needs_position=True,
    ),
    ResultFormat.SR: WrittenObject(
        "structured report",
        "A.35.13",
        ("1.2.840.10008.5.1.4.1.1.88.34",),
        _EXPLICIT,
        9103,
        "Anomaly measurements (research)",
        _PATIENT_AND_STUDY
        | {"SR Document Series": "Modality"}
        | _EQUIPMENT
        | {
            "SR Document General": "CompletionFlag",
            "SR Document Content": "ContentSequence",
        },
        "Comprehensive 3D SR after TID 1500 (Measurement Report), PARTIAL and UNVERIFIED. One group (TID 1411) per "
        "finding with its segment: volume in ml (number of pixels where there are no mm), highest and mean anomaly "
        "score, Long Axis and Short Axis in mm, mean, standard deviation and maximum of the intensity (Attenuation "
        "Coefficient in HU for CT, else without a unit), and the finding site that a user gave. One group for the "
        "volume as a whole: highest score, threshold, number of findings, intended use. Of a reviewed run (in the "
        "viewer): each group says what the reader decided, with site and comment; rejected findings are groups (TID "
        "1501) without segment; the reader is an observer where a name was typed; content and instance carry the time "
        "of the review; the report before the review is written, too, with the time of the run, and is the predecessor "
        "document.",
    ),
    ResultFormat.SC: WrittenObject(
        "Secondary Capture",
        "A.8.1",
        ("1.2.840.10008.5.1.4.1.1.7",),
        _RLE,
        9104,
        "Anomaly overlay (research)",
        _PATIENT_AND_STUDY
        | {"General Series": "Modality"}
        | _EQUIPMENT
        | {"SC Equipment": "ConversionType", "General Image": "SourceImageSequence", "Image Pixel": "PixelData"},
        "One RGB picture per acquired slice with overlay and notice burnt in. Burned In Annotation is the source's own "
        "value, and absent where the source does not say. Image Plane attributes are added where they are known.",
    ),
    ResultFormat.RTSTRUCT: WrittenObject(
        "RT Structure Set",
        "A.19",
        ("1.2.840.10008.5.1.4.1.1.481.3",),
        _IMPLICIT,
        9105,
        "Anomaly contours (research)",
        _PATIENT_AND_STUDY
        | {"RT Series": "OperatorsName", "Frame of Reference": "FrameOfReferenceUID"}
        | _EQUIPMENT
        | {
            "Structure Set": "StructureSetROISequence",
            "ROI Contour": "ROIContourSequence",
            "RT ROI Observations": "RTROIObservationsSequence",
            "Approval": "ApprovalStatus",
        },
        "One region of interest per finding, UNAPPROVED, without interpreted type. CLOSED_PLANAR contours run along "
        "the borders of the voxels in the acquired slices; a region with a hole is cut along a row through it. "
        "Implicit VR, since explicit VR limits a contour to 64 KiB.",
        needs_position=True,
    ),
}
"""Every object by the result it belongs to."""
