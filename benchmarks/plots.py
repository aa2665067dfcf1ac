"""Plots of what `run.py` measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

Record = dict[str, Any]


def write_plots(record: Record, folder: Path) -> None:
    """Write one picture per question, as far as it was measured."""
    for model, part in record.items():
        if model in {"lite", "vit-l-14-336"}:
            draw(folder / f"{model}-engines.png", plot_engines, part, f"{model}: speed relative to plain eager float32")
            draw(folder / f"{model}-image-size.png", plot_image_size, part, f"{model}: seconds a slice by image size")
            draw(folder / f"{model}-batch.png", plot_batches, part, f"{model}: slices a second by batch and threads")
            draw(folder / f"{model}-growth.png", plot_growth, part, f"{model}: a volume of n slices of 240 × 240")
    if "phases" in record.get("lite", {}):
        draw(folder / "lite-phases.png", plot_phases, record["lite"], "lite: 155 slices from command to result")


def draw(path: Path, plot: Any, part: Record, title: str) -> None:  # noqa: ANN401 - one of the functions below
    """Draw one picture."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    plot(axes, part)
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_engines(axes: Axes, part: Record) -> None:
    """Bars: ratio to the plain rendering."""
    ratios = {"plain": 1.0} | part["against_plain"].get("ratio", {})
    bars = axes.barh(list(ratios), list(ratios.values()))
    axes.bar_label(bars, fmt="%.1f×", padding=3, fontsize=8)
    axes.set_xlabel("times as fast")
    axes.invert_yaxis()


def plot_image_size(axes: Axes, part: Record) -> None:
    """Lines: latency of one slice by the side of the image."""
    sizes = {int(side): item["latency_s"]["1"] for side, item in part["image_size"].items() if "latency_s" in item}
    axes.loglog(list(sizes), list(sizes.values()), "o-")
    axes.set_xticks(list(sizes), [str(side) for side in sizes])
    axes.minorticks_off()
    axes.set_xlabel("side of the image in pixels")
    axes.set_ylabel("seconds")


def plot_batches(axes: Axes, part: Record) -> None:
    """Lines: throughput by batch, one per number of threads."""
    for threads, item in part["threads"].items():
        rates = {int(batch): rate for batch, rate in item.get("slices_per_s", {}).items()}
        axes.plot(list(rates), list(rates.values()), "o-", label=f"{threads} threads")
    axes.set_xlabel("batch")
    axes.set_ylabel("slices a second")
    axes.set_ylim(bottom=0)
    axes.legend()


def plot_growth(axes: Axes, part: Record) -> None:
    """Lines: seconds and peak of memory by the number of slices."""
    growth = [item for item in part["growth"] if "failed" not in item]
    counts = [item["slices"] for item in growth]
    axes.loglog(counts, [item["seconds"] for item in growth], "o-", label="seconds")
    peaks = [item["peak_gb"] for item in growth]
    if None not in peaks:
        axes.loglog(counts, peaks, "s--", label="peak GB")
    axes.set_xlabel("slices")
    axes.legend()


def plot_phases(axes: Axes, part: Record) -> None:
    """Bars: where the time goes."""
    seconds = part["phases"].get("seconds", {})
    bars = axes.barh(list(seconds), list(seconds.values()))
    axes.bar_label(bars, fmt="%.1f s", padding=3, fontsize=8)
    axes.set_xlabel("seconds")
    axes.invert_yaxis()
