"""The stored values of DICOM frames: read from an open file one after the other, and decompressed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from moeclip_transforms.codestream import compressed_frames, declared_size
from moeclip_transforms.dicom_file import KeptFile
from moeclip_transforms.dicom_header import Header, encoded, number, parse_header
from moeclip_transforms.dicom_values import FrameFinisher, photometric
from moeclip_transforms.errors import InputError
from moeclip_transforms.isolation import CallLimits, call_foreign
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_transforms.dicom_file import DicomFile
    from moeclip_transforms.dicom_values import Canvas

    Stored = Iterator[NDArray[Any] | InputError]

_RUST_PANIC = "PanicException"  # what codecs written in Rust raise; it is no Exception and has no public name
_BITS_OF_PLAIN_PIXELS = (8, 16, 32)
_DECODER_KEYWORDS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
                     "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")  # fmt: skip
_LEAST_MEMORY, _COPIES = 1 << 28, 8
"""Bytes that a codec may take for any frame, and copies of the frame's values beyond that; they decode to 32 bits."""
_MOST_COMPONENTS = 4
_MOST_FAILURES = 100
"""So many damaged uncompressed frames, for each of which the file is parsed anew, mean that it is damaged."""
_MOST_DEATHS = 3
"""So many frames of a file that end the decoder mean that the others do as well."""


def decode(file: DicomFile, wanted: Sequence[tuple[int, int]], canvas: Canvas) -> bytes:
    """Decode frames of an open file; what cannot be decoded becomes an error of the canvas.

    Args:
        file: The file, at its beginning.
        wanted: Zero-based frame numbers, ascending, each with its index on the canvas.
        canvas: What they are decoded into.

    Returns:
        The header up to the pixels, encoded so that `pydicom.dcmread` reads it.

    Raises:
        InputError: When the header cannot be read.
    """
    header = parse_header(file.path, file.stream, force=True)
    content = encoded(file.stream, header)
    left = deque(wanted)
    try:
        _ensure_transfer_syntax(header.dataset)
        finisher = FrameFinisher(file.path, header.dataset, canvas)
        for stored in _frames(file, header, [frame for frame, _ in wanted], canvas):
            frame, z = left[0]
            if isinstance(stored, InputError):
                canvas.errors[z] = stored
            else:
                finisher.put(frame, z, stored)
            left.popleft()
    except Exception as error:  # noqa: BLE001  damaged files raise whatever the parser trips over
        canvas.errors.update({z: _damaged(file.path, frame, error) for frame, z in left})
    return content


def _frames(file: DicomFile, header: Header, numbers: list[int], canvas: Canvas) -> Stored:
    """The stored values of frames, each (row, column) or (row, column, sample)."""
    expected = _expected_bytes(header.dataset)
    file.allow_pixels(expected)
    if header.dataset.file_meta.TransferSyntaxUID.is_compressed:
        return _compressed_frames(file, numbers, canvas)
    if header.length + expected > file.stream.size:
        raise InputError(
            f'"{file.path.name}" is truncated: its pixels need {expected} bytes, the whole file has '
            f"{file.stream.size}; copy it again."
        )
    held = file.stream.size - (header.pixels_at or 0) if header.pixel_bytes is None else header.pixel_bytes
    if held < expected:  # what follows them would be taken for pixels
        raise InputError(
            f'"{file.path.name}" holds {held} bytes of pixels, but its size and type need {expected}; copy it again.'
        )
    _note_excess(file.path, header, min(held, file.stream.size - (header.pixels_at or 0)), expected, canvas)
    number_type = _plain_type(header)
    if number_type is None or header.pixels_at is None:
        return _streamed_frames(file, header, numbers)
    rows, columns = (int(number(header.dataset, keyword) or 0) for keyword in ("Rows", "Columns"))
    return _plain_frames(file, header.pixels_at, (rows, columns), number_type, numbers)


def _note_excess(path: Path, header: Header, held: int, expected: int, canvas: Canvas) -> None:
    """Say it where a file holds more frames than its header declares: they are not read."""
    count = int(number(header.dataset, "NumberOfFrames") or 1)
    n_held = held * count // max(1, expected)
    if n_held > count:
        canvas.notes.append(_excess_note(path, n_held, count))


def _excess_note(path: Path, n_held: int, count: int) -> str:
    return (
        f'"{path.name}" has pixels for {n_held} frames, but Number of Frames (0028,0008) says {count}: the others are '
        f"not read."
    )


def _plain_type(header: Header) -> np.dtype[Any] | None:
    """The type of grey values that stand in the file one after the other, or None where it is not so simple."""
    dataset = header.dataset
    bits, samples = number(dataset, "BitsAllocated"), number(dataset, "SamplesPerPixel") or 1
    is_little = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    if not (header.has_whole_numbers and is_little and samples == 1 and bits in _BITS_OF_PLAIN_PIXELS):
        return None
    return np.dtype(f"<{'i' if number(dataset, 'PixelRepresentation') == 1 else 'u'}{int(bits) // 8}")


def _plain_frames(
    file: DicomFile, pixels_at: int, shape: tuple[int, int], number_type: np.dtype[Any], numbers: list[int]
) -> Stored:
    n_pixels = shape[0] * shape[1]
    for frame in numbers:
        place = pixels_at + frame * n_pixels * number_type.itemsize
        if isinstance(file.stream, KeptFile):  # without a copy
            stored = np.frombuffer(file.stream.content, dtype=number_type, count=n_pixels, offset=place)
        else:
            file.stream.seek(place)
            stored = np.frombuffer(file.stream.read(n_pixels * number_type.itemsize), dtype=number_type)
        yield stored.reshape(shape)


