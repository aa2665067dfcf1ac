"""DICOM Secondary Capture (PS3.3, A.8.1): the acquired slices with the overlay burnt in, for any viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import CoordinateSystemNames
from highdicom.sc import SCImage
from highdicom.spatial import get_closest_patient_orientation
from highdicom.sr import CodedConcept
from PIL import Image, ImageDraw, ImageFont
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless
from skimage.segmentation import find_boundaries

from moeclip_med.results.dicom.common import finish, series_arguments, to_frames
from moeclip_med.results.dicom.placeholders import decimals
from moeclip_med.results.formats import ResultFormat
from moeclip_med.results.notes import RESEARCH_USE
from moeclip_med.results.overlay import blend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_transforms import FrameGeometry
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.scoring.anomaly import AnomalyVolume

_SMALLEST_SIDE, _LONGEST_SIDE, _TEXT_HEIGHT = 384, 1536, 32
"""Pixels. Slices with a shorter side are enlarged so that the burnt-in text can be read, but no longer than needed."""

_CHUNK = 16
"""Slices copied out of the volume at once: neighbours along z share a line of the processor's cache."""

_OUTLINE = (85, 255, 255)

_NOT_KNOWN = ("L", "F")
"""A placeholder that highdicom's constructor asks for; taken out again where there is no patient orientation."""


def make_secondary_captures(anomaly: AnomalyVolume, sources: Sources, identity: Identity) -> Iterator[SCImage]:
    """The slices as colour images, one after the other, in the order and orientation in which they were acquired.

    Args:
        anomaly: A scored DICOM volume.
        sources: What it was made from.
        identity: Who made it.

    Yields:
        One object per slice, ready to be saved.
    """
    volume = anomaly.volume
    window = anomaly.record.settings.window
    for start in range(0, volume.shape[2], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        images = window.apply(volume.tensor[..., chunk].permute(3, 2, 1, 0).contiguous()).numpy()
        scores, labels = to_frames(anomaly.scores[..., chunk]), to_frames(anomaly.labels[..., chunk])
        for index, frame in enumerate(zip(images, scores, labels, strict=True), start=start):
            pixels, factor = _picture(*frame, anomaly)
            yield _capture(anomaly, sources, identity, index, pixels, factor)


def enlargement(rows: int, columns: int) -> int:
    """Return the whole number by which a slice is enlarged: to 384 pixels, less for a strip, which would be immense."""
    shorter, longer = sorted((rows, columns))
    least = -(-_TEXT_HEIGHT // shorter)
    return max(1, min(-(-_SMALLEST_SIDE // shorter), max(least, _LONGEST_SIDE // longer)))


def _picture(
    image: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.uint16], anomaly: AnomalyVolume
) -> tuple[NDArray[np.uint8], int]:
    """(rows, columns, 3) uint8 from (rows, columns, channel), and by how much it is enlarged."""
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    factor = enlargement(*labels.shape)
    larger = (labels.shape[1] * factor, labels.shape[0] * factor)
    smooth = np.stack([_enlarged(image[..., channel], larger) for channel in range(3)], axis=-1)
    pixels = blend(smooth, _enlarged(scores, larger), anomaly.threshold)
    outline = find_boundaries(labels.repeat(factor, 0).repeat(factor, 1), mode="inner")  # type: ignore[no-untyped-call]
    pixels[outline] = _OUTLINE
    return _labelled(pixels, anomaly), factor


def _enlarged(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if values.shape == size[::-1]:
        return values
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _labelled(pixels: NDArray[np.uint8], anomaly: AnomalyVolume) -> NDArray[np.uint8]:
    """Write what no reader may miss into the picture's lower left."""
    picture = Image.fromarray(pixels)
    size = max(11, min(picture.size) // 32)
    state = "" if anomaly.is_calibrated else ", uncalibrated"
    text = f"{RESEARCH_USE}\nAnomaly overlay, threshold {anomaly.threshold:.2f}{state}"
    ImageDraw.Draw(picture).multiline_text(
        (size * 0.6, picture.height - size * 0.6),
        text,
        fill=(255, 178, 36),
        font=ImageFont.load_default(size),
        anchor="ld",
        stroke_width=max(1, size // 10),
        stroke_fill=(0, 0, 0),
    )
    return np.asarray(picture)


def _capture(
    anomaly: AnomalyVolume, sources: Sources, identity: Identity, index: int, pixels: NDArray[np.uint8], factor: int
) -> SCImage:
    geometry = anomaly.volume.frame_geometry[index] if sources.has_position else None
    spacing = _spacing(anomaly, factor) if geometry else None
    capture = SCImage.from_ref_dataset(
        ref_dataset=sources.placeholders[index],
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        sop_instance_uid=identity.instance_uid(ResultFormat.SC, index),
        instance_number=index + 1,
        patient_orientation=_patient_orientation(geometry) if geometry else _NOT_KNOWN,
        transfer_syntax_uid=RLELossless,
        pixel_spacing=spacing,  # type: ignore[arg-type]  # mm, not whole numbers
        **series_arguments(identity, ResultFormat.SC),
    )
    _state_burned_in(capture, sources.burned_in[index])
    capture.DerivationDescription = identity.description()
    reference = sources.citations[index].reference()
    reference.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    capture.SourceImageSequence = [reference]
    if geometry and spacing:
        _place(capture, sources, geometry, spacing, factor)
    else:
        capture.PatientOrientation = []
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = capture.ContentDate, capture.ContentTime
    capture.Laterality = sources.image.get("Laterality")
    finish(capture, identity, ResultFormat.SC, sources)
    return capture


def _state_burned_in(capture: Dataset, source: str) -> None:
    """Say of the picture what its source says: whether its pixels identify the patient (PS3.3, C.7.6.1).

    Our own text identifies nobody. Where the source does not say, neither does the picture.
    """
    if source:
        capture.BurnedInAnnotation = source
    else:
        capture.pop("BurnedInAnnotation", None)


def _spacing(anomaly: AnomalyVolume, factor: int) -> tuple[float, float]:
    """Distance between rows and between columns of the picture, mm."""
    columns, rows = anomaly.affine.spacing[:2]
    return (float(rows) / factor, float(columns) / factor)


def _patient_orientation(geometry: FrameGeometry) -> tuple[str, str]:
    """Where rows and columns point, in letters (PS3.3, C.7.6.1.1.1)."""
    row, column = np.asarray(geometry.row_direction), np.asarray(geometry.column_direction)
    along_row, along_column, _ = get_closest_patient_orientation(np.stack([row, column, np.cross(row, column)], axis=1))
    return (along_row.value, along_column.value)


def _place(
    capture: Dataset, sources: Sources, geometry: FrameGeometry, spacing: tuple[float, float], factor: int
) -> None:
    """Put the picture where its slice lies: not required of a capture, but viewers then scroll it with the source.

    Enlarging moves the centre of the first pixel towards the corner of the slice.
    """
    row, column = np.asarray(geometry.row_direction), np.asarray(geometry.column_direction)
    shift = (1 - factor) / 2 * (row * spacing[1] + column * spacing[0])
    capture.ImagePositionPatient = decimals(geometry.position + shift)
    capture.ImageOrientationPatient = decimals((*row, *column))
    capture.FrameOfReferenceUID = sources.image.FrameOfReferenceUID
