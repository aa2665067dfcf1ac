"""Which DICOM results an input cannot have, and why; light enough to be asked before anything is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat

from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.formats import DICOM_FORMATS, ResultFormat

if TYPE_CHECKING:
    from collections.abc import Collection

    from moeclip_transforms import Volume

_FORMAT_WORDS = {FileFormat.NIFTI: "NIfTI", FileFormat.ITK: "an ITK format", FileFormat.IMAGE: "a plain image"}


class UncitableError(InputError):
    """The headers of a DICOM source are such that no valid result can cite them; seen only when one is made."""


def refusals(volume: Volume, formats: Collection[str]) -> dict[ResultFormat, str]:
    """The formats that cannot be written for a volume, each with the reason in one sentence.

    Args:
        volume: The volume as read.
        formats: What is wanted.

    Returns:
        Empty where everything can be written.
    """
    wanted = [fmt for fmt in ResultFormat if fmt in formats and fmt in DICOM_FORMATS]
    name = volume.series.files[0].name
    if volume.series.format is not FileFormat.DICOM:
        words = _FORMAT_WORDS.get(volume.series.format, volume.series.format.value)
        return {
            fmt: f"{name}: a DICOM {OBJECTS[fmt].name} cites DICOM source frames, but this input is {words}; omit "
            f"{fmt} or score the DICOM series."
            for fmt in wanted
        }
    if len(volume.frames) != volume.shape[2]:
        return {
            fmt: f"{name}: a DICOM {OBJECTS[fmt].name} cites one source frame per slice, but {len(volume.frames)} "
            f"frames are known for {volume.shape[2]} slices; omit {fmt}."
            for fmt in wanted
        }
    if volume.has_orientation and volume.frame_geometry:
        return {}
    return {
        fmt: f"{name}: a DICOM {OBJECTS[fmt].name} needs a place in space for every frame (PS3.3, "
        f"{OBJECTS[fmt].section}), but this source has none; omit {fmt}."
        for fmt in wanted
        if OBJECTS[fmt].needs_position
    }
