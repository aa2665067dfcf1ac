"""Paired tests between two systems on the same patients, and a correction for several tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics.bootstrap import MINIMUM_UNITS, SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES = 9999


def permutation_test(first: NDArray[np.float64], second: NDArray[np.float64], units: NDArray[np.str_]) -> float | None:
    """Test whether two systems differ in a figure that every case has, such as Dice.

    Cases of one patient are averaged; under the null hypothesis the two systems of a patient could as well be
    exchanged, so the signs of the differences are drawn at random (Nichols and Holmes, Human Brain Mapping 2002).

    Args:
        first: (cases,) of one system, NaN where undefined.
        second: (cases,) of the other.
        units: (cases,) patients.

    Returns:
        The two-sided p-value; None with fewer than `MINIMUM_UNITS` patients in which both are defined.
    """
    from scipy.stats import permutation_test as permutation_test_of_signs

    kept = ~(np.isnan(first) | np.isnan(second))
    names, index = np.unique(units[kept], return_inverse=True)
    if len(names) < MINIMUM_UNITS:
        return None
    difference = np.bincount(index, weights=(second - first)[kept]) / np.bincount(index)
    result = permutation_test_of_signs(
        (difference,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(SEED)
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for the number of tests (Holm, Scandinavian Journal of Statistics 1979); None stays None."""
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected
