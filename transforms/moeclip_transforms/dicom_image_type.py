"""What a DICOM header says about an image: its type, whether it is a cine, whether it is worth scoring."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pydicom.uid import UID

from moeclip_transforms.dicom_frame import COMPLEX, FIELD_MAP, MAGNITUDE, PHASE
from moeclip_transforms.dicom_header import first_item, number, text, words
from moeclip_transforms.dicom_place import CROSS_SECTIONAL
from moeclip_transforms.naming import OWN_NAME, OWN_RESULT
from moeclip_transforms.volume import ImageType

if TYPE_CHECKING:
    from pydicom import Dataset

    from moeclip_transforms.dicom_frame import Frame

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
_SCOUT, _SCOUT_REASON = ("LOCALIZER", "SCOUT"), "a scout (localizer)"
_MOSAIC_REASON = "a mosaic: many slices tiled in one image; convert it to NIfTI or enhanced MR"
_SECONDARY_CAPTURE = (f"{_STORAGE}7", f"{_STORAGE}7.1", f"{_STORAGE}7.2", f"{_STORAGE}7.3", f"{_STORAGE}7.4")
_UID = re.compile(r"[0-9.]{1,64}")
_VIDEO_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?$")
_SIEMENS_MOSAIC, _UIH_GRID = ("SIEMENS MR HEADER", 0x0019100A), ("Image Private Header", 0x00651050)
"""How many slices are tiled in one image, by two vendors, each with the creator of its private block."""
_CLIP_MODALITIES = frozenset(["ES", "US", "XA", "RF", "IVUS", "GM", "XC", "IVOCT"])
_CUT = ", or was cut off before them; if it should be one, copy it again"
_HOUNSFIELD = ("", "HU", "HU_MOD", "US")
IMAGE_TYPE_KEYWORDS: tuple[str | int, ...] = (
    "Modality", "SOPClassUID", "BodyPartExamined", "SeriesDescription", "ProtocolName", "StudyDescription",
    "ConvolutionKernel", "ImageType", "Manufacturer", "BitsAllocated", "RescaleType", "FrameTime", "FrameTimeVector",
    "CineRate", "SharedFunctionalGroupsSequence", "PhotometricInterpretation", 0x00190010, 0x0019100A, 0x00650010,
    0x00651050,
)  # fmt: skip
_HEAD = re.compile(r"\b(HEAD|BRAIN|SKULL|CRANI\w*|CEREBR\w*|NEURO\w*|STROKE|NCCT)\b")
_NECK = re.compile(r"NECK|SPINE|CHEST|THORAX|ABD|BODY")
_CHEST = re.compile(r"\b(CHEST|THORAX|LUNGS?|PULMO\w*)\b")
_LUNG = re.compile(r"\b(LUNGS?|PULMO\w*|HRCT)\b")
_LUNG_KERNEL = re.compile(r"^(LUNG|B[678]\d[FS]?|BL\d+.*|FC5\d|FC8\d|L|YC)$")


def no_image_reason(header: Dataset, *, has_pixels: bool) -> str:
    """Why a file holds no image of its own, or "": what counts are SOP class and pixel data, not the size it claims."""
    if reason := _document_reason(text(header, "SOPClassUID")):
        return reason
    if not text(header, "Rows"):
        return f"no image: it has no rows{_CUT}"
    return "" if has_pixels else f"no image: it has no pixel data{_CUT}"


def image_type_of(header: Dataset) -> ImageType:
    """The image type, from modality, SOP class, body part, descriptions and kernel.

    The descriptions are looked through for a few anatomical words only; nothing of them is kept.
    """
    modality = text(header, "Modality").upper()
    sop_class = text(header, "SOPClassUID")
    if modality == "ES" or sop_class.startswith(_ENDOSCOPIC):
        return ImageType.ENDOSCOPY
    if modality == "OPT" or sop_class.startswith(_OCT):
        return ImageType.OCT
    if modality == "MR":
        return ImageType.MR
    return _ct_type(header) if modality == "CT" else ImageType.PLAIN


def is_cine(header: Dataset, first: Frame) -> bool:
    """Whether several frames would follow each other in time (endoscopy, ultrasound) instead of in space."""
    if first.position is not None and first.orientation is not None:
        return False
    has_rate = any(text(header, keyword) for keyword in ("FrameTime", "FrameTimeVector", "CineRate"))
    return has_rate or text(header, "Modality").upper() in _CLIP_MODALITIES


def skip_reason(header: Dataset) -> str:
    """Why an image is not worth scoring, or ""; see also `contrast_reason`."""
    image_type = words(header, "ImageType")
    modality = text(header, "Modality").upper()
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    is_capture = text(header, "SOPClassUID") in _SECONDARY_CAPTURE
    checks = (
        (text(header, "Manufacturer") == OWN_NAME, OWN_RESULT),
        (bool(_VIDEO_SYNTAX.match(syntax)), "a video stream (MPEG), which is not decoded: export its frames"),
        (
            bool(_UID.fullmatch(syntax)) and not is_decoded(syntax),
            f"stored as {UID(syntax).name} (transfer syntax), which is not decoded: convert it",
        ),
        (not image_type.isdisjoint(_SCOUT), _SCOUT_REASON),
        ("MOSAIC" in image_type or _is_tiled(header), _MOSAIC_REASON),
        (_is_dose_screen(header, image_type, is_capture=is_capture), "a dose report"),
        (
            is_capture and modality in CROSS_SECTIONAL and not _holds_slices(header),
            "a screen capture, not acquired slices",
        ),
        (number(header, "BitsAllocated") == 1, "a mask of single bits, not an image"),
    )
    return next((reason for applies, reason in checks if applies), "")


def contrast_reason(modality: str, contrast: frozenset[str]) -> str:
    """Why images of a contrast (`Frame.contrast`) are not worth scoring, or ""."""
    if not contrast.isdisjoint(_SCOUT):
        return _SCOUT_REASON
    if "MOSAIC" in contrast:
        return _MOSAIC_REASON
    if modality.upper() != "MR":
        return ""
    checks = (
        (FIELD_MAP, "a field map, not an image of the body"),
        (PHASE, "a phase image: its values are angles or velocities, not signal"),
        (COMPLEX, "the real or imaginary part of a signal, not its magnitude"),
    )
    if contrast & MAGNITUDE and not contrast & FIELD_MAP:
        return ""
    return next((reason for kinds, reason in checks if contrast & kinds), "")


@cache
def is_decoded(syntax: str) -> bool:
    """Return whether pixels of a transfer syntax are decoded, with the decoders that come with the package."""
    from pydicom.pixels.decoders.base import get_decoder

    uid = UID(syntax)
    try:
        return uid.is_transfer_syntax and (not uid.is_encapsulated or get_decoder(uid).is_available)
    except (NotImplementedError, ValueError):  # nobody decodes it; it is none
        return False


def _ct_type(header: Dataset) -> ImageType:
    if rescale_type(header) not in _HOUNSFIELD:
        return ImageType.PLAIN
    body_part = text(header, "BodyPartExamined").upper()
    said = " ".join(text(header, keyword) for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription"))
    said = said.upper().replace("_", " ")
    kernel = text(header, "ConvolutionKernel").upper().split("\\")[0]
    where = body_part or said
    if _HEAD.search(where) and not _NECK.search(where):
        return ImageType.CT_BRAIN
    is_lung = bool(_LUNG.search(said)) or bool(_LUNG.search(body_part)) or bool(_LUNG_KERNEL.match(kernel))
    if is_lung and (_CHEST.search(where) or _CHEST.search(said)):
        return ImageType.CT_LUNG
    return ImageType.CT_SOFT_TISSUE


def _document_reason(sop_class: str) -> str:
    if sop_class == _PORTAL_IMAGE or sop_class.startswith(f"{_PORTAL_IMAGE}."):
        return ""
    for prefix, reason in _NOT_AN_IMAGE.items():
        stem = prefix.rstrip(".")
        if sop_class == stem or sop_class.startswith(f"{stem}."):
            return reason
    return ""


def rescale_type(header: Dataset) -> str:
    """Rescale Type (0028,1054), from the shared functional group of enhanced images; "" where missing."""
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    item = None if shared is None else first_item(shared, "PixelValueTransformationSequence")
    return text(header if item is None else item, "RescaleType").upper()


def image_type_notes(header: Dataset) -> tuple[str, ...]:
    """What has to be said about the image type, one sentence each."""
    unit = rescale_type(header)
    if text(header, "Modality").upper() != "CT" or unit in _HOUNSFIELD:
        return ()
    return (f'Rescale Type (0028,1054) is "{unit[:16]}", not HU: no CT window is used.',)


def _is_dose_screen(header: Dataset, image_type: frozenset[str], *, is_capture: bool) -> bool:
    description = text(header, "SeriesDescription").upper()
    return "DOSE_INFO" in image_type or ((is_capture or "SCREEN SAVE" in image_type) and "DOSE" in description)


def _holds_slices(header: Dataset) -> bool:
    """Whether a secondary capture says where it lies, as exports of cone-beam CT and of ITK do."""
    is_placed = bool(text(header, "ImagePositionPatient")) and bool(text(header, "ImageOrientationPatient"))
    return is_placed and (number(header, "SamplesPerPixel") or 1) == 1


def _is_tiled(header: Dataset) -> bool:
    """Whether an image is a mosaic without saying so in its Image Type."""
    siemens, uih = (
        text(header, (tag & 0xFFFF0000) | 0x10) == creator and (number(header, tag) or 0) > 1
        for creator, tag in (_SIEMENS_MOSAIC, _UIH_GRID)
    )
    return siemens or uih
