"""Charts as inline SVG: curves and histograms, coloured by the page's own style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 40
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_BARS = 32


@dataclass(frozen=True)
class Line:
    """One curve: its path, and which of the page's line styles it takes (0 is the detector's)."""

    path: str
    style: int
    name: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in pixels, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What the template draws.

    Attributes:
        title: Above it.
        x_label: Below it.
        y_label: Beside it.
        lines: Curves; empty in a histogram.
        bars: (x, y, width, height, style) of bars; empty in a chart of curves.
        x_ticks: Along the bottom.
        y_ticks: Along the left.
        diagonal: Path of the line of chance, "" where there is none.
        marks: (x, text) of vertical lines.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    bars: tuple[tuple[float, float, float, float, int], ...] = ()
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    diagonal: str = ""
    marks: tuple[tuple[float, str], ...] = ()

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the plot, in pixels."""
        return (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM)


def curves(
    title: str,
    labels: tuple[str, str],
    named: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]],
    *,
    has_diagonal: bool = False,
) -> Chart:
    """Draw curves over the unit square.

    Args:
        title: Above the chart.
        labels: Of the x and of the y axis.
        named: Name, x and y, the detector first.
        has_diagonal: Whether the line of chance is drawn.
    """
    lines = [Line(_path(x, y), style, name) for style, (name, x, y) in enumerate(named)]
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return Chart(
        title,
        *labels,
        lines=tuple(reversed(lines)),
        x_ticks=tuple(Tick(_x(value), f"{value:g}") for value in ticks),
        y_ticks=tuple(Tick(_y(value), f"{value:g}") for value in ticks),
        diagonal=_path(np.array([0.0, 1.0]), np.array([0.0, 1.0])) if has_diagonal else "",
    )


def froc_chart(named: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]], most: float = 16.0) -> Chart:
    """Draw FROC curves: lesions hit over false findings per volume, the latter on a logarithmic axis from 1/8."""
    least = 0.125

    def place(rate: NDArray[np.float64]) -> NDArray[np.float64]:
        clipped = np.clip(rate, least, most)
        position: NDArray[np.float64] = np.log(clipped / least) / np.log(most / least)
        return position

    lines = []
    for style, (name, rate, sensitivity) in enumerate(named):
        kept = rate <= most
        lines.append(Line(_path(place(rate[kept]), sensitivity[kept]), style, name))
    ticks = (0.125, 0.5, 2.0, 8.0)
    return Chart(
        "FROC",
        "False findings per volume",
        "Share of lesions hit",
        lines=tuple(reversed(lines)),
        x_ticks=tuple(Tick(_x(float(place(np.array(tick)))), f"{tick:g}") for tick in ticks),
        y_ticks=tuple(Tick(_y(value), f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)),
    )


def score_histogram(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], threshold: float | None, what: str
) -> Chart:
    """Draw the shares of normal and abnormal images by score.

    Args:
        scores: (n,), 0 to 1.
        labels: (n,), True where abnormal.
        threshold: Where a line is drawn; None for none.
        what: What was scored.
    """
    edges = np.linspace(0, 1, _BARS + 1)
    shares = []
    for wanted in (False, True):
        chosen = scores[labels == wanted]
        counts = np.histogram(chosen, edges)[0]
        shares.append(counts / max(len(chosen), 1))
    highest = max(float(share.max()) for share in shares) or 1.0
    width = _PLOT_WIDTH / _BARS
    bars = [
        (_x(edges[bar]), _y(share / highest), width, _PLOT_HEIGHT * share / highest, style)
        for style, group in enumerate(shares)
        for bar, share in enumerate(group)
        if share > 0
    ]
    return Chart(
        f"Scores of {what}",
        "Score",
        f"Share of {what}",
        bars=tuple(bars),
        x_ticks=tuple(Tick(_x(value), f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)),
        y_ticks=tuple(Tick(_y(part), f"{part * highest:.0%}") for part in (0.0, 0.5, 1.0)),
        marks=() if threshold is None else ((_x(threshold), "threshold"),),
    )


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = zip(x.tolist(), y.tolist(), strict=True)
    return "M" + "L".join(f"{_x(a):.1f} {_y(b):.1f}" for a, b in points) if len(x) else ""


def _x(value: float) -> float:
    return round(_LEFT + _PLOT_WIDTH * value, 2)


def _y(value: float) -> float:
    return round(_TOP + _PLOT_HEIGHT * (1 - value), 2)
