"""Charts of the report, drawn by matplotlib as SVG whose colours are the page's own, light or dark."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STYLES = 6
_WIDTH, _HEIGHT = 3.6, 3.0
_INK, _SOFT, _GRID = "#010203", "#010204", "#010205"
_SERIES = tuple(f"#0202{number:02x}" for number in range(STYLES))
"""Stand for the page's colours, and are replaced by them in the finished SVG."""

_MOST_RATE = 16.0
_LEAST_RATE = 0.125


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        style: Which of the page's line styles it takes; 0 is the detector's.
        x: (n,).
        y: (n,).
        low: (n,) lower end of its band, or None.
        high: (n,) upper end.
    """

    style: int
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


def curves(labels: tuple[str, str], lines: Sequence[Curve], *, has_diagonal: bool = False) -> str:
    """Draw curves over the unit square.

    Args:
        labels: Of the x and of the y axis.
        lines: The detector's first.
        has_diagonal: Whether the line of chance is drawn.
    """
    figure, axes = _axes(*labels)
    if has_diagonal:
        axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=(0, (2, 3)), linewidth=1)
    _draw(axes, lines)
    _unit(axes, "xy")
    return _svg(figure)


def froc_chart(lines: Sequence[Curve]) -> str:
    """Draw FROC curves: lesions hit over false positives per case, the latter on a logarithmic axis from 1/8."""
    figure, axes = _axes("False positives per case", "Share of lesions hit")
    _draw(axes, lines, is_stepped=True)
    axes.set_xscale("log", base=2)
    axes.set_xlim(_LEAST_RATE, _MOST_RATE)
    axes.set_xticks([0.125, 0.5, 2.0, 8.0], ["0.125", "0.5", "2", "8"])
    _unit(axes, "y")
    return _svg(figure)


def froc_rates() -> Floats:
    """Return the rates at which a FROC curve is drawn."""
    return np.geomspace(_LEAST_RATE, _MOST_RATE, 57)


def score_histogram(scores: Floats, labels: NDArray[np.bool_], threshold: float | None, what: str) -> str:
    """Draw the shares of normal and abnormal cases by score.

    Args:
        scores: (n,), 0 to 1.
        labels: (n,), True where abnormal.
        threshold: Where a line is drawn; None for none.
        what: What was scored.
    """
    figure, axes = _axes("Score", f"Share of {what}")
    edges = np.linspace(0, 1, 33).tolist()
    for style, wanted, name in ((1, False, "normal"), (0, True, "abnormal")):
        chosen = scores[labels == wanted]
        if len(chosen):
            weights = np.full(len(chosen), 1 / len(chosen))
            axes.hist(chosen, edges, weights=weights, color=_SERIES[style], alpha=0.6, label=name)
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            "threshold",
            (threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8,
            color=_SOFT,
        )
    axes.legend(frameon=False, fontsize=8, labelcolor=_SOFT, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.12))
    _unit(axes, "x")
    return _svg(figure)


def strip_plot(label: str, values: Sequence[tuple[str, int, Floats]]) -> str:
    """Draw one dot per case and the median of each system.

    Args:
        label: Of the axis.
        values: Name, style and (cases,) values from 0 to 1 of each system; NaN is left away.
    """
    figure, axes = _axes("", label)
    rng = np.random.default_rng(0)
    for place, (_, style, column) in enumerate(values):
        kept = column[~np.isnan(column)]
        spread = rng.uniform(-0.28, 0.28, len(kept))
        size = 14 if len(kept) <= 60 else 5  # noqa: PLR2004 - few dots may be large
        axes.scatter(place + spread, kept, s=size, color=_SERIES[style % STYLES], alpha=0.55, linewidths=0)
        if len(kept):
            axes.hlines(float(np.median(kept)), place - 0.36, place + 0.36, color=_INK, linewidth=2)
    axes.set_xticks(range(len(values)), [_short(name) for name, _, _ in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.grid(visible=False, axis="x")
    _unit(axes, "y")
    return _svg(figure)


def size_chart(unit: str, lines: Sequence[tuple[int, Floats, NDArray[np.bool_]]]) -> str:
    """Draw the share of lesions hit over their size: a running mean over neighbours in size, and each lesion.

    Args:
        unit: Of the sizes.
        lines: Style, (lesions,) sizes and (lesions,) hits of each system.
    """
    figure, axes = _axes(f"Size of the lesion, {unit}", "Share of lesions hit")
    for style, sizes, hit in lines:
        order = np.argsort(sizes, kind="stable")
        ordered, found = sizes[order], hit[order].astype(float)
        width = min(len(ordered), max(5, len(ordered) // 6))
        window = np.ones(width) / width
        middle = np.exp(np.convolve(np.log(ordered), window, "valid"))
        axes.plot(middle, np.convolve(found, window, "valid"), color=_SERIES[style % STYLES], linewidth=_line(style))
        marks = np.where(hit[order], 1.02, -0.02)
        axes.plot(ordered, marks, "|", color=_SERIES[style % STYLES], markersize=5, alpha=0.5)
    axes.set_xscale("log")
    _unit(axes, "y", margin=0.06)
    return _svg(figure)


def _draw(axes: Axes, lines: Sequence[Curve], *, is_stepped: bool = False) -> None:
    for line in reversed(lines):
        colour = _SERIES[line.style % STYLES]
        if line.low is not None and line.high is not None:
            step: Literal["post"] | None = "post" if is_stepped else None
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0, step=step)
        style = "steps-post" if is_stepped else "default"
        axes.plot(line.x, line.y, color=colour, linewidth=_line(line.style), drawstyle=style)


def _line(style: int) -> float:
    return 2.4 if style == 0 else 1.3


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label, color=_SOFT, fontsize=9)
    axes.set_ylabel(y_label, color=_SOFT, fontsize=9)
    axes.tick_params(colors=_SOFT, labelsize=8.5, length=0)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def _unit(axes: Axes, which: str, margin: float = 0.02) -> None:
    for name in which:
        getattr(axes, f"set_{name}lim")(-margin, 1 + margin)
        getattr(axes, f"set_{name}ticks")([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def _svg(figure: Figure) -> str:
    """Return a figure as SVG to stand in a page: no header, no metadata, the page's colours and letters."""
    import matplotlib as mpl

    stream = io.StringIO()
    salt = f"{id(figure):x}"
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|defs)>\s*(?:<style.*?</style>)?.*?</\1>", _keep_marks, text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text, count=3)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'class="chart" role="img"', text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, name in {_INK: "ink", _SOFT: "soft", _GRID: "line"}.items():
        text = text.replace(colour, f"var(--{name})")
    for number, colour in enumerate(_SERIES):
        text = text.replace(colour, f"var(--s{number})")
    return text


def _keep_marks(part: re.Match[str]) -> str:
    """Drop metadata and the style of the whole page, but not the shapes that the chart draws again and again."""
    return "" if "<style" in part[0] or part[1] == "metadata" else part[0]


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"  # noqa: PLR2004 - more overlaps its neighbour
