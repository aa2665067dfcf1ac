"""How figures and names are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.benchmark.outcomes import ThresholdKind

if TYPE_CHECKING:
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.metrics.value import Metric

METRIC_NAMES = {
    "auroc": "AUROC",
    "ap": "AP",
    "f1max": "F1max",
    "aupro": "AUPRO",
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "hd95": "HD95",
    "nsd": "NSD",
    "size_error": "size error",
    "relative_size_error": "size error, share",
    "lesion_dice": "lesion-wise Dice",
    "lesion_hd95": "lesion-wise HD95",
    "lesion_sensitivity": "lesions hit",
    "false_positives_per_case": "false positives per case",
    "panoptic_50": "PQ at IoU 0.5",
    "panoptic_10": "PQ at IoU 0.1",
    "froc_mean": "FROC mean",
    "healthy_flagged": "normal cases with a finding",
    "healthy_findings": "findings per normal case",
    "healthy_size": "size of findings per normal case",
}
PROTOCOL_NAMES = {
    "paper": "published convention (518 × 518)",
    "native": "whole frames",
    "foreground": "foreground",
}
RESEARCH_USE = "Research use only. Not a medical device."
UNDEFINED = "n/a"
LARGEST_SILENT_ERROR = 5e-4
"""Error bounds above it, which could change the last digit, are written beside a model's figure."""

_THREE_DIGITS = 1000
"""Sizes below it are written with three digits, larger ones without a decimal place."""

_COUNTS = {"false_positives_per_case", "healthy_findings"}
_SIZES = {"size_error", "healthy_size"}
_DISTANCES = {"hd95", "lesion_hd95"}


def unit_of(name: str, *, has_mm: bool) -> str:
    """Return the unit of a figure: "%", "mm", "ml", "pixels", or "" for numbers of things."""
    if name in _COUNTS:
        return ""
    if name in _SIZES:
        return "ml" if has_mm else "pixels"
    if name in _DISTANCES:
        return "mm" if has_mm else "pixels"
    return "%"


def number(value: float, unit: str) -> str:
    """Write a value in its unit: percent with one decimal, counts with two, sizes with three digits."""
    if unit == "%":
        return f"{100 * value:.1f}"
    if unit == "":
        return f"{value:.2f}"
    if unit == "mm":
        return f"{value:.1f}"
    return f"{value:.3g}" if abs(value) < _THREE_DIGITS else f"{value:.0f}"


def figure(metric: Metric, unit: str = "%", *, has_bound: bool = False) -> str:
    """Write a figure, "n/a" where it is undefined.

    Args:
        metric: The figure.
        unit: Of `unit_of`.
        has_bound: Whether its error bound is written beside it, where that could change the last digit.
    """
    if metric.value is None:
        return UNDEFINED
    text = number(metric.value, unit)
    if has_bound and metric.error_bound > LARGEST_SILENT_ERROR:
        return f"{text} ± {100 * metric.error_bound:.2f}"
    return text


def interval(metric: Metric, unit: str = "%") -> str:
    """Write a 95 % interval, "" where there is none."""
    if metric.interval is None:
        return ""
    return f"{number(metric.interval.low, unit)} to {number(metric.interval.high, unit)}"


def difference(metric: Metric) -> tuple[str, str]:
    """Write a difference in percent with its sign, and its interval, "" where there is none."""
    if metric.value is None:
        return UNDEFINED, ""
    bounds = metric.interval
    between = "" if bounds is None else f"{100 * bounds.low:+.1f} to {100 * bounds.high:+.1f}"
    return f"{100 * metric.value:+.1f}", between


def p_value(value: float | None) -> str:
    """Write a p-value, "no test" where there is none."""
    if value is None:
        return "no test"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - the usual limit


def label(one: SetResult, system: str) -> str:
    """Write the name of a system of a set: the detector goes by its model's name."""
    return str(one.rows.about.model) if system == one.detector else system_name(system)


def system_name(key: str) -> str:
    """Write a system's name."""
    return key.replace("_", " ")


def threshold_name(one: SetResult, kind: ThresholdKind) -> str:
    """Say where a threshold comes from."""
    return {
        ThresholdKind.STORED: "stored",
        ThresholdKind.CHOSEN: f"chosen on {one.rows.about.threshold_from}",
        ThresholdKind.ORACLE: "oracle (chosen on this very set)",
    }[kind]


def slices_or_images(one: SetResult) -> str:
    """Return what an image-level score belongs to."""
    return "slice" if one.rows.about.is_volumes else "image"
