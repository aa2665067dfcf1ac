"""All figures of one set: every system under every protocol, and the detector against each baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.benchmark.summary import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    Level,
    froc_level,
    image_level,
    pixel_level,
    threshold_level,
    volume_level,
)
from moeclip_med.metrics.bootstrap import paired_difference
from moeclip_med.metrics.threshold import THRESHOLD_METRICS
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.rows import Rows

COMPARED = (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"))
"""The figures that decide whether a detector beats a baseline."""

SIGNIFICANT = 0.05
_NOTHING = "no case could be judged"


@dataclass(frozen=True)
class Verdict:
    """The detector against one baseline, in one figure.

    Attributes:
        difference: Detector minus baseline.
        p_value: Two-sided, paired; None where no test was possible.
    """

    difference: Metric
    p_value: float | None

    @property
    def word(self) -> str:
        """How it stands: "ahead", "behind", "level" (no difference that patients agree on), or "n/a"."""
        if self.difference.value is None:
            return "n/a"
        if self.difference.value == 0 or (self.p_value is not None and self.p_value >= SIGNIFICANT):
            return "level"
        return "ahead" if self.difference.value > 0 else "behind"


@dataclass(frozen=True)
class SetResult:
    """All figures of one set.

    Attributes:
        rows: What was stored.
        levels: System, then protocol, then kind of figure ("pixel", "threshold", "image", "volume", "froc").
        verdicts: Baseline, then (kind, metric): the detector against it, under the headline protocol.
    """

    rows: Rows
    levels: dict[str, dict[Protocol, dict[str, Level]]]
    verdicts: dict[str, dict[tuple[str, str], Verdict]]

    @property
    def name(self) -> str:
        """The set's name."""
        return str(self.rows.about["name"])

    @property
    def protocol(self) -> Protocol:
        """The protocol of the headline figures."""
        return self.rows.protocols[0]

    @property
    def detector(self) -> str:
        """The system under test."""
        return self.rows.systems[0]

    @property
    def baselines(self) -> tuple[str, ...]:
        """What it is compared with."""
        return self.rows.systems[1:]

    @property
    def shown_protocols(self) -> tuple[Protocol, ...]:
        """The protocols that differ in any figure: without masks those on the same maps do not."""
        if self.rows.has_mask.any():
            return self.rows.protocols
        return tuple(protocol for protocol in self.rows.protocols if protocol != "foreground")

    def metric(self, system: str, kind: str, name: str, protocol: Protocol | None = None) -> Metric:
        """Give one figure; undefined where the set has no such kind."""
        level = self.levels[system][protocol or self.protocol].get(kind)
        if level is None or name not in level.metrics:
            return Metric.undefined("not measured for this set")
        return level.metrics[name]

    def beaten_by(self) -> dict[str, list[str]]:
        """Name the baselines that have a higher value than the detector in at least one figure.

        Returns:
            Baseline to the figures ("pixel AP") in which it is higher.
        """
        beaten = {}
        for baseline, verdicts in self.verdicts.items():
            higher = [f"{kind} {name.upper()}" for (kind, name), verdict in verdicts.items() if _loses(verdict)]
            if higher:
                beaten[baseline] = higher
        return beaten


def summarise(rows: Rows) -> SetResult:
    """Compute all figures of a finished set."""
    levels = {
        system: {protocol: _levels(rows, system, protocol) for protocol in rows.protocols} for system in rows.systems
    }
    first = rows.protocols[0]
    detector = levels[rows.systems[0]][first]
    verdicts = {
        baseline: {
            (kind, name): _verdict(rows, detector[kind], levels[baseline][first][kind], name) for kind, name in COMPARED
        }
        for baseline in rows.systems[1:]
    }
    return SetResult(rows, levels, verdicts)


def _levels(rows: Rows, system: str, protocol: Protocol) -> dict[str, Level]:
    settings = rows.about["systems"][system]
    if not len(rows.keys):
        none = Metric.undefined(_NOTHING)
        names = {"pixel": PIXEL_METRICS, "threshold": THRESHOLD_METRICS, "image": IMAGE_METRICS}
        return {kind: Level(dict.fromkeys(metrics, none)) for kind, metrics in names.items()}
    has_threshold = settings["threshold"] is not None
    levels = {
        "pixel": pixel_level(rows, system, protocol),
        "threshold": threshold_level(rows, system, protocol, has_threshold=has_threshold),
        "image": image_level(rows, system, protocol),
    }
    if rows.about["is_volumes"]:
        levels["volume"] = volume_level(rows, system, protocol)
        thresholds = np.asarray(settings["froc_thresholds"])
        levels["froc"] = froc_level(rows, system, thresholds, has_threshold=has_threshold)
    return levels


def _verdict(rows: Rows, detector: Level, baseline: Level, name: str) -> Verdict:
    missing = np.full(1, np.nan)
    samples = (baseline.samples.get(name, missing), detector.samples.get(name, missing))
    units = len(np.unique(rows.units))
    difference, p_value = paired_difference(
        baseline.metrics[name], detector.metrics[name], samples, units, rows.about["units_are"]
    )
    return Verdict(difference, p_value)


def _loses(verdict: Verdict) -> bool:
    return verdict.difference.value is not None and verdict.difference.value < 0
