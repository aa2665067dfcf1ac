"""Photographs and stacks: PNG, JPEG, TIFF (also of many pages) and BMP, upright and with all their bits.

Pillow, tifffile and imagecodecs see a file's bytes in a process of their own; see `moeclip_transforms.isolation`.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.data_files import read_file
from moeclip_transforms.errors import InputError
from moeclip_transforms.hashing import hash_of_hashes
from moeclip_transforms.isolation import CallLimits, call_foreign
from moeclip_transforms.library_warnings import quietly
from moeclip_transforms.naming import reason, stable_uid
from moeclip_transforms.pictures import (
    DAMAGED,
    PictureFacts,
    Pixels,
    check_area,
    display_range,
    further_images_note,
    orientation_notes,
    turn_upright,
    upright_size,
    valid_orientation,
    without_opacity,
)
from moeclip_transforms.readers import FileReader
from moeclip_transforms.volume import FileFormat, ImageType, Series, SourceRef

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL.Image import Image

    from moeclip_transforms.volume import Volume

_FORMATS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"BM": "BMP",
}
_COLOUR_MODES = {"RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV", "PA", "RGBX", "RGBa"}
_ORIENTATION = 0x0112
_LEAST_MEMORY, _COPIES, _SLOWEST = 1 << 29, 5, 2e6
"""Bytes that any picture may take to read, copies of its pixels as float32 beyond that, and bytes a second."""
_PNG_BITS, _SIXTEEN = 24, 16  # where the header says how many bits a value has
_PNG_COLOUR, _GREY_WITH_OPACITY = 25, b"\x04"


def scan_image(path: Path) -> Series:
    """Describe an image file from its header; the pages of a TIFF are a stack of images.

    Raises:
        InputError: When the header cannot be read, or pages differ in size.
    """
    try:
        facts = call_foreign(_facts_of, path, what=f'"{path.name}"')
    except OSError as error:
        raise _cannot_open(path, error) from error
    return Series(
        uid=stable_uid(path),
        format=FileFormat.IMAGE,
        files=(path,),
        modality="",
        image_type=ImageType.PLAIN,
        study_uid="",
        shape=(facts.width, facts.height, facts.n_pages, facts.n_points),
        channels=3 if facts.is_colour else 1,
    )


def read_image(series: Series, *, time_point: int = 0) -> Volume:
    """Read an image file: x counts columns, y rows, z pages; no orientation, no spacing in mm.

    A photograph is turned upright as its EXIF orientation says. Transparency is laid on black. Values keep all their
    bits; MinIsWhite is turned round.

    Raises:
        InputError: When the pixels cannot be read or pages differ in size or colour.
    """
    path, n_points = series.files[0], series.shape[3]
    if not 0 <= time_point < n_points:
        raise InputError(
            f'"{path.name}" has {n_points} time points, numbered 0 to {n_points - 1}; {time_point} is none of them.'
        )
    try:
        facts, pixels, sha256 = call_foreign(
            _read_pixels, path, time_point, what=f'"{path.name}"', limits=_limits(series, path.stat().st_size)
        )
    except OSError as error:
        raise _cannot_open(path, error) from error
    expected = (series.channels, *series.shape[2::-1])
    if pixels.values.shape != expected:
        raise InputError(f'"{path.name}" has other pixels than its header says; it is damaged: copy it again.')
    return make_volume(
        np.ascontiguousarray(pixels.values).transpose(0, 3, 2, 1),
        np.eye(4),
        series,
        slice_axis=2,
        has_orientation=False,
        display_range=pixels.display_range,
        source=SourceRef(series, hash_of_hashes([sha256]), time_point),
        notes=facts.notes + pixels.notes,
    )


def _limits(series: Series, file_bytes: int) -> CallLimits:
    """What reading one point may take: more for pictures and stacks that are large."""
    n_bytes = 4 * math.prod(series.shape[:3]) * series.channels
    return CallLimits(60 + (file_bytes + n_bytes) / _SLOWEST, _LEAST_MEMORY + file_bytes + _COPIES * n_bytes)


def _facts_of(path: Path) -> PictureFacts:
    with path.open("rb") as file:
        return picture_facts(file, path)


def _read_pixels(path: Path, point: int) -> tuple[PictureFacts, Pixels, str]:
    """What a file says of itself, one point of it, and the file's SHA-256."""
    file = read_file(path)
    facts = picture_facts(io.BytesIO(file.content), path)
    return facts, _pixels(io.BytesIO(file.content), path, facts, point), file.sha256


def picture_facts(file: BinaryIO, path: Path) -> PictureFacts:
    """Describe a picture from its header.

    Args:
        file: The open file.
        path: Its name, for messages.

    Raises:
        InputError: When it cannot be read.
    """
    kind = _format(file, path)
    if kind == "TIFF":
        from moeclip_transforms.tiff import tiff_facts

        facts = tiff_facts(file, path)
        if facts is not None:
            return facts
    with _open(file, path, kind) as image:
        is_tiff = kind == "TIFF"  # Pillow turns TIFF upright by itself
        try:
            orientation = 1 if is_tiff else valid_orientation(image.getexif().get(_ORIENTATION, 1))
        except DAMAGED as error:  # of a PNG, the pixels are decoded for it
            raise _damaged(path, 1, error) from error
        width, height = upright_size(*image.size, orientation)
        n_pages = _page_count(path, image)
        notes = orientation_notes(orientation)
        if not is_tiff:  # frames of an animation, or the previews of a telephone
            notes, n_pages = notes + further_images_note(n_pages - 1), 1
        is_colour = image.mode in _COLOUR_MODES and not _is_grey_png(file, kind)
    return PictureFacts(width, height, n_pages, 1, is_colour, orientation, notes)


