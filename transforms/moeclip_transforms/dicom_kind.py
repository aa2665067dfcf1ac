"""What a DICOM header says about an image: its kind, whether it is a clip, whether it is worth scoring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from moeclip_transforms.dicom_header import number, text
from moeclip_transforms.naming import OWN_NAME, OWN_RESULT
from moeclip_transforms.volume import ImageKind

if TYPE_CHECKING:
    from pydicom import Dataset

    from moeclip_transforms.dicom_header import Frame


_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NOT_AN_IMAGE = {
    f"{_STORAGE}88.": "a structured report, not an image",
    f"{_STORAGE}104.": "an encapsulated document, not an image",
    f"{_STORAGE}11.": "a presentation state, not an image",
    f"{_STORAGE}9.": "a waveform, not an image",
    f"{_STORAGE}66": "registration, segmentation or raw data, not an image",
    f"{_STORAGE}67": "a real world value mapping, not an image",
    f"{_STORAGE}68.": "a surface or implant description, not an image",
    f"{_STORAGE}30": "a parametric map made from another series",
    f"{_STORAGE}481.": "radiotherapy data, not an acquired image",
    f"{_STORAGE}77.1.6": "whole-slide microscopy, stored as tiles",
    f"{_STORAGE}4.2": "MR spectroscopy, not an image",
    "1.2.840.10008.1.3.10": "a DICOMDIR, not an image",
}
_PORTAL_IMAGE = f"{_STORAGE}481.1"  # RT Image Storage: the one radiotherapy object that is an acquired image
_ENDOSCOPIC = (f"{_STORAGE}77.1.1",)  # VL Endoscopic Image and Video Endoscopic Image (77.1.1.1)
_OCT = (f"{_STORAGE}77.1.5.4",)  # Ophthalmic Tomography Image
_SECONDARY_CAPTURE = (f"{_STORAGE}7", f"{_STORAGE}7.1", f"{_STORAGE}7.2", f"{_STORAGE}7.3", f"{_STORAGE}7.4")
_VIDEO_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?$")
_CLIP_MODALITIES = {"ES", "US", "XA", "RF", "IVUS", "GM", "XC", "IVOCT"}
CROSS_SECTIONAL = {"CT", "MR", "PT", "NM"}
_HEAD = re.compile(r"\b(HEAD|BRAIN|SKULL|CRANI\w*|CEREBR\w*|NEURO\w*|STROKE|NCCT)\b")
_NECK = re.compile(r"NECK|SPINE|CHEST|THORAX|ABD|BODY")
_CHEST = re.compile(r"\b(CHEST|THORAX|LUNGS?|PULMO\w*)\b")
_LUNG = re.compile(r"\b(LUNGS?|PULMO\w*|HRCT)\b")
_LUNG_KERNEL = re.compile(r"^(LUNG|B[678]\d[FS]?|BL\d+.*|FC5\d|FC8\d|L|YC)$")


def is_image(header: Dataset) -> bool:
    """Whether a file is an image with pixels of its own."""
    return not _document_reason(text(header, "SOPClassUID")) and bool(text(header, "Rows"))


def kind_of(header: Dataset) -> ImageKind:
    """The kind of image, from modality, SOP class, body part, descriptions and kernel.

    The descriptions are looked through for a few anatomical words only; nothing of them is kept.
    """
    modality = text(header, "Modality").upper()
    sop_class = text(header, "SOPClassUID")
    if modality == "ES" or sop_class.startswith(_ENDOSCOPIC):
        return ImageKind.ENDOSCOPY
    if modality == "OPT" or sop_class.startswith(_OCT):
        return ImageKind.OCT
    if modality == "MR":
        return ImageKind.MR
    return _ct_kind(header) if modality == "CT" else ImageKind.PLAIN


def is_clip(header: Dataset, first: Frame) -> bool:
    """Whether several frames would follow each other in time (endoscopy, ultrasound) instead of in space."""
    if first.position is not None and first.orientation is not None:
        return False
    has_rate = any(text(header, keyword) for keyword in ("FrameTime", "FrameTimeVector", "CineRate"))
    return has_rate or text(header, "Modality").upper() in _CLIP_MODALITIES


def skip_reason(header: Dataset, first: Frame) -> str:
    """Why an object is not worth scoring, or ""."""
    sop_class = text(header, "SOPClassUID")
    image_type = text(header, "ImageType").upper().split("\\")
    modality = text(header, "Modality").upper()
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    checks = (
        (text(header, "Manufacturer") == OWN_NAME, OWN_RESULT),
        (bool(_document_reason(sop_class)), _document_reason(sop_class)),
        (first.rows == 0, "no image: it has no rows"),
        (bool(_VIDEO_SYNTAX.match(syntax)), "a video stream (MPEG), which is not decoded: export its frames"),
        ("LOCALIZER" in image_type or "SCOUT" in image_type, "a scout (localizer)"),
        ("MOSAIC" in image_type, "a mosaic: many slices tiled in one image; convert it to NIfTI or enhanced MR"),
        (_is_dose_screen(header, image_type), "a dose report"),
        (
            sop_class in _SECONDARY_CAPTURE and modality in CROSS_SECTIONAL,
            "a screen capture, not acquired slices",
        ),
        (number(header, "BitsAllocated") == 1, "a mask of single bits, not an image"),
    )
    return next((reason for applies, reason in checks if applies), "")


def _ct_kind(header: Dataset) -> ImageKind:
    body_part = text(header, "BodyPartExamined").upper()
    words = " ".join(
        text(header, keyword) for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription")
    ).upper()
    words = words.replace("_", " ")
    kernel = text(header, "ConvolutionKernel").upper().split("\\")[0]
    where = body_part or words
    if _HEAD.search(where) and not _NECK.search(where):
        return ImageKind.CT_BRAIN
    is_lung = bool(_LUNG.search(words)) or bool(_LUNG.search(body_part)) or bool(_LUNG_KERNEL.match(kernel))
    if is_lung and (_CHEST.search(where) or _CHEST.search(words)):
        return ImageKind.CT_LUNG
    return ImageKind.CT_SOFT_TISSUE


def _document_reason(sop_class: str) -> str:
    if sop_class == _PORTAL_IMAGE or sop_class.startswith(f"{_PORTAL_IMAGE}."):
        return ""
    for prefix, reason in _NOT_AN_IMAGE.items():
        stem = prefix.rstrip(".")
        if sop_class == stem or sop_class.startswith(f"{stem}."):
            return reason
    return ""


def _is_dose_screen(header: Dataset, image_type: list[str]) -> bool:
    description = text(header, "SeriesDescription").upper()
    is_capture = text(header, "SOPClassUID") in _SECONDARY_CAPTURE or "SCREEN SAVE" in image_type
    return "DOSE_INFO" in image_type or (is_capture and "DOSE" in description)
