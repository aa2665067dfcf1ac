"""One pass over a set: every system maps every case once, and what comes of it is counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.case_views import read_paper_image, read_views
from moeclip_med.benchmark.datasets.case import BadCaseError, Fault, Problem
from moeclip_med.benchmark.maps import MapSystem
from moeclip_med.benchmark.outcomes import CaseTruth, ThresholdKind, detect, find, measure_case
from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.benchmark.systems import BaselineSystem, DetectorSystem
from moeclip_med.benchmark.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_med.benchmark.case_views import Views
    from moeclip_med.benchmark.datasets.case import Case, Dataset
    from moeclip_med.benchmark.run_store import Store
    from moeclip_med.benchmark.systems import Scored, System, SystemMaps

    AnySystem = System | MapSystem
    Thresholds = Mapping[str, Mapping[ThresholdKind, float]]

_ROWS = (
    *("key", "number", "group", "unit", "label", "has_mask", "pixels", "abnormal_pixels", "has_mm", "lesions"),
    *("slice/label", "slice/unit"),
)
_SAVE_EVERY_CASES = 100
_SAVE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class CaseMaps:
    """What one system says of one case under one protocol.

    Attributes:
        raw: (rows, columns) or (x, y, z).
        image_score: The system's own score of the image; NaN where it has none.
        routing: (level, expert) counts of foreground pixels, or None.
    """

    raw: NDArray[np.float32]
    image_score: float
    routing: NDArray[np.int64] | None


class Evaluation:
    """Runs systems over a set.

    Args:
        dataset: The set.
        systems: What to compare; detectors before baselines.
        protocols: How; the first one gives the headline figures.
        thresholds: System to kind to raw score at which findings are measured case by case.
        store: Where counts are kept.
        maps: Folder for the maps of the first system, or None.
    """

    def __init__(
        self,
        dataset: Dataset,
        systems: Sequence[AnySystem],
        protocols: Sequence[Protocol],
        thresholds: Thresholds,
        store: Store,
        maps: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.systems = sorted(systems, key=lambda system: isinstance(system, BaselineSystem))
        self.protocols = protocols
        self.store = store
        self._maps = maps
        self._thresholds = thresholds
        self._tallies = {
            (system.name, protocol): Tally(system.binning, thresholds[system.name], f"{system.name}/{protocol}")
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
        if not progress.done:
            progress.problems = [(p.fault.name, p.key, p.detail) for p in self.dataset.problems]
        counts = self.store.counts()
        if counts:
            for tally in self._tallies.values():
                tally.restore(counts)
        saved_at = started = time.monotonic()
        for number in range(progress.done, len(cases)):
            case = cases[number]
            try:
                self._evaluate(case, number)
            except BadCaseError as error:
                problem = error.problem
                progress.problems.append((problem.fault.name, problem.key, problem.detail))
            is_last = number + 1 == len(cases) or cases[number + 1].group != case.group
            if is_last:
                progress.groups[case.group] = {tally.prefix: tally.finish() for tally in self._tallies.values()}
            progress.done = number + 1
            now = time.monotonic()
            if is_last or len(self._rows["key"]) >= _SAVE_EVERY_CASES or now - saved_at > _SAVE_EVERY_SECONDS:
                progress.seconds += now - started
                self._save()
                started = saved_at = time.monotonic()
            on_case(number + 1, len(cases))

    def _evaluate(self, case: Case, number: int) -> None:
        """Map a case with every system and count what comes of it; nothing is counted of a bad case."""
        views = paper = None
        if Protocol.NATIVE in self.protocols:
            views = read_views(case, self.dataset)
            self._tell_truth(case, views)
        if Protocol.PAPER in self.protocols:
            paper = read_paper_image(case)
        mask = views.mask if views is not None else paper[1] if paper is not None else None
        label = case.is_abnormal if case.is_abnormal is not None else bool(mask is not None and mask.any())
        for system in self.systems:
            if isinstance(system, DetectorSystem):
                system.prepare(self.dataset.prompt(case.group), is_industrial=self.dataset.is_industrial)
        others = [system for system in self.systems if not isinstance(system, BaselineSystem)]
        ready = {system.name: self._maps_of(system, case, views, paper) for system in others}
        truth = None
        if views is not None:
            own = views.mask if views.mask is not None or label else np.zeros(views.volume.shape, dtype=bool)
            truth = CaseTruth.of(views.volume, own, None if views.truth is None else views.truth.ignored)
        for system in self.systems:
            maps = ready.pop(system.name, None) or self._maps_of(system, case, views, paper)
            self._count(system, case, maps, views, paper, label=label)
            if truth is not None:
                self._count_findings(system, maps[Protocol.NATIVE].raw, truth, number)
        self._add_rows(case, number, mask, views, truth, label=label)

    def _add_rows(
        self,
        case: Case,
        number: int,
        mask: NDArray[np.bool_] | None,
        views: Views | None,
        truth: CaseTruth | None,
        *,
        label: bool,
    ) -> None:
        row = {
            "key": case.key,
            "number": number,
            "group": case.group,
            "unit": case.unit,
            "label": label,
            "has_mask": mask is not None,
            "pixels": 0 if mask is None else mask.size,
            "abnormal_pixels": 0 if mask is None else int(mask.sum()),
            "has_mm": truth is not None and truth.has_mm,
            "lesions": 0 if truth is None or truth.places is None else len(truth.places.sizes),
        }
        for name, value in row.items():
            self._rows[name].append(value)
        if views is not None and self.dataset.is_volumes and truth is not None and truth.mask is not None:
            axis = views.view.axes[0]
            per_slice = truth.mask.any(axis=tuple(other for other in range(3) if other != axis))
            self._rows["slice/label"].extend(np.asarray(per_slice).tolist())
            self._rows["slice/unit"].extend([case.unit] * truth.mask.shape[axis])

    def _maps_of(
        self, system: AnySystem, case: Case, views: Views | None, paper: tuple[Any, Any] | None
    ) -> dict[Protocol, CaseMaps]:
        maps = {}
        if isinstance(system, MapSystem):
            if views is not None:
                raw, note = system.read(case, views.volume)
                maps[Protocol.NATIVE] = CaseMaps(raw, float("nan"), None)
                self._tell_resampled(system.name, note)
        else:
            if paper is not None:
                maps[Protocol.PAPER] = _paper_maps(system.run(paper[0], None))
            if views is not None:
                maps[Protocol.NATIVE] = native_maps(system, views)
        for made in maps.values():
            bad = int(np.count_nonzero(~np.isfinite(made.raw)))
            if bad:
                raise BadCaseError(Problem(Fault.NOT_FINITE, case.key, f"{bad} scores by {system.name}"))
        return maps

    def _tell_truth(self, case: Case, views: Views) -> None:
        """Name what was not plain about a mask."""
        if views.truth is None:
            return
        told = [(Fault.MASK_VALUES, remark) for remark in views.truth.remarks]
        if views.truth.unnamed and self.dataset.facts is None:
            told.append((Fault.LABEL_VALUE, ", ".join(map(str, views.truth.unnamed))))
        self.store.progress.problems += [(fault.name, case.key, detail) for fault, detail in told]
        self._tell_resampled("truth", views.truth.placed)

    def _tell_resampled(self, what: str, note: str) -> None:
        if note:
            told = self.store.progress.resampled
            told[what] = told.get(what, 0) + 1

    def _count(
        self,
        system: AnySystem,
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
            if views is not None and self.dataset.is_volumes and (views.mask is not None or not label):
                highest = _slice_maxima(made.raw, inside, views.view.axes[0])
                self._rows.setdefault(f"{system.name}/{protocol}/slice/highest", []).extend(highest.tolist())
        made = maps[Protocol.NATIVE if views is not None else Protocol.PAPER]
        if made.routing is not None:
            total = np.asarray(self.store.progress.routing.get(system.name, 0)) + made.routing
            self.store.progress.routing[system.name] = total.tolist()
        if self._maps is not None and system is self.systems[0]:
            _save_map(self._maps, case, made.raw, views)

    def _count_findings(self, system: Scored, raw: NDArray[np.float32], truth: CaseTruth, number: int) -> None:
        scores = system.scores(raw)
        for nowhere in (truth.volume.padding_mask, truth.ignored):
            if nowhere is not None:
                scores[nowhere] = 0.0
        for kind, threshold in self._thresholds[system.name].items():
            marks = find(system, scores, truth.volume, _score_of(system, threshold))
            row, lesions = measure_case(truth, marks)
            self._rows.setdefault(f"{system.name}/{kind}/outcome", []).append(row)
            numbered = np.column_stack([np.full(len(lesions), number), lesions])
            self._rows.setdefault(f"{system.name}/{kind}/lesion", []).extend(numbered)
        if not counts_froc(system, is_volumes=self.dataset.is_volumes):
            return
        if truth.places is None:
            counted = [(-1, -1)] * len(system.froc_thresholds)  # unknown lesions: taken out by their label
        else:
            levels = [_score_of(system, level) for level in system.froc_thresholds]
            counted = [(int(hit.sum()), false) for hit, false in (detect(system, scores, truth, at) for at in levels)]
        self._rows.setdefault(f"{system.name}/hits", []).append([hits for hits, _ in counted])
        self._rows.setdefault(f"{system.name}/false_positives", []).append([false for _, false in counted])

    def _save(self) -> None:
        rows = {name: np.asarray(values) for name, values in self._rows.items() if values}
        counts: dict[str, NDArray[Any]] = {}
        for tally in self._tallies.values():
            rows |= tally.take_rows()
            counts |= tally.arrays()
        self.store.save(rows, counts)
        self._reset_rows()

    def _reset_rows(self) -> None:
        names = (
            "key",
            "number",
            "group",
            "unit",
            "label",
            "has_mask",
            "pixels",
            "abnormal_pixels",
            "has_mm",
            "lesions",
        )
        self._rows = {name: [] for name in (*names, "slice/label", "slice/unit")}


def counts_froc(system: Scored, *, is_volumes: bool) -> bool:
    """Whether findings of a system are counted at many thresholds: of baselines only in volumes, to save time."""
    return is_volumes or not isinstance(system, BaselineSystem)


def native_maps(system: System, views: Views) -> CaseMaps:
    """Map a case on its own grid."""
    view = views.view
    if isinstance(system, DetectorSystem) and view.n_slices > 1:
        return CaseMaps(system.map_volume(views.volume), float("nan"), None)
    raw: NDArray[np.float32] = np.zeros(views.volume.shape, dtype=np.float32)
    image_scores: list[float] = []
    routing: NDArray[np.int64] | None = None
    for indices, slices in views.batches():
        maps = system.run(slices, views.box)
        view.put(maps.raw, indices, into=raw)
        image_scores.extend([] if maps.image_score is None else maps.image_score.tolist())
        if maps.routing is not None:
            inside = view.take(views.foreground[None], indices)[:, 0]
            counted = _count_routing(maps.routing, inside)
            routing = counted if routing is None else routing + counted
    return CaseMaps(raw, max(image_scores) if image_scores else float("nan"), routing)


def _slice_maxima(raw: NDArray[np.float32], inside: NDArray[np.bool_] | None, axis: int) -> NDArray[np.float32]:
    """Return the highest score of each slice, of its foreground where one is given; the lowest of all without any."""
    others = tuple(other for other in range(3) if other != axis)
    if inside is None:
        highest: NDArray[np.float32] = raw.max(axis=others)
        return highest
    return raw.max(axis=others, initial=raw.min(), where=inside)  # type: ignore[no-any-return]


def _score_of(system: Scored, threshold: float) -> float:
    return float(system.scores(np.array([threshold], dtype=np.float32))[0])


def _paper_maps(maps: SystemMaps) -> CaseMaps:
    image_score = float("nan") if maps.image_score is None else float(maps.image_score[0])
    routing = None
    if maps.routing is not None:
        routing = _count_routing(maps.routing, np.ones(maps.routing.shape[-2:], dtype=bool)[None])
    return CaseMaps(maps.raw[0], image_score, routing)


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