def _is_grey_png(file: BinaryIO, kind: str) -> bool:
    """Whether a PNG is grey with opacity; Pillow takes one of 16 bits for colour."""
    if kind != "PNG":
        return False
    file.seek(_PNG_COLOUR)
    return file.read(1) == _GREY_WITH_OPACITY


def _format(file: BinaryIO, path: Path) -> str:
    """What the first bytes say; the file is put back to its start."""
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    kind = next((kind for mark, kind in _FORMATS.items() if head.startswith(mark)), "")
    if not kind:
        raise InputError(f'"{path.name}" is not a readable image; expected PNG, JPEG, TIFF or BMP.')
    return kind


def _pixels(file: io.BytesIO, path: Path, facts: PictureFacts, point: int) -> Pixels:
    kind = _format(file, path)
    if kind == "TIFF":
        from moeclip_transforms.tiff import read_tiff, tiff_facts

        if tiff_facts(file, path) is not None:
            file.seek(0)
            return read_tiff(file, path, point, facts.orientation)
        file.seek(0)
    if kind == "PNG" and file.getbuffer()[_PNG_BITS] == _SIXTEEN:
        return _deep_png(file.getvalue(), path, facts)
    return _by_pillow(file, path, kind, facts)


def _deep_png(content: bytes, path: Path, facts: PictureFacts) -> Pixels:
    """A PNG of 16 bits per value, of which Pillow would keep 8 in colour."""
    from imagecodecs import PngError, png_decode

    try:
        stored = png_decode(content)
    except (PngError, *DAMAGED, RuntimeError) as error:
        raise _damaged(path, 1, error) from error
    stored = np.atleast_3d(stored)
    stored = stored.transpose(2, 0, 1)[:, None]
    span, note = display_range(stored.dtype, float(stored[:3].max()), is_colour=facts.is_colour)
    values = turn_upright(without_opacity(stored), facts.orientation)
    return Pixels(values, span, (note,) if note else ())


def _by_pillow(file: BinaryIO, path: Path, kind: str, facts: PictureFacts) -> Pixels:
    pages: list[NDArray[np.float32]] = []
    with _open(file, path, kind) as image:
        mode = image.mode
        for page in range(facts.n_pages):
            try:
                image.seek(page)
                pixels = turn_upright(_page(image, colour=facts.is_colour), facts.orientation)
            except DAMAGED as error:
                raise _damaged(path, page + 1, error) from error
            _, rows, columns = pixels.shape
            if (columns, rows) != (facts.width, facts.height):
                raise InputError(
                    f'Page {page + 1} of "{path.name}" has {columns}×{rows} pixels, the first '
                    f"{facts.width}×{facts.height}; expected pages of one size: save them as single files."
                )
            pages.append(pixels)
    dtypes = {"1": np.bool_, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
    span, _ = display_range(np.dtype(dtypes.get(mode, np.uint8)), 0.0, is_colour=facts.is_colour)
    return Pixels(np.stack(pages, axis=1), span)


def _page(image: Image, *, colour: bool) -> NDArray[np.float32]:
    """(channel, row, column) of the current page."""
    has_opacity = "transparency" in image.info or image.mode in ("RGBA", "PA", "RGBa", "LA", "La")
    if not colour and not has_opacity:
        return np.asarray(image, dtype=np.float32)[None]
    mode = ("RGB" if colour else "L") + ("A" if has_opacity else "")
    stored = np.asarray(image.convert(mode))
    return without_opacity(np.moveaxis(np.atleast_3d(stored), -1, 0))


def _open(file: BinaryIO, path: Path, kind: str) -> Image:
    """Open with Pillow as the one format that the first bytes say, so that no other decoder is reached."""
    import PIL.Image

    try:
        with quietly():
            image = PIL.Image.open(file, formats=[kind])
    except PIL.Image.DecompressionBombError as error:
        raise InputError(
            f'"{path.name}" declares more than {PIL.Image.MAX_IMAGE_PIXELS} pixels; cut it into smaller images.'
        ) from error
    except DAMAGED as error:
        raise InputError(f'"{path.name}" is not a readable image; expected PNG, JPEG, TIFF or BMP.') from error
    check_area(*image.size, path.name)
    return image


def _page_count(path: Path, image: Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except DAMAGED as error:
        raise InputError(
            f'The pages of "{path.name}" cannot be counted ({reason(error)}); the file is damaged: copy it again.'
        ) from error


def _cannot_open(path: Path, error: OSError) -> InputError:
    return InputError(f'"{path.name}" cannot be opened ({reason(error)}).')


def _damaged(path: Path, page: int, error: BaseException) -> InputError:
    return InputError(
        f'The pixels of "{path.name}" (page {page}) cannot be read ({reason(error)}); '
        f"the file is truncated or damaged: copy it again."
    )


READER = FileReader((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), scan_image, read_image)
