"""Pictures of what `run.py` measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

Record = dict[str, Any]
LITE, FULL = "lite", "vit-l-14-336"
TITLES = {LITE: "lite", FULL: "ViT-L/14-336 at 518 pixels"}


def write_plots(record: Record, folder: Path) -> None:
    """Write `bench-engines.png`, and `bench-MODEL.png` for each model, as far as it was measured."""
    models = [model for model in (LITE, FULL) if ratios_of(record, model)]
    if models:
        figure, panels = plt.subplots(
            1, len(models), figsize=(4.8 * len(models), 2.8), layout="constrained", squeeze=False
        )
        for panel, model in zip(panels[0], models, strict=True):
            plot_engines(panel, ratios_of(record, model))
            panel.set_title(TITLES[model], fontsize=10)
        save(figure, folder / "bench-engines.png")
    for model in (LITE, FULL):
        part = record.get(model, {})
        drawings = [(plot, part[question]) for question, plot in DRAWN.items() if has_answers(part.get(question, {}))]
        if drawings:
            figure, panels = plt.subplots(
                1, len(drawings), figsize=(3.8 * len(drawings), 3.2), layout="constrained", squeeze=False
            )
            for panel, (plot, answers) in zip(panels[0], drawings, strict=True):
                plot(panel, {case: item for case, item in answers.items() if not {"failed", "refused"} & item.keys()})
            figure.suptitle(TITLES[model], fontsize=10)
            save(figure, folder / f"bench-{model}.png")


def ratios_of(record: Record, model: str) -> dict[str, float]:
    """The ratio to the reference implementation of each engine that could be measured."""
    against = record.get(model, {}).get("against_reference", {})
    return {name: item["ratio"] for name, item in against.items() if "ratio" in item}


def has_answers(answers: Record) -> bool:
    """Whether any case of a question could be measured."""
    return any(not {"failed", "refused"} & item.keys() for item in answers.values())


def save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib's
    """Write a figure."""
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_engines(axes: Axes, ratios: dict[str, float]) -> None:
    """Bars: ratio to the reference implementation."""
    ratios = {"plain": 1.0} | ratios
    bars = axes.barh(list(ratios), list(ratios.values()), color="#4477aa")
    axes.bar_label(bars, fmt="%.1f×", padding=3, fontsize=8)
    axes.set_xlabel("times as fast as the float32 reference")
    axes.set_xlim(0, 1.15 * max(ratios.values()))
    axes.invert_yaxis()


def plot_image_size(axes: Axes, sizes: Record) -> None:
    """Line: seconds of one slice by the side of the image."""
    seconds = {int(side): item["latency_s"]["1"] for side, item in sizes.items()}
    axes.loglog(list(seconds), list(seconds.values()), "o-", color="#4477aa")
    axes.set_xticks(list(seconds), [str(side) for side in seconds], fontsize=7)
    axes.minorticks_off()
    finish(axes, "side of the image (pixels)", "seconds a slice")


def plot_threads(axes: Axes, threads: Record) -> None:
    """Lines: throughput by batch, one per number of threads."""
    for count, item in threads.items():
        rates = {int(batch): rate for batch, rate in item["slices_per_s"].items()}
        axes.plot(list(rates), list(rates.values()), "o-", label=f"{count} thread{'s' if count != '1' else ''}")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    finish(axes, "batch", "slices a second")


def plot_growth(axes: Axes, growth: Record) -> None:
    """Lines: seconds and peak of memory by the number of slices."""
    counts = [int(count) for count in growth]
    axes.loglog(counts, [item["seconds"] for item in growth.values()], "o-", label="seconds")
    peaks = [item["peak_gb"] for item in growth.values()]
    if None not in peaks:
        axes.loglog(counts, peaks, "s-", label="peak memory (GB)")
        axes.loglog(counts, [item["allowed_gb"] for item in growth.values()], ":", color="grey", label="allowed (GB)")
    axes.legend(fontsize=8)
    finish(axes, "slices of 240 × 240", "")


def plot_phases(axes: Axes, answers: Record) -> None:
    """Bars: where the time goes."""
    seconds = answers["all"]["seconds"]
    bars = axes.barh(list(seconds), list(seconds.values()), color="#4477aa")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, 1.25 * max(seconds.values()))
    axes.invert_yaxis()
    finish(axes, "seconds, 155 slices", "")


def finish(axes: Axes, across: str, up: str) -> None:
    """Label and grid."""
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.grid(visible=True, alpha=0.3)


DRAWN = {"threads": plot_threads, "image_size": plot_image_size, "growth": plot_growth, "phases": plot_phases}
"""The panels of a model's picture."""
