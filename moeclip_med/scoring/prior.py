"""The findings of a run beside those of an earlier one of the same patient: matched by place, with growth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.geometry import ras_from_lps

from moeclip_med.scoring.registration import resample

if TYPE_CHECKING:
    from moeclip_transforms import Affine
    from numpy.typing import NDArray

    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding

NEAREST_MM = 15.0
"""Findings that do not overlap are matched where their centres are at most so far apart."""


class MatchBasis(StrEnum):
    """Why findings of two studies are taken for the same."""

    OVERLAP = "overlap"
    NEAREST = "nearest"
    NONE = "none"
    """There is no counterpart: the finding is new, or gone."""


@dataclass(frozen=True)
class FindingChange:
    """One or more findings of now, and those of the prior that they are taken for.

    Several of one study stand together where they overlap one of the other: they merged, or fell apart.

    Attributes:
        current: Ranks in the current run; empty where the finding is gone.
        prior: Ranks in the prior; empty where the finding is new.
        basis: Why they are taken for the same.
        dice: The Dice overlap of both together, 0 to 1.
        distance_mm: Distance between their centres; None without a counterpart.
        volume_ml: Volume now, ml; 0 where gone.
        prior_volume_ml: Volume in the prior, ml; 0 where new.
    """

    current: tuple[int, ...]
    prior: tuple[int, ...]
    basis: MatchBasis
    volume_ml: float
    prior_volume_ml: float
    dice: float = 0.0
    distance_mm: float | None = None

    @property
    def growth_ml(self) -> float:
        """Growth in ml; negative where it shrank."""
        return self.volume_ml - self.prior_volume_ml

    @property
    def growth_percent(self) -> float | None:
        """Growth in percent of the prior's volume; None where the finding is new."""
        return 100.0 * self.growth_ml / self.prior_volume_ml if self.prior_volume_ml > 0 else None


def prior_labels(current: AnomalyVolume, prior: AnomalyVolume, to_prior: Affine) -> NDArray[np.uint16]:
    """Return the prior's labels on the current run's grid, (x, y, z), by the nearest voxel.

    Args:
        current: The current run.
        prior: The prior.
        to_prior: From the current image's world to the prior's, mm, RAS+.
    """
    labels: NDArray[np.uint16] = resample(prior.labels, prior.affine, current.volume, to_prior, is_labels=True)
    return labels


def match_findings(
    current: AnomalyVolume, prior: AnomalyVolume, to_prior: Affine, moved: NDArray[np.uint16]
) -> tuple[FindingChange, ...]:
    """Match the findings of a run with those of a prior: by overlap, then by the nearest centre.

    Args:
        current: The current run; rejected findings take no part.
        prior: The prior, likewise.
        to_prior: From the current image's world to the prior's, mm, RAS+.
        moved: (x, y, z) the prior's labels on the current grid, as `prior_labels` gives them.

    Returns:
        The changes: those of current findings by rank, then what is gone. Each finding is in exactly one.
    """
    now = {finding.label: finding for finding in current.findings}
    then = {finding.label: finding for finding in prior.findings}
    centres = {label: _world(finding) for label, finding in now.items()}
    prior_centres = {label: _world(finding) for label, finding in then.items()}
    both = (current.labels > 0) & (moved > 0)
    pairs = {
        (int(a), int(b))
        for a, b in np.unique(np.stack([current.labels[both], moved[both]], axis=-1), axis=0)
        if int(a) in now and int(b) in then
    }
    changes, left, prior_left = [], set(now), set(then)
    for labels, prior_of in _groups(pairs):
        left -= labels
        prior_left -= prior_of
        inside, inside_prior = np.isin(current.labels, list(labels)), np.isin(moved, list(prior_of))
        dice = 2 * np.count_nonzero(inside & inside_prior) / (np.count_nonzero(inside) + np.count_nonzero(inside_prior))
        distance = _distance([centres[one] for one in labels], [prior_centres[one] for one in prior_of], to_prior)
        changes.append(_change(now, then, labels, prior_of, MatchBasis.OVERLAP, float(dice), distance))
    near = sorted((_distance([centres[a]], [prior_centres[b]], to_prior), a, b) for a in left for b in prior_left)
    for distance, label, prior_label in near:
        if distance <= NEAREST_MM and label in left and prior_label in prior_left:
            left.remove(label)
            prior_left.remove(prior_label)
            changes.append(_change(now, then, {label}, {prior_label}, MatchBasis.NEAREST, 0.0, distance))
    changes += [_change(now, then, {label}, set(), MatchBasis.NONE) for label in left]
    changes += [_change(now, then, set(), {label}, MatchBasis.NONE) for label in prior_left]
    return tuple(sorted(changes, key=lambda one: (not one.current, one.current, one.prior)))


def _groups(pairs: set[tuple[int, int]]) -> list[tuple[set[int], set[int]]]:
    """Join pairs that share a member."""
    groups: list[tuple[set[int], set[int]]] = []
    for a, b in sorted(pairs):
        joined = [group for group in groups if a in group[0] or b in group[1]]
        groups = [group for group in groups if group not in joined]
        groups.append(({a}.union(*(one[0] for one in joined)), {b}.union(*(one[1] for one in joined))))
    return groups


def _change(
    now: dict[int, Finding],
    then: dict[int, Finding],
    labels: set[int],
    prior_labels: set[int],
    basis: MatchBasis,
    dice: float = 0.0,
    distance_mm: float | None = None,
) -> FindingChange:
    mine, earlier = [now[label] for label in labels], [then[label] for label in prior_labels]
    return FindingChange(
        tuple(sorted(finding.rank for finding in mine)),
        tuple(sorted(finding.rank for finding in earlier)),
        basis,
        sum(finding.volume_ml or 0.0 for finding in mine),
        sum(finding.volume_ml or 0.0 for finding in earlier),
        dice,
        distance_mm,
    )


def _world(finding: Finding) -> NDArray[np.float64]:
    """Return a finding's centre, mm, RAS+; the volumes that are compared all have patient coordinates."""
    return ras_from_lps(np.asarray(finding.centre_lps_mm, dtype=np.float64))


def _distance(now: list[NDArray[np.float64]], then: list[NDArray[np.float64]], to_prior: Affine) -> float:
    """Return the distance between the mean centres, in the prior's world, mm."""
    return float(np.linalg.norm(to_prior.to_world(np.mean(now, axis=0)) - np.mean(then, axis=0)))
