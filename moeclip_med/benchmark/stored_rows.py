"""The stored rows of a run, by class and unit, ready to be summarised or compared with another run's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.outcomes import CASE_COLUMNS, ThresholdKind
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.detection import Detections
from moeclip_med.metrics.histogram import COARSE_BINS, PixelCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.run_store import Store
    from moeclip_med.benchmark.set_progress import SetProgress, SetRecord


@dataclass(frozen=True)
class Scores:
    """Scores of images (or slices, or volumes) with their labels and units.

    Attributes:
        scores: (n,).
        labels: (n,) bool, True where abnormal.
        units: (n,) names of the patients they belong to.
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    units: NDArray[np.str_]


class Rows:
    """What a run stored about one set.

    Args:
        store: The set's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.progress: SetProgress = store.progress
        self.about: SetRecord = store.progress.set
        self._curves: dict[tuple[str, Protocol], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols that were followed, the headline one first."""
        return self.about.protocols

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, the detector first."""
        return tuple(self.about.systems)

    @cached_property
    def keys(self) -> NDArray[np.str_]:
        """(cases,) names of the cases that were evaluated."""
        return self._names("key")

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """(cases,) their classes."""
        return self._names("group")

    @cached_property
    def units(self) -> NDArray[np.str_]:
        """(cases,) their patients."""
        return self._names("unit")

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """(cases,) True where abnormal."""
        return self._store.column("label").astype(bool)

    @cached_property
    def has_mask(self) -> NDArray[np.bool_]:
        """(cases,) True where the case came with a mask."""
        return self._store.column("has_mask").astype(bool)

    @cached_property
    def abnormal_pixels(self) -> NDArray[np.int64]:
        """(cases,) how many pixels are abnormal; 0 where that is not known."""
        return self._store.column("abnormal_pixels").astype(np.int64)

    def group_names(self) -> list[str]:
        """The classes, in order."""
        return list(dict.fromkeys(self.groups.tolist()))

    def column(self, system: str, protocol: Protocol, name: str) -> NDArray[Any]:
        """(cases, ...) one column of a system's rows."""
        return self._store.column(f"{system}/{protocol}/{name}")

    def unit_counts(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> tuple[list[str], PixelCounts]:
        """Sum the rows of each unit.

        Args:
            system: Whose.
            protocol: Which.
            chosen: (cases,) True for the cases that count.

        Returns:
            The units' names, sorted; counts (units, bins).
        """
        parts = [
            self.per_unit(self.column(system, protocol, name), chosen)
            for name in ("normal", "abnormal", "overlap", "regions")
        ]
        return np.unique(self.units[chosen]).tolist(), PixelCounts(*parts)

    def unit_decisions(
        self, system: str, protocol: Protocol, kind: ThresholdKind, chosen: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Sum the four outcomes of pixels at a threshold over the cases of each unit: (units, 4)."""
        return self.per_unit(self.column(system, protocol, f"decisions/{kind}"), chosen).astype(np.int64)

    def per_unit(self, column: NDArray[Any], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sum a column (cases, ...) over the chosen cases of each unit, units sorted by name."""
        names, index = np.unique(self.units[chosen], return_inverse=True)
        total = np.zeros((len(names), *column.shape[1:]))
        np.add.at(total, index, column[chosen])
        return total

    def all_case_counts(self, system: str, protocol: Protocol) -> Iterator[PixelCounts]:
        """Return the counts of each case in turn."""
        columns = [self.column(system, protocol, name) for name in ("normal", "abnormal", "overlap", "regions")]
        for normal, abnormal, overlap, regions in zip(*columns, strict=True):
            yield PixelCounts(normal.astype(np.int64), abnormal.astype(np.int64), overlap.astype(np.float64), regions)

    def case_curves(self, system: str, protocol: Protocol) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return AUROC and AP of the pixels of each case, (cases,) each; NaN where undefined."""
        if (system, protocol) in self._curves:
            return self._curves[system, protocol]
        figures = np.full((2, len(self.keys)), np.nan)
        for index, counts in enumerate(self.all_case_counts(system, protocol)):
            metrics = measure(counts)
            figures[:, index] = [
                np.nan if (value := metrics[name].value) is None else value for name in ("auroc", "ap")
            ]
        self._curves[system, protocol] = (figures[0], figures[1])
        return figures[0], figures[1]

    def total_counts(self, system: str, protocol: Protocol) -> PixelCounts:
        """Sum the counts of all cases, for curves."""
        normal, abnormal = (self.column(system, protocol, name).sum(axis=0) for name in ("normal", "abnormal"))
        return PixelCounts(
            normal.astype(np.int64), abnormal.astype(np.int64), np.zeros(COARSE_BINS), np.zeros((), np.int64)
        )

    def image_scores(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> Scores:
        """Score images: by the paper's rules, or slices by their highest pixel where the set is of volumes.

        Medical: the highest pixel. Industrial: half of it plus half of the system's own image score, each first
        rescaled over the images of the class where any lies outside 0 to 1; the highest pixel alone for systems
        without image score.
        """
        if self.about.is_volumes:
            return self._slice_scores(system, protocol, chosen)
        highest = self.column(system, protocol, "highest")[chosen].astype(np.float64)
        image_score = self.column(system, protocol, "image_score")[chosen].astype(np.float64)
        if self.about.is_industrial and not np.isnan(image_score).any():
            lowest = self.column(system, protocol, "lowest")[chosen].astype(np.float64)
            parts = (_rescaled(highest, lowest.min(), highest.max()), _rescaled(image_score))
            highest = 0.5 * parts[0] + 0.5 * parts[1]
        return Scores(highest, self.labels[chosen], self.units[chosen])

    def case_scores(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> Scores:
        """Score whole cases (images or volumes) by their highest pixel."""
        highest = self.column(system, protocol, "highest").astype(np.float64)
        return Scores(highest[chosen], self.labels[chosen], self.units[chosen])

    def patient_scores(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> Scores:
        """Score patients by the highest pixel of all their cases; abnormal where any case is."""
        cases = self.case_scores(system, protocol, chosen)
        names, index = np.unique(cases.units, return_inverse=True)
        highest = np.full(len(names), -np.inf)
        np.maximum.at(highest, index, cases.scores)
        return Scores(highest, np.bincount(index, weights=cases.labels) > 0, names)

    @cached_property
    def has_truth(self) -> NDArray[np.bool_]:
        """(cases,) True where it is known what is abnormal: with a mask, and of normal cases."""
        return self.has_mask | ~self.labels

    @cached_property
    def has_mm(self) -> bool:
        """Whether sizes are in ml and mm; in pixels otherwise."""
        return bool(self._store.column("has_mm").any())

    def thresholds(self, system: str) -> dict[ThresholdKind, float]:
        """Kind to raw score at which findings of a system were measured."""
        return self.about.systems[system].thresholds

    def outcomes(self, system: str, kind: ThresholdKind) -> dict[str, NDArray[np.float64]]:
        """`CASE_COLUMNS` to (cases,) values at a threshold; empty where findings were not measured."""
        table = self._store.column(f"{system}/{kind}/outcome")
        return dict(zip(CASE_COLUMNS, table.T, strict=True)) if table.size else {}

    def lesion_rows(self, system: str, kind: ThresholdKind) -> NDArray[np.float64]:
        """(lesions, 3): which row of the set the lesion's case is, its size, and 1 where it was hit."""
        table = self._store.column(f"{system}/{kind}/lesion")
        if not table.size:
            return np.zeros((0, 3))
        place = {int(number): row for row, number in enumerate(self._store.column("number"))}
        table = table.astype(np.float64)
        table[:, 0] = [place[int(number)] for number in table[:, 0]]
        return table

    def detections(self, system: str, chosen: NDArray[np.bool_]) -> Detections | None:
        """Hits and false positives at many thresholds of the chosen cases with known truth; None if not counted."""
        hits = self._store.column(f"{system}/hits")
        if not hits.size:
            return None
        kept = chosen & self.has_truth
        return Detections(
            np.asarray(self.about.systems[system].froc_thresholds),
            hits[kept],
            self._store.column(f"{system}/false_positives")[kept],
            self._store.column("lesions").astype(np.int64)[kept],
            self.units[kept],
        )

    def _slice_scores(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> Scores:
        units = self._names("slice/unit")
        kept = np.isin(units, self.units[chosen])
        labels = self._store.column("slice/label").astype(bool)
        scores = self._store.column(f"{system}/{protocol}/slice/highest").astype(np.float64)
        return Scores(scores[kept], labels[kept], units[kept])

    def _names(self, column: str) -> NDArray[np.str_]:
        values = self._store.column(column)
        return values if values.dtype.kind == "U" else np.zeros(0, dtype=np.str_)


def _rescaled(values: NDArray[np.float64], low: float | None = None, high: float | None = None) -> NDArray[np.float64]:
    """Map [low, high] to [0, 1] if it reaches outside [0, 1]."""
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    if (low >= 0 and high <= 1) or high == low:
        return values
    return (values - low) / (high - low)
