"""TIFF through tifffile, with all its bits: stacks, planar and signed images, ImageJ and OME files."""

from __future__ import annotations

import logging
import math
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage

_BY_TIFFFILE = {1, 5, 8, 32773, 32946, 34925, 50000, 50001}
"""Uncompressed, LZW, deflate, PackBits, LZMA, Zstandard, WebP: whatever the bits, bounded by the size of the image."""
_BY_PILLOW = {2, 3, 4, 7}
"""Fax and JPEG: bytes at most."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
_PREMULTIPLIED, _OPACITY = 1, 2
_ORIENTATION = 274
_HIGHEST_RATIO = 100_000
_STACK_AXES = "ZIQ"
_LISTS_OF_PAGES = {"generic", "shaped", "uniform"}
"""Kinds of series, in tifffile's words, that are nothing but pages of one size behind each other."""
_COLOURS = 3


@dataclass(frozen=True)
class _Stack:
    """The pages that are read, as one array.

    Attributes:
        axes: What each axis is, a letter each, as tifffile calls them.
        shape: The stored shape.
        pages: Where its pixels lie; None for one that is missing.
        read: Decodes it.
        n_further: How many more images the file holds.
    """

    axes: str
    shape: tuple[int, ...]
    pages: tuple[TiffPage | None, ...]
    read: Callable[[], NDArray[Any]]
    n_further: int = 0


