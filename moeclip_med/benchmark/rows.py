"""The stored rows of a run, by class and unit, ready to be summarised or compared with another run's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.metrics.histogram import COARSE_BINS, Counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeclip_med.benchmark.store import Store


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
        self.progress: dict[str, Any] = store.progress
        self.about: dict[str, Any] = store.progress["set"]

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols that were followed, the headline one first."""
        return tuple(Protocol(name) for name in self.about["protocols"])

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, the detector first."""
        return tuple(self.about["systems"])

    @cached_property
    def keys(self) -> NDArray[np.str_]:
        """(cases,) names of the cases that were judged."""
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

    def group_names(self) -> list[str]:
        """The classes, in order."""
        return list(dict.fromkeys(self.groups.tolist()))

    def column(self, system: str, protocol: Protocol, name: str) -> NDArray[Any]:
        """(cases, ...) one column of a system's rows."""
        return self._store.column(f"{system}/{protocol}/{name}")

    def unit_counts(
        self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]
    ) -> tuple[list[str], Counts, NDArray[np.int64]]:
        """Sum the rows of each unit.

        Args:
            system: Whose.
            protocol: Which.
            chosen: (cases,) True for the cases that count.

        Returns:
            The units' names, sorted; counts (units, bins); decisions (units, 4).
        """
        names, index = np.unique(self.units[chosen], return_inverse=True)

        def summed(column: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
            total = np.zeros((len(names), *shape))
            np.add.at(total, index, self.column(system, protocol, column)[chosen])
            return total

        bins = (COARSE_BINS,)
        counts = Counts(
            summed("normal", bins), summed("abnormal", bins), summed("overlap", bins), summed("regions", ())
        )
        return names.tolist(), counts, summed("decisions", (4,)).astype(np.int64)

    def all_case_counts(self, system: str, protocol: Protocol) -> Iterator[Counts]:
        """Give the counts of each case in turn."""
        columns = [self.column(system, protocol, name) for name in ("normal", "abnormal", "overlap", "regions")]
        for normal, abnormal, overlap, regions in zip(*columns, strict=True):
            yield Counts(normal.astype(np.int64), abnormal.astype(np.int64), overlap.astype(np.float64), regions)

    def total_counts(self, system: str, protocol: Protocol) -> Counts:
        """Sum the counts of all cases, for curves."""
        normal, abnormal = (self.column(system, protocol, name).sum(axis=0) for name in ("normal", "abnormal"))
        return Counts(normal.astype(np.int64), abnormal.astype(np.int64), np.zeros(COARSE_BINS), np.zeros((), np.int64))

    def image_scores(self, system: str, protocol: Protocol, chosen: NDArray[np.bool_]) -> Scores:
        """Score images: by the paper's rules, or slices by their highest pixel where the set is of volumes.

        Medical: the highest pixel. Industrial: half of it plus half of the system's own image score, each first
        rescaled over the images of the class where any lies outside 0 to 1; the highest pixel alone for systems
        without image score.
        """
        if self.about["is_volumes"]:
            return self._slice_scores(system, chosen)
        highest = self.column(system, protocol, "highest")[chosen].astype(np.float64)
        image_score = self.column(system, protocol, "image_score")[chosen].astype(np.float64)
        if self.about["is_industrial"] and not np.isnan(image_score).any():
            lowest = self.column(system, protocol, "lowest")[chosen].astype(np.float64)
            parts = (_rescaled(highest, lowest.min(), highest.max()), _rescaled(image_score))
            highest = 0.5 * parts[0] + 0.5 * parts[1]
        return Scores(highest, self.labels[chosen], self.units[chosen])

    def volume_scores(self, system: str, protocol: Protocol) -> Scores:
        """Score whole volumes by their highest voxel."""
        return Scores(self.column(system, protocol, "highest").astype(np.float64), self.labels, self.units)

    def findings(self, system: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Give hits (volumes, thresholds), false findings (volumes, thresholds) and lesions (volumes,)."""
        hits, false = self._store.column(f"{system}/hits"), self._store.column(f"{system}/false_findings")
        return hits, false, self._store.column("lesions").astype(np.int64)

    def _slice_scores(self, system: str, chosen: NDArray[np.bool_]) -> Scores:
        units = self._names("slice/unit")
        kept = np.isin(units, self.units[chosen])
        labels = self._store.column("slice/label").astype(bool)
        scores = self._store.column(f"{system}/slice/highest").astype(np.float64)
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
