"""The frames of a stack split into volumes: first by what their headers say, by their rank only as a last resort."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.dicom_geometry import along_normal, uneven
from moeclip_transforms.dicom_traits import ACQUISITION_TIME, TRAITS
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from moeclip_transforms.dicom_frame import Frame
    from moeclip_transforms.dicom_traits import TraitValue

    Key = Callable[[Frame], Hashable]

_ROUNDING_MM, _ROUNDING_SHARE = 0.005, 0.005
_CLEARLY_SMALLER = 10.0
_SAME_PLACE = 0.05
_FEWEST_PLACES, _FEWEST_SLICES = 3, 3
_MAX_SHARE_LOST = 0.1

_DECISIVE = [index for index, trait in enumerate(TRAITS) if trait.is_decisive]
_STACK = next(index for index, trait in enumerate(TRAITS) if trait.name == "stack")
_AUXILIARY = [index for index, trait in enumerate(TRAITS) if not trait.is_decisive]
_TIMES = [index for index, trait in enumerate(TRAITS) if trait.name in ("trigger time", "frame reference time")]
_TIMES.append(ACQUISITION_TIME)


def split_volumes(frames: Sequence[Frame]) -> tuple[list[list[Frame]], tuple[str, ...]]:
    """Split a stack into volumes, each sorted by position along the slice normal.

    The frames of a volume agree in every decisive trait (temporal position, echo, b-value, cardiac phase, ...). Where
    several still lie at one place, or interleave unevenly, the first of the other traits that sorts them out is used:
    the file of multi-frame images, trigger time, acquisition number, acquisition time, and so on. What nothing tells
    apart is sorted by rank, and a note says so.

    Returns:
        The volumes in the order of their traits, those with half of the slices or fewer last; and notes.

    Raises:
        InputError: When slices lie at the same position and nothing says which belong together; the message says
            what this is, without a full stop.
    """
    if frames[0].position is None or frames[0].orientation is None:
        return [sorted(frames, key=_instance)], ()
    notes: list[str] = []
    volumes = [volume for part in _by_decisive_traits(frames) for volume in _by_place(part, notes)]
    most = max(len(volume) for volume in volumes)
    orders = _orders(volumes)
    ranked = sorted(range(len(volumes)), key=lambda index: (2 * len(volumes[index]) <= most, orders[index]))
    return [volumes[index] for index in ranked], tuple(dict.fromkeys(notes))


def _by_decisive_traits(frames: Sequence[Frame]) -> list[list[Frame]]:
    places = np.round(along_normal(frames), 3)
    keys: list[Key] = []
    if len(counts := {len(frame.dimensions) for frame in frames}) == 1:
        columns = [_dimension(k) for k in range(counts.pop())]
        keys += [key for key in columns if not _follows_place(frames, key, places)]
    keys += [_trait(k) for k in _DECISIVE if k != _STACK]
    telling = [key for key in keys if _tells_volumes(frames, key, places)]
    parts = _partition(frames, lambda frame: tuple(key(frame) for key in telling))
    return [stack for part in parts for stack in _by_stack_id(part)]


def _by_stack_id(frames: list[Frame]) -> list[list[Frame]]:
    """Split frames by Stack ID, unless all of them lie evenly: the packages that one volume was acquired in."""
    along = np.sort(along_normal(frames))
    gaps = np.diff(along)
    is_even = len(gaps) > 1 and float(gaps.min()) > _same_place_mm(gaps) and len(uneven(gaps)) == 0
    if is_even or not _tells_volumes(frames, _trait(_STACK), np.round(along_normal(frames), 3)):
        return [frames]
    return _partition(frames, _trait(_STACK))


def _tells_volumes(frames: Sequence[Frame], key: Key, places: NDArray[np.float64]) -> bool:
    """Whether frames differ in it other than from place to place."""
    places_of: dict[Hashable, set[float]] = defaultdict(set)
    for frame, place in zip(frames, places, strict=True):
        places_of[key(frame)].add(float(place))
    n_places = len(set(places.tolist()))
    return len(places_of) > 1 and (n_places == 1 or any(len(found) > 1 for found in places_of.values()))


def _follows_place(frames: Sequence[Frame], key: Key, places: NDArray[np.float64]) -> bool:
    """Whether it only counts the places: its values rise or fall with them (a dimension that is not known by name)."""
    ends: dict[Hashable, tuple[float, float]] = {}
    for frame, place in zip(frames, places, strict=True):
        low, high = ends.get(key(frame), (np.inf, -np.inf))
        ends[key(frame)] = min(low, place), max(high, place)
    spans = [ends[value] for value in sorted(ends)]  # type: ignore[type-var]
    if len(spans) < _FEWEST_PLACES or len(set(places.tolist())) == 1:
        return False
    rises = all(one[1] < other[0] for one, other in pairwise(spans))
    falls = all(one[0] > other[1] for one, other in pairwise(spans))
    return rises or falls


def _by_place(frames: list[Frame], notes: list[str]) -> list[list[Frame]]:
    """Split frames until each place holds one of them."""
    places = _places(frames)
    most = max(len(place) for place in places)
    if most == 1:
        return _by_interleaving([place[0] for place in places])
    place_of = {id(frame): number for number, place in enumerate(places) for frame in place}
    for key in _auxiliary_keys():
        groups = _partition(frames, key)
        held = [Counter(place_of[id(frame)] for frame in group) for group in groups]
        is_balanced = all(len(count) == len(places) for count in held)
        is_complete = len(groups) == most and all(max(count.values()) == 1 for count in held)
        if len(groups) > 1 and (is_balanced or is_complete):
            return [volume for group in groups for volume in _by_place(group, notes)]
    return _by_rank(places, notes)


def _by_interleaving(frames: list[Frame]) -> list[list[Frame]]:
    """Split a sorted stack of uneven gaps whose parts have even ones: acquisitions between each other's slices."""
    if len(frames) < 2 * _FEWEST_SLICES or len(uneven(np.diff(along_normal(frames)))) == 0:
        return [frames]
    for key in _auxiliary_keys():
        groups = _partition(frames, key)
        if not 1 < len(groups) <= len(frames) // _FEWEST_SLICES or min(map(len, groups)) < _FEWEST_SLICES:
            continue
        values = [key(frame) for frame in frames]
        n_runs = 1 + sum(one != other for one, other in pairwise(values))
        if n_runs > len(groups) and not any(len(uneven(np.diff(along_normal(group)))) for group in groups):
            return groups
    return [frames]


def _by_rank(places: list[list[Frame]], notes: list[str]) -> list[list[Frame]]:
    counts = Counter(len(place) for place in places)
    most, fewest = max(counts), min(counts)
    name, key = _rank(places)
    ranked = [sorted(place, key=key) for place in places]
    if len(counts) == 1:
        notes.append(
            f"Nothing in the headers says which of the {most} slices at each position belong together: they are put "
            f"together by their {name}."
        )
        return [list(volume) for volume in zip(*ranked, strict=True)]
    n_frames = sum(len(place) for place in places)
    n_extra = n_frames - len(places)
    if fewest == 1 and n_extra <= _MAX_SHARE_LOST * n_frames:
        lie = "slice lies" if n_extra == 1 else "slices lie"
        notes.append(f"{n_extra} {lie} at the position of another slice; the first of each is used.")
        return [[place[0] for place in ranked]]
    if runs := _runs(places):
        notes.append(
            f"Nothing in the headers says which of the {fewest} to {most} slices at each position belong together: "
            f"they are put together by their instance number, and the last volume has {len(runs[-1])} of {len(places)}."
        )
        return runs
    raise InputError(
        f"a series of {fewest} to {most} slices at the same position, and nothing in their headers says which belong "
        f"together: export its time points as separate series"
    )


def _runs(places: list[list[Frame]]) -> list[list[Frame]]:
    """A series that was interrupted in its last volume: whole volumes behind each other, by instance number."""
    place_of = {id(frame): number for number, place in enumerate(places) for frame in place}
    runs: list[dict[int, Frame]] = [{}]
    for frame in sorted((frame for place in places for frame in place), key=_instance):
        if place_of[id(frame)] in runs[-1]:
            runs.append({})
        runs[-1][place_of[id(frame)]] = frame
    if any(len(run) < len(places) for run in runs[:-1]):
        return []
    return [[run[number] for number in sorted(run)] for run in runs]


