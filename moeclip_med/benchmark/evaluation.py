"""One pass over a set: every system maps every case once, and what comes of it is counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.datasets.case import BadCaseError, Fault, Problem
from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.benchmark.reading import read_paper_image, read_views
from moeclip_med.benchmark.systems import BaselineSystem
from moeclip_med.benchmark.tally import Tally
from moeclip_med.metrics.detection import detect, lesion_places
from moeclip_med.metrics.histogram import label_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_med.benchmark.datasets.case import Case, Dataset
    from moeclip_med.benchmark.reading import Views
    from moeclip_med.benchmark.store import Store
    from moeclip_med.benchmark.systems import System, SystemMaps

_SAVE_EVERY_CASES = 100
_SAVE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class CaseMaps:
    """What one system says of one case under one protocol.

    Attributes:
        raw: (rows, columns) or (x, y, z).
        slice_maxima: The highest raw score of each slice.
        image_score: The system's own score of the image; NaN where it has none.
        routing: (level, expert) counts of foreground pixels, or None.
    """

    raw: NDArray[np.float32]
    slice_maxima: NDArray[np.float32]
    image_score: float
    routing: NDArray[np.int64] | None


class Evaluation:
    """Runs systems over a set.

    Args:
        dataset: The set.
        systems: What to compare; detectors before baselines.
        protocols: How; the first one gives the headline figures.
        store: Where counts are kept.
        maps: Folder for the maps of the first system, or None.
    """

    def __init__(
        self,
        dataset: Dataset,
        systems: Sequence[System],
        protocols: Sequence[Protocol],
        store: Store,
        maps: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.systems = sorted(systems, key=lambda system: isinstance(system, BaselineSystem))
        self.protocols = protocols
        self.store = store
        self._maps = maps
        self._tallies = {
            (system.name, protocol): Tally(system, f"{system.name}/{protocol}")
            for system in self.systems
            for protocol in protocols
        }
        self._rows: dict[str, list[Any]] = {}
        self._reset_rows()

    def run(self, on_case: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Go over all cases that are not done yet.

        Args:
            on_case: Told how many cases are done, and of how many, after each.
        """
        cases = self.dataset.cases
        progress = self.store.progress
        progress.setdefault("problems", [[p.fault.name, p.key, p.detail] for p in self.dataset.problems])
        progress.setdefault("groups", {})
        progress.setdefault("routing", {})
        progress.setdefault("seconds", 0.0)
        counts = self.store.counts()
        if counts:
            for tally in self._tallies.values():
                tally.restore(counts)
        saved_at = started = time.monotonic()
        for number in range(progress["done"], len(cases)):
            case = cases[number]
            try:
                self._judge(case)
            except BadCaseError as error:
                problem = error.problem
                progress["problems"].append([problem.fault.name, problem.key, problem.detail])
            is_last = number + 1 == len(cases) or cases[number + 1].group != case.group
            if is_last:
                progress["groups"][case.group] = {tally.prefix: tally.finish() for tally in self._tallies.values()}
            progress["done"] = number + 1
            now = time.monotonic()
            if is_last or len(self._rows["key"]) >= _SAVE_EVERY_CASES or now - saved_at > _SAVE_EVERY_SECONDS:
                progress["seconds"] += now - started
                self._save()
                started = saved_at = time.monotonic()
            on_case(number + 1, len(cases))

    def _judge(self, case: Case) -> None:
        """Map a case with every system and count what comes of it; nothing is counted of a bad case."""
        views = paper = None
        if Protocol.NATIVE in self.protocols:
            views = read_views(case, self.dataset)
            for remark in () if views.truth is None else views.truth.remarks:
                self.store.progress["problems"].append([Fault.MASK_VALUES.name, case.key, remark])
        if Protocol.PAPER in self.protocols:
            paper = read_paper_image(case)
        mask = views.mask if views is not None else paper[1] if paper is not None else None
        label = case.is_abnormal if case.is_abnormal is not None else bool(mask is not None and mask.any())
        detectors = [system for system in self.systems if not isinstance(system, BaselineSystem)]
        for system in detectors:
            system.prepare(self.dataset.prompt(case.group), is_industrial=self.dataset.is_industrial)
        ready = {system.name: self._maps_of(system, case, views, paper) for system in detectors}
        for system in self.systems:
            maps = ready.pop(system.name, None) or self._maps_of(system, case, views, paper)
            self._count(system, case, maps, views, paper, label=label)
        self._rows["key"].append(case.key)
        self._rows["group"].append(case.group)
        self._rows["unit"].append(case.unit)
        self._rows["label"].append(label)
        self._rows["has_mask"].append(mask is not None)
        self._rows["pixels"].append(0 if mask is None else mask.size)
        self._rows["abnormal_pixels"].append(0 if mask is None else int(mask.sum()))
        if views is not None and self.dataset.is_volumes and mask is not None:
            per_slice = np.moveaxis(mask, views.view.axes[0], 0).reshape(mask.shape[views.view.axes[0]], -1).max(axis=1)
            self._rows["slice/label"].extend(per_slice.tolist())
            self._rows["slice/unit"].extend([case.unit] * len(per_slice))
            self._rows["lesions"].append(label_regions(mask)[1])

    def _maps_of(
        self, system: System, case: Case, views: Views | None, paper: tuple[Any, Any] | None
    ) -> dict[Protocol, CaseMaps]:
        maps = {}
        if paper is not None:
            maps[Protocol.PAPER] = _paper_maps(system.run(paper[0], None))
        if views is not None:
            maps[Protocol.NATIVE] = native_maps(system, views)
        for made in maps.values():
            bad = int(np.count_nonzero(~np.isfinite(made.raw)))
            if bad:
                raise BadCaseError(Problem(Fault.NOT_FINITE, case.key, f"{bad} scores by {system.name}"))
        return maps

    def _count(
        self,
        system: System,
        case: Case,
        maps: dict[Protocol, CaseMaps],
        views: Views | None,
        paper: tuple[Any, Any] | None,
        *,
        label: bool,
    ) -> None:
        for protocol in self.protocols:
            tally = self._tallies[system.name, protocol]
            made = maps[Protocol.PAPER if protocol is Protocol.PAPER else Protocol.NATIVE]
            mask = paper[1] if protocol is Protocol.PAPER and paper is not None else views.mask if views else None
            if mask is None and not label:
                mask = np.zeros(made.raw.shape, dtype=bool)
            inside = None
            if views is not None and protocol is not Protocol.PAPER:
                inside = views.compared(only_foreground=protocol is Protocol.FOREGROUND)
            tally.add(made.raw, mask, inside, made.image_score)
        made = maps[Protocol.NATIVE if views is not None else Protocol.PAPER]
        if made.routing is not None:
            total = np.asarray(self.store.progress["routing"].get(system.name, 0)) + made.routing
            self.store.progress["routing"][system.name] = total.tolist()
        if views is not None and self.dataset.is_volumes and views.mask is not None:
            self._rows.setdefault(f"{system.name}/slice/highest", []).extend(made.slice_maxima.tolist())
            self._count_findings(system, made.raw, views)
        if self._maps is not None and system is self.systems[0]:
            _save_map(self._maps, case, made.raw, views)

    def _count_findings(self, system: System, raw: NDArray[np.float32], views: Views) -> None:
        assert views.mask is not None  # noqa: S101 - for the type checker; the caller looked
        places = lesion_places(views.mask)
        smallest = smallest_finding(views)
        levels = [*system.froc_thresholds, *([] if system.threshold is None else [system.threshold])]
        outcome = np.array([detect(raw, level, places, smallest) for level in levels])
        self._rows.setdefault(f"{system.name}/hits", []).append(outcome[:, 0])
        self._rows.setdefault(f"{system.name}/false_findings", []).append(outcome[:, 1])

    def _save(self) -> None:
        rows = {name: np.asarray(values) for name, values in self._rows.items() if values}
        counts: dict[str, NDArray[Any]] = {}
        for tally in self._tallies.values():
            rows |= tally.take_rows()
            counts |= tally.arrays()
        self.store.save(rows, counts)
        self._reset_rows()

    def _reset_rows(self) -> None:
        names = ("key", "group", "unit", "label", "has_mask", "pixels", "abnormal_pixels")
        self._rows = {name: [] for name in (*names, "slice/label", "slice/unit", "lesions")}


