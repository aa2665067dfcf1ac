"""What a picture file says of itself, in one form for all its formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAMAGED = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, MemoryError)
"""What libraries raise on damaged pictures."""

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may take a picture for: no other of its decoders is reached, whatever a file holds."""

_FIRST_TURNED = 5
_BITS = (8, 10, 12, 14, 16, 24, 32)
_GREY_AND_OPACITY, _OPAQUE = 2, 4


@dataclass(frozen=True)
class PictureFacts:
    """A picture, upright.

    Attributes:
        width: Columns.
        height: Rows.
        n_pages: Pictures behind each other: a stack.
        n_points: Stacks behind each other: time points, or channels that are no colours.
        is_colour: Whether it has red, green and blue.
        orientation: The EXIF orientation, 1 to 8, that was undone.
        notes: What a user has to know.
    """

    width: int
    height: int
    n_pages: int = 1
    n_points: int = 1
    is_colour: bool = False
    orientation: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pixels:
    """The pixels of one point of a picture, upright.

    Attributes:
        values: (channel, page, row, column) float32.
        display_range: The lowest and highest value that a picture of its kind can hold; None for measured values.
        notes: What a user has to know.
    """

    values: NDArray[np.float32]
    display_range: tuple[float, float] | None
    notes: tuple[str, ...] = ()


def check_area(width: int, height: int, name: str) -> None:
    """Refuse a picture that is larger than Pillow would open without a warning.

    Raises:
        InputError: When it declares more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, or none.
    """
    import PIL.Image

    most = PIL.Image.MAX_IMAGE_PIXELS
    if min(width, height) < 1:
        raise InputError(f'"{name}" holds no pixels: its size is {width}×{height}.')
    if most is not None and width * height > most:
        raise InputError(f'"{name}" declares more than {most} pixels; cut it into smaller images.')


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return width and height after an EXIF orientation is undone."""
    return (height, width) if orientation >= _FIRST_TURNED else (width, height)


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (Exif 2.32, tag 0x0112) of (..., row, column)."""
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    turned = np.swapaxes(pixels, -1, -2) if orientation >= _FIRST_TURNED else pixels
    if flip_rows:
        turned = turned[..., ::-1, :]
    return turned[..., ::-1] if flip_columns else turned


def orientation_notes(orientation: int) -> tuple[str, ...]:
    """Say that a picture was turned, if it was."""
    if orientation == 1:
        return ()
    return (f"The picture was turned upright (EXIF orientation {orientation}); results are upright too.",)


def further_images_note(count: int) -> tuple[str, ...]:
    """Say how many further pictures of a file are not read, if there are any."""
    if count < 1:
        return ()
    return (f"It holds more images than the one that is read ({count}): save them as single files.",)


def valid_orientation(value: object) -> int:
    """Return an EXIF orientation, 1 where the value is none."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1  # noqa: PLR2004


def without_opacity(stored: NDArray[Any], *, is_premultiplied: bool = False) -> NDArray[np.float32]:
    """Lay transparency on black: (grey + opacity or red, green, blue + opacity, ...) become 1 or 3 channels."""
    n_colours = len(stored) - 1 if len(stored) in (_GREY_AND_OPACITY, _OPAQUE) else len(stored)
    colours = stored[:n_colours].astype(np.float32)
    if n_colours < len(stored) and not is_premultiplied:
        top = np.iinfo(stored.dtype).max if np.issubdtype(stored.dtype, np.integer) else 1
        colours *= stored[n_colours].astype(np.float32) / np.float32(top)
    return colours


def display_range(dtype: np.dtype[Any], highest: float, *, is_colour: bool) -> tuple[tuple[float, float] | None, str]:
    """Return the range that a picture's values are shown in, and a sentence where it was inferred.

    Bytes are stored ready for display. Colours of more bits are taken to use as many as their highest value needs;
    grey values of more than a byte are measurements, whose range the window finds.

    Args:
        dtype: The stored type.
        highest: The highest stored value.
        is_colour: Whether it has colours.
    """
    if dtype == np.bool_:
        return (0.0, 1.0), ""
    if dtype == np.uint8:
        return (0.0, 255.0), ""
    if not is_colour or highest <= 0:
        return None, ""
    if not np.issubdtype(dtype, np.integer):
        return ((0.0, 1.0), "") if highest <= 1 else (None, "")
    bits = next(bits for bits in _BITS if highest < 2.0**bits or bits == _BITS[-1])
    note = f"The colours use {bits} of {8 * dtype.itemsize} bits: {2**bits - 1} is taken for white."
    return (0.0, 2.0**bits - 1), "" if bits == 8 * dtype.itemsize else note
