"""Metrics of images and patients: few enough to be computed from the scores themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.histogram import PixelCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.metrics.value import Metric


def exact_counts(scores: NDArray[np.floating[Any]], labels: NDArray[np.bool_]) -> PixelCounts:
    """Assign a bin to every distinct score.

    Args:
        scores: (n,), finite.
        labels: (n,), True where abnormal.

    Returns:
        Counts over the distinct scores; there are no regions.
    """
    distinct, index = np.unique(scores, return_inverse=True)
    size = len(distinct)
    normal = np.bincount(index[~labels], minlength=size)
    abnormal = np.bincount(index[labels], minlength=size)
    return PixelCounts(normal, abnormal, np.zeros(size), np.zeros((), np.int64))


def measure_exactly(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.bool_], what: str = "images"
) -> dict[str, Metric]:
    """Compute AUROC, AP and F1max without binning.

    Args:
        scores: (n,), finite.
        labels: (n,), True where abnormal.
        what: What the scores belong to, for the reasons of undefined metrics.

    Returns:
        "auroc", "ap" and "f1max".
    """
    metrics = measure(exact_counts(scores, labels), what, is_binned=False)
    return {name: metrics[name] for name in ("auroc", "ap", "f1max")}
