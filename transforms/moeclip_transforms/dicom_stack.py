"""The frames of a series put together to stacks of one size, direction and contrast."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.dicom_frame import COMPLEX, FIELD_MAP, MAGNITUDE, PHASE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from moeclip_transforms.dicom_frame import Frame

_SAME_DIRECTION = 5e-3
_SAME_SPACING = 1e-3
"""Relative: over a thousand pixels, one pixel. Scanners and converters round differently."""


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], dict[Path, list[Path]], tuple[str, ...]]:
    """Drop files that are there twice: all that a scan knows of them is the same, the SOP Instance UID included.

    Returns:
        The frames kept, for each of their files the copies that were dropped, and notes.
    """
    seen: dict[tuple[str, int], list[Frame]] = defaultdict(list)
    kept: list[Frame] = []
    copies: dict[Path, list[Path]] = defaultdict(list)
    for frame in frames:
        alike = seen[frame.sop_instance_uid, frame.number] if frame.sop_instance_uid else []
        first = next((other for other in alike if replace(frame, path=other.path) == other), None)
        if first is None:
            alike.append(frame)
            kept.append(frame)
        elif frame.path not in copies[first.path]:
            copies[first.path].append(frame.path)
    n_copies = sum(len(paths) for paths in copies.values())
    files_are = "file is" if n_copies == 1 else "files are"
    notes = [f"{n_copies} {files_are} there more than once (same SOP Instance UID); one copy is used."] * bool(n_copies)
    n_shared = _count_shared(kept)
    if n_shared:
        notes.append(
            f"{n_shared} different images share their SOP Instance UID, which must be unique: all are used, but no "
            f"result can cite them one by one."
        )
    return kept, copies, tuple(notes)


def _count_shared(frames: Sequence[Frame]) -> int:
    """How many files carry a SOP Instance UID that another carries too."""
    paths: dict[str, set[Path]] = defaultdict(set)
    for frame in frames:
        if frame.sop_instance_uid:
            paths[frame.sop_instance_uid].add(frame.path)
    return sum(len(found) for found in paths.values() if len(found) > 1)


def split_stacks(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split frames into stacks of one size, direction and contrast; a multi-frame image without place is one stack.

    The stacks come in an order that no other file changes: magnitude before phase, then by Instance Number.
    """
    stacks: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    directions: list[tuple[float, ...]] = []
    spacings: list[tuple[float, ...]] = []
    for frame in frames:
        direction = _number_of(frame.orientation, directions, _SAME_DIRECTION)
        spacing = _number_of(frame.spacing, spacings, _SAME_SPACING * min(frame.spacing or (0.0,)))
        size = (frame.rows, frame.columns, frame.samples, spacing)
        is_placed = frame.position is not None
        group = "" if is_placed else frame.group
        stacks[frame.sop_class_uid, size, frame.contrast, direction, is_placed, group].append(frame)
    return sorted(stacks.values(), key=_stack_order)


def _stack_order(stack: Sequence[Frame]) -> tuple[object, ...]:
    first = min(stack, key=lambda frame: (frame.instance, frame.sop_instance_uid))
    size = -len(stack), first.rows, first.columns
    contrast = first.contrast
    rank = 2 * bool(contrast & (PHASE | COMPLEX | FIELD_MAP)) + bool(contrast - MAGNITUDE)
    return (rank, first.instance, size, sorted(contrast), first.orientation or (), first.sop_instance_uid)


def _number_of(own: tuple[float, ...] | None, known: list[tuple[float, ...]], tolerance: float) -> int:
    """The number of the values that a frame shares with earlier ones; -1 for none. New ones are added to `known`."""
    if own is None:
        return -1
    for index, values in enumerate(known):
        if all(abs(one - other) <= tolerance for one, other in zip(own, values, strict=True)):
            return index
    known.append(own)
    return len(known) - 1
