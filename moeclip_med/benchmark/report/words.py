"""How figures and names are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.metrics.value import Metric

METRIC_NAMES = {
    "auroc": "AUROC",
    "ap": "AP",
    "f1max": "F1max",
    "aupro": "AUPRO",
    "dice": "Dice",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "froc_mean": "FROC mean",
    "lesion_sensitivity": "Lesions hit",
    "false_findings_per_volume": "False findings per volume",
}
PROTOCOL_NAMES = {
    "paper": "published convention (518 × 518)",
    "native": "native resolution",
    "foreground": "native resolution, foreground only",
}
RESEARCH_USE = "Research use only. Not a medical device."
UNDEFINED = "n/a"
LARGEST_SILENT_ERROR = 5e-4
"""Error bounds above it, which could change the last digit, are written beside a model's figure."""


def percent(metric: Metric, *, is_count: bool = False, has_bound: bool = False) -> str:
    """Write a figure: in percent with one decimal, a count with two, "n/a" where it is undefined.

    Args:
        metric: The figure.
        is_count: Whether it is a number of things, not a fraction.
        has_bound: Whether its error bound is written beside it, where that could change the last digit.
    """
    if metric.value is None:
        return UNDEFINED
    text = f"{metric.value:.2f}" if is_count else f"{100 * metric.value:.1f}"
    if has_bound and metric.error_bound > LARGEST_SILENT_ERROR:
        return f"{text} ± {100 * metric.error_bound:.2f}"
    return text


def interval(metric: Metric) -> str:
    """Write a 95 % interval, "" where there is none."""
    if metric.interval is None:
        return ""
    return f"{100 * metric.interval.low:.1f}–{100 * metric.interval.high:.1f}"


def with_interval(metric: Metric, *, is_count: bool = False) -> str:
    """Write a figure with its interval in brackets."""
    bounds = interval(metric)
    text = percent(metric, is_count=is_count, has_bound=True)
    return f"{text} ({bounds})" if bounds else text


def label(one: SetResult, system: str) -> str:
    """Write the name of a system of a set: the detector goes by its model's name."""
    return str(one.rows.about["model"]) if system == one.detector else system_name(system)


def system_name(key: str) -> str:
    """Write a system's name."""
    return key.replace("_", " ")
