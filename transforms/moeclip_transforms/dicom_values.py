"""Stored DICOM values turned to float32 images: colour tables, rescale, inversion, padding and unused bits undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.uid import RLELossless

from moeclip_transforms.dicom_header import first_item, items, number, text
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    Allocate = Callable[[tuple[int, ...]], NDArray[np.float32]]

_DISPLAY_BITS = 8
_GREY_DIMENSIONS, _COLOUR_DIMENSIONS = 2, 3
_BAND_PIXELS = 2**20
ALIKE = {
    "FrameOfReferenceUID": "frames of reference (0020,0052), so their positions",
    "Modality": "modalities (0008,0060), so their values",
    "Units": "units (0054,1001), so their values",
}
"""What all slices of a volume should have in common, by its keyword, and what may not fit together otherwise."""
_OVERLAY_BIT_POSITIONS = range(0x60000102, 0x60200102, 0x20000)


def _zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.zeros(shape, dtype=np.float32)


@dataclass
class Canvas:
    """What the frames of a volume are decoded into.

    Attributes:
        depth: Number of frames.
        rows: Rows of each.
        columns: Columns of each.
        allocate: From a shape to an array of float32 zeros.
        values: (channel, frame, row, column) float32, bright is high; None until the first frame is decoded.
        padding: (frame, row, column) bool where the scanner wrote padding; None while there is none.
        errors: Why a frame could not be decoded, by its index.
        notes: What else has to be said.
        is_rescaled: Of each frame that was put: whether its header tells how to rescale it; None where it need not be.
        named: What the headers say of each of `ALIKE`.
    """

    depth: int
    rows: int
    columns: int
    allocate: Allocate = _zeros
    values: NDArray[np.float32] | None = None
    padding: NDArray[np.bool_] | None = None
    errors: dict[int, InputError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_rescaled: set[bool | None] = field(default_factory=set)
    named: dict[str, set[str]] = field(default_factory=lambda: {keyword: set() for keyword in ALIKE})

    def place(self, path: Path, z: int, shape: tuple[int, ...], n_channels: int) -> NDArray[np.float32]:
        """The (channel, row, column) place of a frame.

        Raises:
            InputError: When the frame has another size than the others.
        """
        if self.values is None:
            self.values = self.allocate((n_channels, self.depth, self.rows, self.columns))
        if shape != (self.rows, self.columns) or n_channels != len(self.values):
            raise InputError(f'"{path.name}" decodes to another size than its header declares.')
        return self.values[:, z]

    def mark_padding(self, z: int, band: slice, mask: NDArray[np.bool_]) -> None:
        """Say where padding stands in some rows of a frame."""
        if not mask.any():
            return
        if self.padding is None:
            self.padding = np.zeros((self.depth, self.rows, self.columns), dtype=bool)
        self.padding[z, band] = mask

    def darken_padding(self) -> None:
        """Set padding to the lowest measured value, so that it stays dark; a part of a frame at a time."""
        if self.padding is None or self.values is None:
            return
        bands = [(z, band) for z in range(self.depth) for band in _bands(self.rows, self.columns)]
        lowest = np.float32(np.inf)
        for z, band in bands:
            measured = self.values[0, z, band][~self.padding[z, band]]
            lowest = min(lowest, measured.min()) if len(measured) else lowest
        if np.isfinite(lowest):
            for z, band in bands:
                self.values[:, z, band][:, self.padding[z, band]] = lowest


class FrameFinisher:
    """Puts the stored values of one file's frames on a canvas; what all frames share is looked up once.

    A part of a frame at a time, since a radiograph of 16 million pixels is no reason to need it four times over.
    """

    def __init__(self, path: Path, dataset: Dataset, canvas: Canvas) -> None:
        self._path, self._dataset, self._canvas = path, dataset, canvas
        for keyword in ALIKE:
            canvas.named[keyword].add(text(dataset, keyword))
        self._photometric = photometric(dataset)
        self._is_signed = number(dataset, "PixelRepresentation") == 1
        self._bits = int(number(dataset, "BitsStored") or number(dataset, "BitsAllocated") or 16)
        self._lowest_bit = self._find_lowest_bit()
        self._has_overlay_bits = any((number(dataset, tag) or 0) > 0 for tag in _OVERLAY_BIT_POSITIONS)
        self._padding = self._padding_range()
        self._per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
        self._shared = first_item(dataset, "SharedFunctionalGroupsSequence")

    def put(self, frame: int, z: int, stored: NDArray[Any]) -> None:
        """Put one frame.

        Args:
            frame: Its zero-based number in the file.
            z: Its index on the canvas.
            stored: (row, column) or (row, column, sample), as decompressed.

        Raises:
            InputError: When it has another size or shape than it should.
        """
        if self._photometric == "PALETTE COLOR":
            coloured = apply_color_lut(stored, self._dataset)
            target = self._canvas.place(self._path, z, coloured.shape[:2], coloured.shape[2])
            scale = np.float32(255.0 / np.iinfo(coloured.dtype).max)
            np.multiply(np.moveaxis(coloured, -1, 0), scale, out=target, casting="unsafe")
        elif stored.ndim == _COLOUR_DIMENSIONS:
            target = self._canvas.place(self._path, z, stored.shape[:2], stored.shape[2])
            target[...] = np.moveaxis(stored, -1, 0)
        elif stored.ndim == _GREY_DIMENSIONS:
            target = self._canvas.place(self._path, z, stored.shape, 1)[0]
            finish = self._grey(frame)
            for band in _bands(*stored.shape):
                part = self._without_unused_bits(stored[band])
                if self._padding is not None:
                    self._canvas.mark_padding(z, band, (part >= self._padding[0]) & (part <= self._padding[1]))
                finish(part, target[band])
        else:
            raise InputError(f"The decoded frame has {stored.ndim} dimensions; expected 2 or 3.")

    def _grey(self, frame: int) -> Callable[[NDArray[Any], NDArray[np.float32]], None]:
        """What writes the rescaled values of some rows of a frame, bright is high."""
        slope, intercept = self._slope_and_intercept(frame)
        has_table = slope is None and "ModalityLUTSequence" in self._dataset
        is_identity = (slope, intercept) == (1.0, 0.0)
        self._canvas.is_rescaled.add(None if is_identity else slope is not None or has_table)
        is_inverted = self._photometric == "MONOCHROME1"
        ends = self._table_ends() if has_table else self._linear_ends(slope or 1.0, intercept or 0.0)
        total = np.float32(ends[0]) + np.float32(ends[1])

        def finish(part: NDArray[Any], target: NDArray[np.float32]) -> None:
            target[...] = apply_modality_lut(part, self._dataset) if has_table else part
            if slope not in (None, 1.0):
                target *= np.float32(slope)
            if intercept:
                target += np.float32(intercept)
            if is_inverted:
                np.subtract(total, target, out=target)

        return finish

    def _linear_ends(self, slope: float, intercept: float) -> tuple[float, float]:
        """What the lowest and the highest value that the stored bits can hold are rescaled to."""
        low = -(2 ** (self._bits - 1)) if self._is_signed else 0
        return low * slope + intercept, (low + 2**self._bits - 1) * slope + intercept

    def _table_ends(self) -> tuple[float, float]:
        """The lowest and the highest value of the Modality LUT (PS3.3 C.11.1)."""
        item = first_item(self._dataset, "ModalityLUTSequence")
        entries = int((item.LUTDescriptor[0] if item is not None else 0) or 2**16)
        first = self._dataset.get("PixelRepresentation", 0)
        start = int(item.LUTDescriptor[1]) if item is not None else int(first)
        inputs = np.arange(start, start + entries, dtype=np.int32)
        outputs = apply_modality_lut(inputs, self._dataset)
        return float(outputs.min()), float(outputs.max())

    def _find_lowest_bit(self) -> int:
        """Where values begin, 0 today; older equipment put them into the upper bits (High Bit, PS3.5 8.1.1)."""
        syntax = self._dataset.file_meta.TransferSyntaxUID
        high, allocated = number(self._dataset, "HighBit"), number(self._dataset, "BitsAllocated") or 16
        if high is None or not self._bits <= high < allocated or (syntax.is_encapsulated and syntax != RLELossless):
            return 0
        return int(high) + 1 - self._bits

    def _without_unused_bits(self, part: NDArray[Any]) -> NDArray[Any]:
        """Stored values without the bits above and below Bits Stored, where overlays may stand (PS3.5 8.1.1)."""
        above = 8 * part.dtype.itemsize - self._bits - self._lowest_bit
        if part.dtype.kind not in "iu" or above < 0 or above + self._lowest_bit == 0:
            return part
        kept: NDArray[Any] = (part << above) >> (above + self._lowest_bit)
        if not (self._lowest_bit or self._has_overlay_bits) and ((kept != part) & (part >> self._bits != 0)).any():
            self._canvas.notes.append(
                f"Stored values need more bits than Bits Stored (0028,0101) says ({self._bits}); those above are left "
                "out."
            )
        return kept

    def _padding_range(self) -> tuple[float, float] | None:
        """Pixel Padding Value (0028,0120) to Pixel Padding Range Limit (0028,0121) (PS3.3 C.7.5.1.1.2)."""
        value, limit = self._stored_number("PixelPaddingValue"), self._stored_number("PixelPaddingRangeLimit")
        if value is None:
            return None
        return (value, value) if limit is None else (min(value, limit), max(value, limit))

    def _stored_number(self, keyword: str) -> float | None:
        """A pixel value from the header; its sign follows the pixels even where its VR was written wrongly."""
        value = number(self._dataset, keyword)
        if value is not None and self._is_signed and value >= 2**15:
            bits = number(self._dataset, "BitsAllocated") or 16
            return value - 2**bits if value < 2**bits else value
        return value

    def _slope_and_intercept(self, frame: int) -> tuple[float | None, float | None]:
        """Rescale of a frame: its own functional group, the shared one, the file's top level (PS3.3 C.7.6.16.2.9)."""
        own = self._per_frame[frame] if frame < len(self._per_frame) else None
        groups = [group for group in (own, self._shared) if group is not None]
        found = [first_item(group, "PixelValueTransformationSequence") for group in groups]
        for item in [*found, self._dataset]:
            if item is None:
                continue
            slope = self._rescale_number(item, "RescaleSlope", usual=1)
            intercept = self._rescale_number(item, "RescaleIntercept", usual=0)
            if slope is not None or intercept is not None:
                return (1.0 if slope is None else slope), (intercept or 0.0)
        return None, None

    def _rescale_number(self, item: Dataset, keyword: str, *, usual: int) -> float | None:
        """A number to rescale by; says it where it is damaged, since values without it have another unit."""
        value = number(item, keyword)
        if value is None and text(item, keyword):
            self._canvas.notes.append(f"{keyword} is no number; {usual} is taken: values may have another unit.")
        if value == 0 and usual:
            self._canvas.notes.append(f"{keyword} is 0, which would leave no image; {usual} is taken.")
            return float(usual)
        return value


def photometric(dataset: Dataset) -> str:
    """Return Photometric Interpretation (0028,0004), in capitals as the standard has it."""
    return text(dataset, "PhotometricInterpretation").upper()


def display_range(dataset: Dataset) -> tuple[float, float] | None:
    """The range of values of an image stored ready for display (colour, or 8-bit grey without a unit), or None."""
    if photometric(dataset) == "PALETTE COLOR":
        return (0.0, 255.0)
    bits = number(dataset, "BitsStored") or 0
    is_plain = number(dataset, "RescaleSlope") in (None, 1.0) and number(dataset, "RescaleIntercept") in (None, 0.0)
    is_colour = (number(dataset, "SamplesPerPixel") or 1) > 1
    is_signed = number(dataset, "PixelRepresentation") == 1
    is_for_display = is_colour or (is_plain and bits <= _DISPLAY_BITS)
    return (0.0, float(2**bits - 1)) if is_for_display and bits >= 1 and not is_signed else None


def _bands(rows: int, columns: int) -> Iterator[slice]:
    """A frame's rows in parts of about a million pixels."""
    step = max(1, _BAND_PIXELS // max(1, columns))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))