def _streamed_frames(file: DicomFile, header: Header, numbers: list[int]) -> Stored:
    """Uncompressed frames of colour, single bits, big-endian or floating-point numbers, as pydicom puts them right."""
    left, syntax = deque(numbers), header.dataset.file_meta.TransferSyntaxUID
    failures = 0
    while left and failures < _MOST_FAILURES:
        try:
            file.stream.seek(0)
            pixels = iter_pixels(
                file.stream,  # type: ignore[arg-type]
                indices=list(left),
                transfer_syntax_uid=syntax,
                correct_unused_bits=not _is_grey(header.dataset),
            )
            for stored in pixels:
                yield stored
                left.popleft()
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  codecs raise whatever they trip over
            failures += 1
            yield _damaged(file.path, left.popleft(), error)
    for frame in left:
        yield InputError(
            f'"{file.path.name}" (frame {frame + 1}) is not read: {failures} frames before it are damaged.'
        )


def _compressed_frames(file: DicomFile, numbers: list[int], canvas: Canvas) -> Stored:
    file.stream.seek(0)
    with file.stream.header_budget():
        dataset = dcmread(file.stream, force=True)
    if "PixelData" not in dataset:
        raise InputError(f'"{file.path.name}" is truncated: it ends before its pixels do; copy it again.')
    count = max(1, int(number(dataset, "NumberOfFrames") or 1))
    limits = CallLimits(memory_bytes=_LEAST_MEMORY + _COPIES * _expected_bytes(dataset) // count)
    frames = compressed_frames(dataset)
    errors = _wrong_sizes(file.path, dataset, frames)
    if len(frames) > count:
        canvas.notes.append(_excess_note(file.path, len(frames), count))
    deaths = 0
    for frame in numbers:
        if frame >= len(frames):
            yield InputError(
                f'"{file.path.name}" holds {len(frames)} compressed frames, but Number of Frames (0028,0008) says '
                f"{count}; it is truncated: copy it again."
            )
            continue
        if frame in errors:
            yield errors[frame]
            continue
        if deaths >= _MOST_DEATHS:
            yield InputError(
                f'"{file.path.name}" (frame {frame + 1}) is not decoded: {deaths} frames before it ended the decoder.'
            )
            continue
        what = f'"{file.path.name}" (frame {frame + 1})'
        try:
            stored = call_foreign(_decoded, _single_frame(dataset, frames[frame]), what=what, limits=limits)
        except BaseException as error:  # noqa: BLE001  codecs raise whatever they trip over
            deaths += isinstance(error, InputError)
            yield _damaged(file.path, frame, error)
        else:
            yield stored


def _single_frame(dataset: Dataset, content: bytes) -> Dataset:
    """A data set of one compressed frame with what a decoder has to know: little to hand to another process."""
    single = Dataset()
    for keyword in _DECODER_KEYWORDS:
        if keyword in dataset:
            single[keyword] = dataset[keyword]
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    single.PixelData = encapsulate([content])
    return single


def _decoded(dataset: Dataset) -> NDArray[Any]:
    """The stored values of a data set of one frame; raises ValueError for what a codec throws that is no exception."""
    try:
        return pixel_array(dataset, correct_unused_bits=not _is_grey(dataset))
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != _RUST_PANIC:
            raise
        raise ValueError(str(error)) from error


def _is_grey(dataset: Dataset) -> bool:
    """Whether stored values are grey: `FrameFinisher` knows where their bits lie, pydicom only in the lower ones."""
    return (number(dataset, "SamplesPerPixel") or 1) == 1 and photometric(dataset) != "PALETTE COLOR"


def _ensure_transfer_syntax(dataset: Dataset) -> None:
    """Fill in a missing Transfer Syntax UID with how the header was found to be written."""
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    is_implicit, is_little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def _wrong_sizes(path: Path, dataset: Dataset, frames: Sequence[bytes]) -> dict[int, InputError]:
    """Compressed frames whose own size is not the header's: a decoder would claim memory for what they declare."""
    if dataset.file_meta.TransferSyntaxUID == RLELossless:  # which says no size
        return {}
    rows, columns, samples = (int(number(dataset, name) or 0) for name in ("Rows", "Columns", "SamplesPerPixel"))
    errors: dict[int, InputError] = {}
    for frame, content in enumerate(frames):
        size = declared_size(content)
        what = f'The compressed pixels of "{path.name}" (frame {frame + 1})'
        if size is not None and (size.rows, size.columns) != (rows, columns):
            errors[frame] = InputError(
                f"{what} are {size.columns}×{size.rows}, but its header says {columns}×{rows}; copy the file again."
            )
        elif size is not None and size.components > max(samples, _MOST_COMPONENTS):
            errors[frame] = InputError(
                f"{what} have {size.components} values each, but its header says {samples}; copy the file again."
            )
    return errors


def _expected_bytes(dataset: Dataset) -> int:
    """How many bytes the pixels take, uncompressed."""
    bits = number(dataset, "BitsAllocated") or 0
    size = [number(dataset, keyword) or 1 for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")]
    samples = 2.0 if photometric(dataset) == "YBR_FULL_422" else size[2]
    return int(size[0] * size[1] * samples * size[3] * bits / 8)


def _damaged(path: Path, frame: int, error: BaseException) -> InputError:
    if isinstance(error, InputError):
        return error
    if not isinstance(error, Exception) and type(error).__name__ != _RUST_PANIC:
        raise error
    return InputError(
        f'The pixels of "{path.name}" (frame {frame + 1}) cannot be decoded ({reason(error)}); copy the file again.'
    )