@dataclass(frozen=True)
class _Layout:
    """Which stored axes are what.

    Attributes:
        points: Axes of time, channels that are no colours, and whatever else.
        samples: The axis of colours and opacity, or none.
        pages: Axes of the stack.
        plane: Rows and columns.
        shape: The stored shape.
    """

    points: tuple[int, ...]
    samples: tuple[int, ...]
    pages: tuple[int, ...]
    plane: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def n_points(self) -> int:
        return math.prod(self.shape[axis] for axis in self.points)

    @property
    def n_pages(self) -> int:
        return math.prod(self.shape[axis] for axis in self.pages)

    def arranged(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return (point, sample, page, row, column)."""
        ordered = stored.transpose((*self.points, *self.samples, *self.pages, *self.plane))
        return ordered.reshape(self.n_points, -1, self.n_pages, *ordered.shape[-2:])


def tiff_facts(file: BinaryIO, path: Path) -> PictureFacts | None:
    """Describe a TIFF file from its headers; None where Pillow has to decode it (photographs: JPEG, fax, CMYK).

    Raises:
        InputError: When it cannot be read, or its pages differ in size.
    """
    with _opened(file, path) as tiff:
        page = _first_page(tiff, path)
        if page.compression in _BY_PILLOW or page.photometric > _PALETTE:
            return None
        _check_pages(tiff, page, path)
        stack = _stack_of(tiff)
        layout = _layout(stack, page)
        _check(tiff, page, stack, path)
        _check_chain(tiff, path)
        orientation = _orientation(page)
        width, height = upright_size(page.imagewidth, page.imagelength, orientation)
        notes = orientation_notes(orientation) + further_images_note(stack.n_further)
        if layout.n_points > 1:
            what = "".join(stack.axes[axis] for axis in layout.points)
            notes += (f"It holds {layout.n_points} images of one place (axes {what}); they are taken for time points.",)
        return PictureFacts(width, height, layout.n_pages, layout.n_points, _has_colours(page), orientation, notes)


def read_tiff(file: BinaryIO, path: Path, point: int, orientation: int) -> Pixels:
    """Read one point of a TIFF file, with all its bits.

    Args:
        file: The file.
        path: Its name, for messages.
        point: Which time point, or channel that is no colour.
        orientation: The EXIF orientation to undo.

    Raises:
        InputError: When the pixels cannot be read.
    """
    with _opened(file, path) as tiff:
        page = _first_page(tiff, path)
        stack = _stack_of(tiff)
        stored = _layout(stack, page).arranged(stack.read())[point]
        values, span, note = _values(stored, page)
    return Pixels(turn_upright(values, orientation), span, (note,) if note else ())


class _Alone:
    """A file without name and descriptor: tifffile looks for files that it names (OME, Micro-Manager) nowhere else."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.readinto = getattr(file, "readinto", None)


@contextmanager
def _opened(file: BinaryIO, path: Path) -> Iterator[TiffFile]:
    """Open with tifffile; what it raises or complains about is a damaged file."""
    import tifffile

    logger = logging.getLogger("tifffile")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with tifffile.TiffFile(_Alone(file)) as tiff:  # type: ignore[arg-type]  # all that it needs of a file
            yield tiff
    except InputError:
        raise
    except (*DAMAGED, RuntimeError, tifffile.TiffFileError) as error:
        raise InputError(
            f'"{path.name}" cannot be read as TIFF ({reason(error)}); it is truncated or damaged: copy it again.'
        ) from error
    finally:
        logger.disabled = was_disabled


def _first_page(tiff: TiffFile, path: Path) -> TiffPage:
    import tifffile

    page = tiff.pages.first
    if not isinstance(page, tifffile.TiffPage) or not tiff.series:
        raise InputError(f'"{path.name}" holds no picture; expected a TIFF with at least one page.')
    return page


def _check_chain(tiff: TiffFile, path: Path) -> None:
    """Refuse a list of pages that does not end: tifffile reads those before the damage as if they were all."""
    form, last = tiff.tiff, tiff.pages[-1]
    tiff.filehandle.seek(last.offset)
    (count,) = struct.unpack(form.tagnoformat, tiff.filehandle.read(form.tagnosize))
    tiff.filehandle.seek(count * form.tagsize, 1)
    (following,) = struct.unpack(form.offsetformat, tiff.filehandle.read(form.offsetsize))
    if following:
        raise InputError(
            f'"{path.name}" names a page after its page {len(tiff.pages)} that cannot be there; it is truncated or '
            "damaged: copy it again."
        )


def _stack_of(tiff: TiffFile) -> _Stack:
    """The first series of a file; all its pages where each was written as a series of its own (tifffile's writer)."""
    first, pages = tiff.series[0], _full_pages(tiff)
    own: Any = first.pages
    n_further = sum(_is_full(other.keyframe) for other in tiff.series[1:])
    if n_further and first.kind in _LISTS_OF_PAGES:

        def read() -> NDArray[Any]:
            return np.stack([page.asarray(maxworkers=1) for page in pages])

        return _Stack(f"I{pages[0].axes}", (len(pages), *pages[0].shape), tuple(pages), read)
    return _Stack(first.axes, tuple(first.shape), tuple(own), lambda: first.asarray(maxworkers=1), n_further)


def _full_pages(tiff: TiffFile) -> list[TiffPage]:
    pages: Any = tiff.pages
    return [page for page in pages if _is_full(page)]


def _is_full(page: object) -> bool:
    """Whether a page is a picture: no thumbnail, level of a pyramid, or mask of transparency."""
    return not (getattr(page, "is_reduced", False) or getattr(page, "is_mask", False))


def _layout(stack: _Stack, page: TiffPage) -> _Layout:
    axes, shape = stack.axes, stack.shape
    keeps_samples = _has_colours(page) or _OPACITY in page.extrasamples or _PREMULTIPLIED in page.extrasamples
    pages = [axis for axis, kind in enumerate(axes) if kind in _STACK_AXES]
    if not pages:  # a film without depth is looked at as a stack
        pages = [axis for axis, kind in enumerate(axes) if kind == "T"]
    samples = [axis for axis, kind in enumerate(axes) if kind == "S" and keeps_samples]
    plane = [axes.index("Y"), axes.index("X")]
    points = [axis for axis in range(len(axes)) if axis not in {*pages, *samples, *plane}]
    return _Layout(tuple(points), tuple(samples), tuple(pages), tuple(plane), tuple(int(size) for size in shape))


def _has_colours(page: TiffPage) -> bool:
    return page.photometric == _PALETTE or (page.photometric == _RGB and page.samplesperpixel >= _COLOURS)


def _check_pages(tiff: TiffFile, page: TiffPage, path: Path) -> None:
    """Refuse what cannot be decoded, or has pages of several sizes or kinds."""
    if page.compression not in _BY_TIFFFILE:
        raise InputError(
            f'"{path.name}" is compressed as {page.compression!s}; expected LZW, deflate, JPEG or none: convert it.'
        )
    check_area(page.imagewidth, page.imagelength, path.name)
    if tiff.is_ome or tiff.is_imagej:
        return
    for number, other in enumerate(_full_pages(tiff), start=1):
        if (other.imagewidth, other.imagelength) != (page.imagewidth, page.imagelength):
            raise InputError(
                f'Page {number} of "{path.name}" has {other.imagewidth}×{other.imagelength} pixels, the first '
                f"{page.imagewidth}×{page.imagelength}; expected pages of one size: save them as single files."
            )
        if _kind(other) != _kind(page):
            raise InputError(
                f'Page {number} of "{path.name}" holds other values than the first (colours, type, orientation or '
                "compression); expected pages of one kind: save them as single files."
            )


def _kind(page: TiffPage) -> tuple[object, ...]:
    """What the pages of a stack have in common."""
    is_decoded = page.compression in _BY_TIFFFILE
    return page.shape, page.dtype, page.photometric, page.extrasamples, _orientation(page), is_decoded


def _orientation(page: TiffPage) -> int:
    return valid_orientation(page.tags.valueof(_ORIENTATION, 1))


def _check(tiff: TiffFile, page: TiffPage, stack: _Stack, path: Path) -> None:
    """Refuse what declares more than it can hold."""
    declared, size = math.prod(stack.shape) * page.bitspersample // 8, tiff.filehandle.size
    if declared > size * (1 if page.compression == 1 else _HIGHEST_RATIO):
        raise InputError(
            f'"{path.name}" declares {declared} bytes of pixels, more than its {size} bytes can hold; it is truncated '
            "or damaged: copy it again."
        )
    for number, part in enumerate(stack.pages, start=1):
        places = [] if part is None else zip(part.dataoffsets, part.databytecounts, strict=True)
        if part is None or any(count < 1 or offset + count > size for offset, count in places):
            raise InputError(
                f'The pixels of "{path.name}" (page {number}) are not all there; it is truncated: copy it again.'
            )


def _values(stored: NDArray[Any], page: TiffPage) -> tuple[NDArray[np.float32], tuple[float, float] | None, str]:
    """(sample, page, row, column) as stored become (channel, page, row, column), their display range and a note."""
    if page.photometric == _PALETTE and page.colormap is not None:
        return page.colormap[:, stored[0]].astype(np.float32) / np.float32(257), (0.0, 255.0), ""
    n_kept = _COLOURS if _has_colours(page) else 1
    is_premultiplied = _PREMULTIPLIED in page.extrasamples[:1]
    if is_premultiplied or _OPACITY in page.extrasamples[:1]:
        n_kept += 1
    span, note = display_range(stored.dtype, float(stored[:_COLOURS].max()), is_colour=_has_colours(page))
    values = without_opacity(stored[:n_kept], is_premultiplied=is_premultiplied)
    if page.photometric == _WHITE_IS_ZERO:
        values = np.float32(2**page.bitspersample - 1 if stored.dtype.kind in "bu" else 0) - values
    return values, span, note
