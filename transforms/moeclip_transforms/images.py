"""Photographs and stacks: PNG, JPEG, TIFF (also of many pages) and BMP through Pillow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.assemble import make_volume
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason, stable_uid
from moeclip_transforms.volume import FileFormat, ImageKind, Series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from moeclip_transforms.volume import Volume

_COLOUR_MODES = {"RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV", "PA", "RGBX", "RGBa"}
_DISPLAY_MODES = {"1": 1.0, "L": 255.0, "LA": 255.0}
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, MemoryError)


def scan_image(path: Path) -> Series:
    """Describe an image file from its header; the pages of a TIFF are a stack of images.

    Raises:
        InputError: When the header cannot be read, or pages differ in size.
    """
    with _open(path) as image:
        width, height = image.size
        is_colour = image.mode in _COLOUR_MODES
        n_pages = _page_count(path, image)
    return Series(
        uid=stable_uid(path),
        format=FileFormat.IMAGE,
        files=(path,),
        modality="",
        kind=ImageKind.PLAIN,
        study_uid="",
        shape=(width, height, n_pages, 1),
        channels=3 if is_colour else 1,
    )


def read_image(series: Series) -> Volume:
    """Read an image file: x counts columns, y rows, z pages; no orientation, spacing 1.

    Transparency is laid on black. 16-bit and float images keep their values.

    Raises:
        InputError: When the pixels cannot be read or pages differ in size or colour.
    """
    path = series.files[0]
    width, height, n_pages, _ = series.shape
    array: NDArray[np.float32] = np.empty((series.channels, n_pages, height, width), dtype=np.float32)
    with _open(path) as image:
        mode = image.mode
        for page in range(n_pages):
            try:
                image.seek(page)
                pixels = _pixels(image, colour=series.is_colour)
            except _DAMAGED as error:
                msg = (
                    f'The pixels of "{path.name}" (page {page + 1}) cannot be read ({reason(error)}); '
                    f"the file is truncated or damaged: copy it again."
                )
                raise InputError(msg) from error
            if pixels.shape != (series.channels, height, width):
                msg = (
                    f'Page {page + 1} of "{path.name}" has {pixels.shape[2]}×{pixels.shape[1]} pixels, the first '
                    f"{width}×{height}; expected pages of one size: save them as single files."
                )
                raise InputError(msg)
            array[:, page] = pixels
    top = 255.0 if series.is_colour else _DISPLAY_MODES.get(mode)
    return make_volume(
        array.transpose(0, 3, 2, 1),
        np.eye(4),
        series,
        slice_axis=2,
        has_orientation=False,
        display_range=None if top is None else (0.0, top),
    )


def _open(path: Path) -> Image:
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            return PIL.Image.open(path)
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        msg = f'"{path.name}" declares more than {PIL.Image.MAX_IMAGE_PIXELS} pixels; cut it into smaller images.'
        raise InputError(msg) from error
    except _DAMAGED as error:
        msg = f'"{path.name}" is not a readable image; expected PNG, JPEG, TIFF or BMP.'
        raise InputError(msg) from error


def _page_count(path: Path, image: Image) -> int:
    if image.format != "TIFF":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except _DAMAGED as error:
        msg = f'The pages of "{path.name}" cannot be counted ({reason(error)}); the file is damaged: copy it again.'
        raise InputError(msg) from error


def _pixels(image: Image, *, colour: bool) -> NDArray[np.float32]:
    """(channel, row, column) of the current page."""
    if not colour:
        grey = image.convert("L") if image.mode == "LA" else image
        return np.asarray(grey, dtype=np.float32)[None]
    if "transparency" in image.info or image.mode in ("RGBA", "PA", "RGBa"):
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float32)
        values = rgba[..., :3] * (rgba[..., 3:] / np.float32(255.0))
    else:
        values = np.asarray(image.convert("RGB"), dtype=np.float32)
    return np.moveaxis(values, -1, 0)
