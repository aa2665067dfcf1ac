"""Detection: lesions hit, false positives, and the FROC curve over thresholds.

A finding is marked where its score is highest. A lesion is hit when a mark lies in it or right beside it (one of the 26
neighbours, 8 in 2-D); a finding whose mark lies in no lesion is false. Were any overlap enough, one finding that covers
the whole organ would hit every lesion and never be false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from moeclip_med.metrics.bootstrap import draw, with_interval
from moeclip_med.metrics.histogram import label_regions
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per case at which sensitivity is read (the LUNA16 challenge's seven rates)."""

_NO_LESION = "no lesion in any case"


class LesionPlaces(NamedTuple):
    """Where the lesions of a case lie.

    Attributes:
        labels: (x, y, z) the number of the lesion, 0 outside.
        wider: (x, y, z) the same, each lesion widened by one voxel so that marks right beside it count.
        sizes: (lesions,) voxels of each.
    """

    labels: NDArray[np.int32]
    wider: NDArray[np.int32]
    sizes: NDArray[np.int64]


def lesion_places(mask: NDArray[np.bool_]) -> LesionPlaces:
    """Number the lesions of a mask (x, y, z), True where abnormal."""
    labels, count = label_regions(mask)
    sizes = np.bincount(labels[mask], minlength=count + 1)[1:]
    wider = labels
    if count:
        wider = labels.copy()
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
            lesion = ndimage.binary_dilation(labels[around] == number, np.ones((3,) * mask.ndim, dtype=bool))
            part = wider[around]
            part[lesion & (labels[around] == 0)] = number
    return LesionPlaces(labels, wider, sizes)


def match_marks(places: LesionPlaces, marks: Iterable[NDArray[np.intp]]) -> tuple[NDArray[np.bool_], int]:
    """Compare marks with lesions.

    Args:
        places: Of the case.
        marks: For each finding the voxels (n, 3) of its highest score. Where several share it, one in a lesion counts.

    Returns:
        (lesions,) True where hit, and the number of findings whose mark lies in no lesion.
    """
    hit, false = np.zeros(len(places.sizes), dtype=bool), 0
    for voxels in marks:
        lesion = int(places.wider[tuple(voxels.T)].max(initial=0))
        if lesion:
            hit[lesion - 1] = True
        else:
            false += 1
    return hit, false


@dataclass(frozen=True)
class Detections:
    """Hits and false positives of cases at several thresholds.

    Attributes:
        thresholds: (thresholds,) raw scores.
        hits: (cases, thresholds) lesions hit.
        false_positives: (cases, thresholds).
        lesions: (cases,).
        units: (cases,) the patient that each case belongs to.
    """

    thresholds: NDArray[np.float64]
    hits: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    lesions: NDArray[np.int64]
    units: NDArray[np.str_]

    def per_unit(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Sum hits, false positives, lesions and cases over the cases of each unit."""
        names, index = np.unique(self.units, return_inverse=True)
        member = np.zeros((len(names), len(index)))
        member[index, np.arange(len(index))] = 1.0
        return member @ self.hits, member @ self.false_positives, member @ self.lesions, member.sum(axis=1)


class Froc(NamedTuple):
    """The FROC curve, from the highest threshold down.

    Attributes:
        rate: (thresholds,) false positives per case.
        sensitivity: (thresholds,) share of all lesions hit.
    """

    rate: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


def froc(detections: Detections) -> Froc:
    """Return the FROC curve of all cases."""
    order = np.argsort(-detections.thresholds, kind="stable")
    return Froc(
        detections.false_positives.mean(axis=0)[order],
        detections.hits.sum(axis=0)[order] / max(int(detections.lesions.sum()), 1),
    )


def froc_band(detections: Detections, rates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % band of the sensitivity at rates (n,), over resampled patients: low (n,) and high (n,)."""
    low, high = np.nanpercentile(_resampled(detections, rates), (2.5, 97.5), axis=0)
    return low, high


def measure_froc(detections: Detections, units_are: str) -> dict[str, Metric]:
    """Read the sensitivity at each of `FROC_RATES`, and their mean ("froc_mean"), with intervals over patients.

    The sensitivity at a rate is the best of all thresholds with no more false positives per case: lower thresholds
    can merge findings, so the rate does not always rise.
    """
    names = [f"sensitivity_at_{rate:g}" for rate in FROC_RATES]
    if not detections.lesions.sum():
        return dict.fromkeys([*names, "froc_mean"], Metric.undefined(_NO_LESION))
    curve = froc(detections)
    at_rate = [float(curve.sensitivity[curve.rate <= rate].max(initial=0.0)) for rate in FROC_RATES]
    samples = _resampled(detections, np.asarray(FROC_RATES))
    units = len(np.unique(detections.units))
    values = [*at_rate, float(np.mean(at_rate))]
    columns = [*samples.T, samples.mean(axis=1)]
    return {
        name: with_interval(Metric(value), column, value, units, units_are)
        for name, value, column in zip([*names, "froc_mean"], values, columns, strict=True)
    }


def _resampled(detections: Detections, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sensitivity at each rate in each resample: (repeats, rates)."""
    hits, false, lesions, cases = detections.per_unit()
    drawn = draw(len(cases))
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = (drawn @ hits) / (drawn @ lesions)[:, None]
        rate = (drawn @ false) / (drawn @ cases)[:, None]
    columns = [np.where(rate <= limit, sensitivity, 0.0).max(axis=1, initial=0.0) for limit in rates]
    at_rate = np.stack(columns, axis=1)
    at_rate[drawn @ lesions == 0] = np.nan
    return at_rate
