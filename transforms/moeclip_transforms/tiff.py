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
    orientation_notes,
    turn_upright,
    upright_size,
    valid_orientation,
    without_opacity,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage

_BY_TIFFFILE = {1, 5, 8, 32773, 32946, 34925, 50000}
"""Uncompressed, LZW, deflate, PackBits, LZMA, Zstandard: whatever the bits, bounded by the size of the image."""
_BY_PILLOW = {2, 3, 4, 7, 50001}
"""Fax, JPEG and WebP: bytes at most."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
_PREMULTIPLIED, _OPACITY = 1, 2
_ORIENTATION = 274
_HIGHEST_RATIO = 100_000
_STACK_AXES = "ZIQ"
_COLOURS = 3


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
        layout = _layout(tiff, page)
        _check(tiff, page, layout, path)
        _check_chain(tiff, path)
        orientation = valid_orientation(page.tags.valueof(_ORIENTATION, 1))
        width, height = upright_size(page.imagewidth, page.imagelength, orientation)
        notes = orientation_notes(orientation)
        if layout.n_points > 1:
            what = "".join(tiff.series[0].axes[axis] for axis in layout.points)
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
        stored = _layout(tiff, page).arranged(tiff.series[0].asarray(maxworkers=1))[point]
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


def _layout(tiff: TiffFile, page: TiffPage) -> _Layout:
    axes, shape = tiff.series[0].axes, tiff.series[0].shape
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


def _check(tiff: TiffFile, page: TiffPage, layout: _Layout, path: Path) -> None:
    """Refuse what cannot be decoded, declares more than it can hold, or has pages of several sizes."""
    if page.compression not in _BY_TIFFFILE:
        raise InputError(
            f'"{path.name}" is compressed as {page.compression!s}; expected LZW, deflate, JPEG or none: convert it.'
        )
    check_area(page.imagewidth, page.imagelength, path.name)
    if not (tiff.is_ome or tiff.is_imagej):
        pages: Any = tiff.pages
        for number, other in enumerate(pages, start=1):
            if getattr(other, "is_reduced", False):  # a thumbnail, or a level of a pyramid
                continue
            if (other.imagewidth, other.imagelength) != (page.imagewidth, page.imagelength):
                raise InputError(
                    f'Page {number} of "{path.name}" has {other.imagewidth}×{other.imagelength} pixels, the first '
                    f"{page.imagewidth}×{page.imagelength}; expected pages of one size: save them as single files."
                )
    declared, size = math.prod(layout.shape) * page.bitspersample // 8, tiff.filehandle.size
    if declared > size * (1 if page.compression == 1 else _HIGHEST_RATIO):
        raise InputError(
            f'"{path.name}" declares {declared} bytes of pixels, more than its {size} bytes can hold; it is truncated '
            "or damaged: copy it again."
        )
    for number, part in enumerate(tiff.series[0].pages, start=1):
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
