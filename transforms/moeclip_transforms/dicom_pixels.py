"""DICOM frames decoded to float32: compression, colour, rescale, inversion and padding undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from moeclip_transforms.codestream import frame_sizes
from moeclip_transforms.dicom_header import BoundedFile, number, read_header, text
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset


_DISPLAY_BITS = 8
_RUST_PANIC = "PanicException"  # what codecs written in Rust raise; it is no Exception and has no public name
_GREY_DIMENSIONS, _COLOUR_DIMENSIONS = 2, 3


@dataclass(frozen=True)
class Pixels:
    """One decoded frame.

    Attributes:
        values: (channel, row, column) float32 after rescale, bright is high.
        padding: (row, column) bool where the scanner wrote padding, or None.
    """

    values: NDArray[np.float32]
    padding: NDArray[np.bool_] | None


def decode_frames(path: Path, numbers: Sequence[int]) -> Iterator[Pixels | InputError]:
    """Decode frames of one file one after the other; a frame that cannot be decoded gives its error instead.

    Args:
        path: The file.
        numbers: Zero-based frame numbers, ascending.
    """
    try:
        is_streamed = len(numbers) > 1 and _is_plain(read_header(path, force=True))
        with BoundedFile(path) as file:
            dataset = dcmread(file, stop_before_pixels=is_streamed, force=True)
        _ensure_transfer_syntax(dataset)
        _check_length(path, dataset)
        errors = _wrong_sizes(path, dataset)
    except Exception as error:  # noqa: BLE001  damaged files raise whatever the parser trips over
        yield from (_damaged(path, number, error) for number in numbers)
        return
    if is_streamed:
        yield from _decode_many(path, dataset, numbers)
    else:
        yield from (errors.get(number) or _decode_one(path, dataset, number) for number in numbers)


def display_range(dataset: Dataset) -> tuple[float, float] | None:
    """The range of values of an image stored ready for display (colour, or 8-bit grey without a unit), or None."""
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return (0.0, 255.0)
    bits = number(dataset, "BitsStored") or 0
    is_plain = number(dataset, "RescaleSlope") in (None, 1.0) and number(dataset, "RescaleIntercept") in (None, 0.0)
    is_colour = (number(dataset, "SamplesPerPixel") or 1) > 1
    is_signed = number(dataset, "PixelRepresentation") == 1
    is_for_display = is_colour or (is_plain and bits <= _DISPLAY_BITS)
    return (0.0, float(2**bits - 1)) if is_for_display and bits >= 1 and not is_signed else None


def _decode_one(path: Path, dataset: Dataset, frame: int) -> Pixels | InputError:
    try:
        count = int(number(dataset, "NumberOfFrames") or 1)
        stored = pixel_array(dataset, index=frame if count > 1 else None)
        return _finish(dataset, frame, stored)
    except BaseException as error:  # noqa: BLE001  codecs raise whatever they trip over
        return _damaged(path, frame, error)


def _decode_many(path: Path, dataset: Dataset, numbers: Sequence[int]) -> Iterator[Pixels | InputError]:
    """Stream frames from disk; after a frame that fails, go on behind it."""
    left = list(numbers)
    while left:
        done = 0
        try:
            for stored in iter_pixels(path, indices=left):
                pixels = _finish(dataset, left[done], stored)
                done += 1
                yield pixels
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  codecs raise whatever they trip over
            yield _damaged(path, left[done], error)
            done += 1
        left = left[done:]


def _is_plain(dataset: Dataset) -> bool:
    """Whether the file says how it was written, and that its pixels are not compressed."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return bool(syntax) and not syntax.is_compressed and not syntax.is_deflated