def native_maps(system: System, views: Views) -> CaseMaps:
    """Map a case on its own grid."""
    view = views.view
    raw: NDArray[np.float32] = np.zeros(views.volume.shape, dtype=np.float32)
    image_scores: list[float] = []
    maxima = []
    routing: NDArray[np.int64] | None = None
    for indices, slices in views.batches():
        maps = system.run(slices, views.box)
        view.put(maps.raw, indices, into=raw)
        maxima.append(maps.raw.max(axis=(1, 2)))
        image_scores.extend([] if maps.image_score is None else maps.image_score.tolist())
        if maps.routing is not None:
            inside = view.take(views.foreground[None], indices)[:, 0]
            counted = _count_routing(maps.routing, inside)
            routing = counted if routing is None else routing + counted
    image_score = max(image_scores) if image_scores else float("nan")
    slice_maxima = np.concatenate(maxima)
    if view.flips[0]:
        slice_maxima = slice_maxima[::-1]
    return CaseMaps(raw, slice_maxima, image_score, routing)


def smallest_finding(views: Views) -> int:
    """Voxels of the smallest finding that the product lists."""
    from moeclip_med.scoring.findings import SMALLEST_AREA_PIXELS, smallest_volume

    if not views.volume.has_spacing:
        return SMALLEST_AREA_PIXELS
    voxel_ml = views.volume.affine.voxel_ml
    return int(np.ceil(smallest_volume(views.volume) / voxel_ml))


def _paper_maps(maps: SystemMaps) -> CaseMaps:
    image_score = float("nan") if maps.image_score is None else float(maps.image_score[0])
    routing = None
    if maps.routing is not None:
        routing = _count_routing(maps.routing, np.ones(maps.routing.shape[-2:], dtype=bool)[None])
    return CaseMaps(maps.raw[0], maps.raw.max(axis=(1, 2)), image_score, routing)


_MOST_EXPERTS = 16


def _count_routing(routing: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the chosen experts of each level over the pixels inside that a patch covers: (level, expert)."""
    return np.stack(
        [
            np.bincount(routing[:, level][inside], minlength=_MOST_EXPERTS + 1)[1 : _MOST_EXPERTS + 1]
            for level in range(routing.shape[1])
        ]
    )


def _save_map(folder: Path, case: Case, raw: NDArray[np.float32], views: Views | None) -> None:
    path = folder / case.key
    path.parent.mkdir(parents=True, exist_ok=True)
    if views is not None and views.volume.has_orientation:
        import nibabel

        name = path.name.removesuffix(".gz").removesuffix(".nii")
        image = nibabel.Nifti1Image(raw, views.volume.affine.matrix)
        nibabel.save(image, path.with_name(f"{name}_raw.nii.gz"))
        return
    picture = raw[:, :, 0].T if raw.ndim == 3 else raw  # noqa: PLR2004 - (x, y, z)
    np.save(path.with_name(f"{path.name}_raw.npy"), picture)
