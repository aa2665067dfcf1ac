"""A figure, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap confidence interval.

    Attributes:
        low: 2.5th percentile.
        high: 97.5th percentile.
        units: How many independent units (patients, or images where no patients are known) were resampled.
    """

    low: float
    high: float
    units: int


@dataclass(frozen=True)
class Metric:
    """One figure of a table.

    Attributes:
        value: A fraction of 1 (or a count, where the metric is one); None where it is undefined.
        reason: Why it is undefined; "" where it is not.
        error_bound: The exact value differs by at most this from `value`, because of binning; 0 for exact ones.
        interval: Confidence interval; None where there is none.
        interval_reason: Why there is no interval; "" where there is one or none was asked for.
    """

    value: float | None
    reason: str = ""
    error_bound: float = 0.0
    interval: Interval | None = None
    interval_reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a figure without a value that has no reason, and the reverse."""
        if (self.value is None) != bool(self.reason):
            message = "A metric has either a value or a reason why it has none."
            raise ValueError(message)

    @classmethod
    def undefined(cls, reason: str) -> Metric:
        """A metric that this data cannot give."""
        return cls(None, reason)

    def to_json(self) -> dict[str, Any]:
        """All that is known about the figure, JSON-ready."""
        content: dict[str, Any] = {"value": self.value}
        if self.reason:
            content["reason"] = self.reason
        if self.error_bound:
            content["error_bound"] = self.error_bound
        if self.interval is not None:
            content["interval_95"] = [self.interval.low, self.interval.high]
            content["interval_units"] = self.interval.units
        if self.interval_reason:
            content["interval_reason"] = self.interval_reason
        return content
