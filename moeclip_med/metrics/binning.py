"""Raw scores to histogram bins: a fixed, order-preserving map of the whole real line.

An anomaly map is unbounded, and its range is unknown before the last image is seen. So a score x is first
squashed, u = t / (1 + |t|) with t = (x - centre) / spread, and [-1, 1] is then cut into bins of equal width. Near the
centre a bin is 2 / bins spreads wide, and (1 + |t|)² times that further out, so the finest bins lie where most scores
are, and no score falls outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINE_BINS = 1 << 17
"""Bins of the histograms that figures are computed from."""

_BLOCK = 1 << 14
"""Scores binned at a time: the working memory then stays in the processor's cache."""


@dataclass(frozen=True)
class Binning:
    """An order-preserving map from scores to bins.

    Two scores that differ may share a bin, but never change places. What that costs a metric is not guessed from the
    widths: `curves` computes it from the histogram itself.

    Attributes:
        centre: The score in the middle of the bins, in the units of the raw map.
        spread: The scale of the squashing, in the same units.
        bins: Number of bins.
    """

    centre: float
    spread: float
    bins: int = FINE_BINS

    def __post_init__(self) -> None:
        """Refuse a scale that maps everything to one bin."""
        if not (math.isfinite(self.centre) and math.isfinite(self.spread) and self.spread > 0):
            message = f"A binning needs a finite centre and a spread above 0, not {self.centre} and {self.spread}."
            raise ValueError(message)

    def index(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return the bin of each score.

        Args:
            scores: Any shape, finite.

        Returns:
            Bins, 0 to `bins` - 1, flat. Never decreasing in the score: every step is a rounded monotone function,
            and rounding is monotone.
        """
        flat = np.ascontiguousarray(scores, dtype=np.float32).reshape(-1)
        result = np.empty(flat.size, dtype=np.int64)
        scratch = np.empty((2, min(_BLOCK, flat.size)), dtype=np.float32)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            self._index_block(block, scratch[:, : block.size], result[start : start + _BLOCK])
        return result

    def _index_block(self, scores: NDArray[np.float32], scratch: NDArray[np.float32], out: NDArray[np.int64]) -> None:
        scaled, squashed = scratch
        np.subtract(scores, np.float32(self.centre), out=scaled)
        scaled *= np.float32(1.0 / self.spread)
        np.abs(scaled, out=squashed)
        # 1 - 1/(1 + |t|) instead of |t|/(1 + |t|): with the second, two roundings could swap neighbours.
        squashed += np.float32(1.0)
        np.reciprocal(squashed, out=squashed)
        np.subtract(np.float32(1.0), squashed, out=squashed)
        np.copysign(squashed, scaled, out=squashed)
        squashed += np.float32(1.0)
        squashed *= np.float32((self.bins - 0.5) / 2)
        np.copyto(out, squashed, casting="unsafe")

    def lower_edges(self, bins: int | None = None) -> NDArray[np.float64]:
        """Return the smallest score of each bin, for the axis of a chart.

        Args:
            bins: Number of bins to cut the same range into; the binning's own if None.

        Returns:
            (bins,) scores; the first is minus infinity.
        """
        count = bins or self.bins
        squashed = np.arange(count) * (self.bins / count) / ((self.bins - 0.5) / 2) - 1.0
        magnitude = np.abs(squashed)
        with np.errstate(divide="ignore"):
            edges: NDArray[np.float64] = np.sign(squashed) * magnitude / (1.0 - magnitude)
        edges[0] = -np.inf
        edges *= self.spread
        edges += self.centre
        return edges
