"""The highest score of every slice, as a small chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from moeclip_transforms import SliceView

    from moeclip_med.scoring.anomaly import AnomalyVolume

WIDTH, HEIGHT = 1000, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 22


@dataclass(frozen=True)
class Span:
    """The slices of one finding: from x, of a width, with its rank."""

    rank: int
    x: float
    width: float


@dataclass(frozen=True)
class Profile:
    """A chart of 1000 by 150 units.

    Attributes:
        line: SVG path of the highest score per slice.
        area: The same, closed down to the axis.
        threshold_y: Height of the threshold.
        levels: (y, text) of the score axis.
        ticks: (x, text) of the slice axis.
        spans: Where the findings lie.
        left: Where the plot begins.
        right: Where the plot ends.
        base: Where score 0 lies.
    """

    line: str
    area: str
    threshold_y: float
    levels: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    spans: tuple[Span, ...]
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    base: float = HEIGHT - _BOTTOM


def score_profile(anomaly: AnomalyVolume, view: SliceView) -> Profile | None:
    """The highest score of every slice of a view; None for a single slice."""
    if view.n_slices == 1:
        return None
    other_axes = tuple(axis for axis in range(3) if axis != view.axes[0])
    peaks = anomaly.scores.max(axis=other_axes)
    peaks = peaks[::-1] if view.flips[0] else peaks
    points = [(_x(index, view.n_slices), _y(float(peak))) for index, peak in enumerate(peaks)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Profile(
        line=line,
        area=f"{line}L{points[-1][0]:.1f} {_y(0):.1f}L{points[0][0]:.1f} {_y(0):.1f}Z",
        threshold_y=_y(anomaly.threshold),
        levels=tuple((_y(level), f"{level:g}") for level in (0, 0.5, 1)),
        ticks=tuple((_x(index, view.n_slices), str(index + 1)) for index in _tick_indices(view.n_slices)),
        spans=tuple(_spans(anomaly, view)),
    )


def _spans(anomaly: AnomalyVolume, view: SliceView) -> list[Span]:
    axis, spans = view.axes[0], []
    for finding in anomaly.findings:
        ends = sorted(
            _x(view.volume_index(index), view.n_slices)
            for index in (finding.box_start[axis], finding.box_stop[axis] - 1)
        )
        spans.append(Span(finding.rank, ends[0] - 3, ends[1] - ends[0] + 6))
    return spans


def _tick_indices(count: int) -> list[int]:
    """About eight slice numbers, first and last among them."""
    return sorted({round(float(index)) for index in np.linspace(0, count - 1, min(8, count))})


def _x(index: int, count: int) -> float:
    return _LEFT + 8 + (WIDTH - _LEFT - _RIGHT - 16) * index / (count - 1)


def _y(score: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * score
