"""Which DICOM results an input cannot have, and why; light enough to be asked before anything is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat

from moeclip_med.results.formats import DICOM_FORMATS, ResultFormat

if TYPE_CHECKING:
    from collections.abc import Collection

    from moeclip_transforms import Volume

_FORMAT_WORDS = {FileFormat.NIFTI: "NIfTI", FileFormat.ITK: "an ITK format", FileFormat.IMAGE: "a plain image"}

NAMES: dict[ResultFormat, str] = {
    ResultFormat.SEG: "Segmentation",
    ResultFormat.PM: "Parametric Map",
    ResultFormat.SR: "structured report",
    ResultFormat.SC: "Secondary Capture",
    ResultFormat.RTSTRUCT: "RT Structure Set",
}
"""What each DICOM result is called in a sentence."""


_SECTIONS = {ResultFormat.PM: "A.75", ResultFormat.RTSTRUCT: "A.19"}
"""Results whose frames must have a place in space, and where the standard says so."""


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
            fmt: f"{name}: a DICOM {NAMES[fmt]} cites DICOM source frames, but this input is {words}; leave out "
            f'"{fmt}" or score the DICOM series.'
            for fmt in wanted
        }
    if len(volume.frames) != volume.shape[2]:
        return {
            fmt: f"{name}: a DICOM {NAMES[fmt]} cites one source frame per slice, but {len(volume.frames)} frames are "
            f'known for {volume.shape[2]} slices; leave out "{fmt}".'
            for fmt in wanted
        }
    if volume.has_orientation and volume.frame_geometry:
        return {}
    return {
        fmt: f"{name}: a DICOM {NAMES[fmt]} needs a place in space for every frame (PS3.3, {_SECTIONS[fmt]}), but this "
        f'source has none; leave out "{fmt}".'
        for fmt in wanted
        if fmt in _SECTIONS
    }