def _ensure_transfer_syntax(dataset: Dataset) -> None:
    """Fill in a missing Transfer Syntax UID with how the header was found to be written."""
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    is_implicit, is_little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def _wrong_sizes(path: Path, dataset: Dataset) -> dict[int, InputError]:
    """Compressed frames whose own size is not the header's: a decoder would claim memory for what they declare."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in dataset:
        return {}
    declared = (number(dataset, "Rows"), number(dataset, "Columns"))
    errors: dict[int, InputError] = {}
    for frame, size in enumerate(frame_sizes(dataset, int(number(dataset, "NumberOfFrames") or 1))):
        if size is not None and size != declared:
            errors[frame] = InputError(
                f'The compressed pixels of "{path.name}" (frame {frame + 1}) are {size[1]}×{size[0]}, but its '
                f"header says {declared[1]:g}×{declared[0]:g}; copy the file again."
            )
    return errors


def _check_length(path: Path, dataset: Dataset) -> None:
    """Refuse a file whose declared uncompressed size does not fit into it, before memory is claimed for it."""
    if not _is_plain(dataset):
        return
    bits = number(dataset, "BitsAllocated") or 0
    size = [number(dataset, keyword) or 1 for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")]
    samples = 2.0 if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422" else size[2]
    expected = int(size[0] * size[1] * samples * size[3] * bits / 8)
    actual = path.stat().st_size
    if expected > actual:
        msg = (
            f'"{path.name}" is truncated: its pixels need {expected} bytes, the whole file has {actual}; copy it again.'
        )
        raise InputError(msg)


def _finish(dataset: Dataset, frame: int, stored: NDArray[Any]) -> Pixels:
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        coloured = apply_color_lut(stored, dataset)
        scale = 255.0 / np.iinfo(coloured.dtype).max
        return Pixels(np.moveaxis(coloured, -1, 0).astype(np.float32) * np.float32(scale), None)
    if stored.ndim == _COLOUR_DIMENSIONS:
        return Pixels(np.moveaxis(stored, -1, 0).astype(np.float32), None)
    if stored.ndim != _GREY_DIMENSIONS:
        msg = f"The decoded frame has {stored.ndim} dimensions; expected 2 or 3."
        raise InputError(msg)
    padding = _padding(dataset, stored)
    values = _rescale(dataset, frame, stored)
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        values = _inverted(dataset, frame, values)
    return Pixels(values[None], padding)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where Pixel Padding Value (0028,0120), to Pixel Padding Range Limit (0028,0121), stands (PS3.3 C.7.5.1.1.2)."""
    value = _stored_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _stored_number(dataset: Dataset, keyword: str) -> float | None:
    """A pixel value from the header; its sign follows the pixels even where its VR was written wrongly."""
    value = number(dataset, keyword)
    if value is not None and number(dataset, "PixelRepresentation") == 1 and value >= 2**15:
        bits = number(dataset, "BitsAllocated") or 16
        return value - 2**bits if value < 2**bits else value
    return value


def _rescale(dataset: Dataset, frame: int, stored: NDArray[Any]) -> NDArray[np.float32]:
    slope, intercept = _slope_and_intercept(dataset, frame)
    if slope is None and "ModalityLUTSequence" in dataset:
        looked_up: NDArray[np.float32] = apply_modality_lut(stored, dataset).astype(np.float32)
        return looked_up
    values = stored.astype(np.float32)
    if slope not in (None, 1.0):
        values *= np.float32(slope)
    if intercept:
        values += np.float32(intercept)
    return values


def _slope_and_intercept(dataset: Dataset, frame: int) -> tuple[float | None, float | None]:
    """Rescale of a frame: its own functional group, the shared one, the file's top level (PS3.3 C.7.6.16.2.9)."""
    groups = []
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        groups.append(dataset.PerFrameFunctionalGroupsSequence[frame])
    if dataset.get("SharedFunctionalGroupsSequence"):
        groups.append(dataset.SharedFunctionalGroupsSequence[0])
    items = [group.PixelValueTransformationSequence[0] for group in groups if _has_rescale(group)]
    for item in [*items, dataset]:
        slope, intercept = number(item, "RescaleSlope"), number(item, "RescaleIntercept")
        if slope is not None or intercept is not None:
            return (1.0 if slope is None else slope), (intercept or 0.0)
    return None, None


def _has_rescale(group: Dataset) -> bool:
    return bool(group.get("PixelValueTransformationSequence"))


def _inverted(dataset: Dataset, frame: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn MONOCHROME1 (low is bright) into MONOCHROME2 within the range that the stored bits can hold."""
    bits = int(number(dataset, "BitsStored") or 16)
    low = -(2 ** (bits - 1)) if number(dataset, "PixelRepresentation") == 1 else 0
    slope, intercept = _slope_and_intercept(dataset, frame)
    ends = np.array([low, low + 2**bits - 1]) * (slope or 1.0) + (intercept or 0.0)
    return np.float32(ends.sum()) - values


def _damaged(path: Path, frame: int, error: BaseException) -> InputError:
    if isinstance(error, InputError):
        return error
    if not isinstance(error, Exception) and type(error).__name__ != _RUST_PANIC:
        raise error
    return InputError(f'The pixels of "{path.name}" (frame {frame + 1}) cannot be decoded: {reason(error)}.')