def _rank(places: list[list[Frame]]) -> tuple[str, Callable[[Frame], tuple[object, ...]]]:
    """What differs at every place, to sort by, with its name: times first, whatever the order of writing was."""
    choices: tuple[tuple[str, Key], ...] = (
        *((TRAITS[k].name, _trait(k)) for k in _TIMES),
        ("instance number", lambda frame: frame.instance),
        *((TRAITS[k].name, _trait(k)) for k in _AUXILIARY),
    )
    for name, key in choices:
        if all(len({key(frame) for frame in place}) == len(place) for place in places):
            return name, _sorting(key)
    return "file name", lambda frame: (str(frame.path), frame.number)


def _sorting(key: Key) -> Callable[[Frame], tuple[object, ...]]:
    return lambda frame: _sortable(key(frame))  # type: ignore[arg-type]


def _trait(k: int) -> Key:
    return lambda frame: frame.traits[k]


def _dimension(k: int) -> Key:
    return lambda frame: frame.dimensions[k]


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The frames at each position, in order along the normal.

    Positions coincide when the gaps between them are clearly of two kinds and the small ones are next to nothing beside
    the others: what is one place in a CT series may be four slices of OCT.
    """
    along = along_normal(frames)
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    if len(gaps) == 0:
        return [list(frames)]
    places: list[list[Frame]] = [[frames[order[0]]]]
    same_place = _same_place_mm(gaps)
    for gap, index in zip(gaps, order[1:], strict=True):
        if gap > same_place:
            places.append([])
        places[-1].append(frames[index])
    return places


def _same_place_mm(gaps: NDArray[np.float64]) -> float:
    """The largest gap within one place."""
    rounding = min(_ROUNDING_MM, _ROUNDING_SHARE * float(gaps.max()))
    sizes = np.maximum(np.sort(gaps), rounding)
    if sizes[-1] == rounding:
        return rounding
    jump = int(np.argmax(sizes[1:] / sizes[:-1])) if len(sizes) > 1 else 0
    small, large = float(sizes[jump]), sizes[jump + 1 :]
    if small <= rounding or len(large) == 0 or large[0] < _CLEARLY_SMALLER * small:
        return rounding
    ends = np.flatnonzero(gaps > small)
    counts = np.diff([-1, *ends, len(gaps)])  # frames at each place
    is_one_kind = len(counts) >= _FEWEST_PLACES and 2 * np.count_nonzero(counts > 1) >= len(counts)
    is_next_to_nothing = float(counts.max() - 1) * small <= 2 * _SAME_PLACE * float(np.median(large))
    return small if is_one_kind and is_next_to_nothing and small <= _SAME_PLACE * large[0] else rounding


def _auxiliary_keys() -> list[Key]:
    return [lambda frame: frame.group, *(_trait(k) for k in _AUXILIARY)]


def _partition(frames: Sequence[Frame], key: Key) -> list[list[Frame]]:
    groups: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return list(groups.values())


def _orders(volumes: Sequence[Sequence[Frame]]) -> list[tuple[object, ...]]:
    """What to sort each volume by: dimensions, ordered traits that hold for a whole volume, then first of all times."""
    ordered = [k for k, trait in enumerate(TRAITS) if trait.is_ordered]
    whole = [k for k in ordered if all(len({frame.traits[k] for frame in volume}) == 1 for volume in volumes)]
    dimensions = {len(frame.dimensions) for volume in volumes for frame in volume}
    columns = range(dimensions.pop()) if len(dimensions) == 1 else range(0)
    shared = [k for k in columns if all(len({frame.dimensions[k] for frame in volume}) == 1 for volume in volumes)]
    return [
        (
            tuple(volume[0].dimensions[k] for k in shared),
            tuple(_sortable(volume[0].traits[k]) for k in whole),
            min(_sortable(frame.traits[ACQUISITION_TIME]) for frame in volume),
            min(frame.instance for frame in volume),
        )
        for volume in volumes
    ]


def _sortable(value: TraitValue) -> tuple[tuple[float, ...], str]:
    if isinstance(value, str):
        return (), value
    if isinstance(value, tuple):
        return value, ""
    return (() if value is None else (value,)), ""


def _instance(frame: Frame) -> tuple[object, ...]:
    return (frame.instance, _sortable(frame.traits[ACQUISITION_TIME]), frame.number)
