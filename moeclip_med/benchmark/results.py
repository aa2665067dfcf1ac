"""All figures of one set: every system under every protocol, and the detector against each other system."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.benchmark.case_level import (
    CaseLevel,
    case_values,
    measure_cases,
    measure_detections,
    measure_specificity,
)
from moeclip_med.benchmark.datasets.case import Fault, Problem
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.benchmark.strata import Stratum, read_strata, size_strata
from moeclip_med.benchmark.summary import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    Level,
    combine,
    image_level,
    pixel_level,
    pixel_part,
    scores_part,
    threshold_level,
    volume_level,
)
from moeclip_med.metrics.bootstrap import paired_difference
from moeclip_med.metrics.paired import holm, permutation_test
from moeclip_med.metrics.threshold import THRESHOLD_METRICS
from moeclip_med.metrics.value import Metric

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_med.benchmark.stored_rows import Rows

COMPARED = (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"))
"""The figures that decide whether a detector beats another system."""

CASE_DICE = ("case", "dice")
"""Compared as well, where both systems have a threshold."""

SIGNIFICANT = 0.05
_NOTHING = "no case could be evaluated"


@dataclass(frozen=True)
class Verdict:
    """The detector against one other system, in one figure.

    Attributes:
        difference: Detector minus the other.
        p_value: Two-sided, paired over patients; None where no test was possible.
        corrected: The same after Holm's correction for all tests on this set; None where there is none.
    """

    difference: Metric
    p_value: float | None
    corrected: float | None = None

    @property
    def word(self) -> str:
        """How it stands: "ahead", "behind", "level" (no difference that patients agree on), or "n/a"."""
        if self.difference.value is None:
            return "n/a"
        p_value = self.corrected if self.corrected is not None else self.p_value
        if self.difference.value == 0 or (p_value is not None and p_value >= SIGNIFICANT):
            return "level"
        return "ahead" if self.difference.value > 0 else "behind"


@dataclass(frozen=True)
class StratumFigures:
    """The figures of one system in one stratum.

    Attributes:
        stratum: Which cases.
        system: Whose figures.
        abnormal: How many of the cases are abnormal.
        figures: (part, name) to the figure; the parts are those of a set ("pixel", "image", "case", "lesion", "froc",
            "healthy", "specificity_of_...").
    """

    stratum: Stratum
    system: str
    abnormal: int
    figures: dict[tuple[str, str], Metric]


@dataclass(frozen=True)
class SetResult:
    """All figures of one set.

    Attributes:
        rows: What was stored.
        levels: System, then protocol, then kind of figure: "pixel", "image", "volume", "threshold_stored" and so on.
        cases: System, then kind of threshold: figures of cases and lesions.
        detections: System to the figures of its FROC curve; empty where findings were not counted.
        specificity: System, then what is counted ("volumes", "patients"): sensitivity at a specificity.
        verdicts: System, then (kind, metric): the detector against it, under the headline protocol.
        strata: Figures of strata; empty where none were named and nothing is true.
        problems: What was wrong with cases.
    """

    rows: Rows
    levels: dict[str, dict[Protocol, dict[str, Level]]]
    cases: dict[str, dict[ThresholdKind, CaseLevel]]
    detections: dict[str, dict[str, Metric]]
    specificity: dict[str, dict[str, dict[str, Metric]]]
    verdicts: dict[str, dict[tuple[str, str], Verdict]]
    strata: tuple[StratumFigures, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """The set's name."""
        return str(self.rows.about.name)

    @property
    def protocol(self) -> Protocol:
        """The protocol of the headline figures."""
        return self.rows.protocols[0]

    @property
    def detector(self) -> str:
        """The system under test."""
        return self.rows.systems[0]

    @property
    def others(self) -> tuple[str, ...]:
        """What it is compared with: other models and programs, then baselines."""
        return self.rows.systems[1:]

    @property
    def models(self) -> tuple[str, ...]:
        """The system under test and the other models and programs, without baselines."""
        return tuple(name for name in self.rows.systems if name not in self.rows.about.baselines)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The maps that need no learning."""
        return tuple(name for name in self.rows.systems if name in self.rows.about.baselines)

    @property
    def looks(self) -> tuple[int, int]:
        """How often this set had been looked at before, and with how many models; (-1, -1) if not recorded."""
        return self.rows.progress.looks

    def share_outside_foreground(self) -> float:
        """Return the share of abnormal pixels that lie outside the foreground; 0 where none are known."""
        total = self.rows.abnormal_pixels.sum()
        if not total or Protocol.FOREGROUND not in self.rows.protocols:
            return 0.0
        inside = self.rows.total_counts(self.detector, Protocol.FOREGROUND).abnormal.sum()
        return max(0.0, 1 - float(inside / total))

    def problem_counts(self) -> dict[Fault, int]:
        """Count the cases that something was wrong with, by fault."""
        return dict(Counter(problem.fault for problem in self.problems))

    @property
    def shown_protocols(self) -> tuple[Protocol, ...]:
        """The protocols that differ in any figure: without masks those on the same maps do not."""
        if self.rows.has_mask.any():
            return self.rows.protocols
        return tuple(protocol for protocol in self.rows.protocols if protocol != "foreground")

    def metric(self, system: str, kind: str, name: str, protocol: Protocol | None = None) -> Metric:
        """Return one figure; undefined where the set has no such kind."""
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
            if higher and baseline in self.baselines:
                beaten[baseline] = higher
        return beaten


def summarize(rows: Rows, strata: Path | None = None) -> SetResult:
    """Compute all figures of a finished set.

    Args:
        rows: What was stored.
        strata: A CSV file with properties of cases, or None.

    Raises:
        InputError: If that file cannot be used.
    """
    everything = np.ones(len(rows.keys), dtype=bool)
    levels = {
        system: {protocol: _levels(rows, system, protocol) for protocol in rows.protocols} for system in rows.systems
    }
    first = rows.protocols[0]
    problems = tuple(Problem(Fault[fault], key, detail) for fault, key, detail in rows.progress.problems)
    if not everything.size:
        return SetResult(rows, levels, {}, {}, {}, {}, problems=problems)
    cases = {
        system: {kind: measure_cases(rows, system, kind, first, everything) for kind in rows.thresholds(system)}
        for system in rows.systems
    }
    figures, more = _strata(rows, strata)
    return SetResult(
        rows,
        levels,
        cases,
        {system: measure_detections(rows, system, everything) for system in rows.systems},
        {system: measure_specificity(rows, system, first, everything) for system in rows.systems},
        _verdicts(rows, {system: levels[system][first] for system in rows.systems}),
        figures,
        (*problems, *more),
    )


def _levels(rows: Rows, system: str, protocol: Protocol) -> dict[str, Level]:
    if not len(rows.keys):
        none = Metric.undefined(_NOTHING)
        names = {"pixel": PIXEL_METRICS, "threshold_stored": THRESHOLD_METRICS, "image": IMAGE_METRICS}
        return {kind: Level(dict.fromkeys(metrics, none)) for kind, metrics in names.items()}
    levels = {"pixel": pixel_level(rows, system, protocol), "image": image_level(rows, system, protocol)}
    for kind in (ThresholdKind.STORED, ThresholdKind.CHOSEN):
        levels[f"threshold_{kind}"] = threshold_level(rows, system, protocol, kind)
    if rows.about.is_volumes:
        levels["volume"] = volume_level(rows, system, protocol)
    return levels


def _strata(rows: Rows, path: Path | None) -> tuple[tuple[StratumFigures, ...], list[Problem]]:
    strata, problems = ([], []) if path is None else read_strata(path, rows)
    detector = rows.systems[0]
    for kind in rows.thresholds(detector):
        sizes = rows.outcomes(detector, kind).get("truth_size")
        if sizes is not None:
            strata += size_strata(rows, np.nan_to_num(sizes))
            break
    models = [system for system in rows.systems if system not in rows.about.baselines]
    return tuple(_stratum(rows, stratum, system) for stratum in strata for system in models), problems


def _stratum(rows: Rows, stratum: Stratum, system: str) -> StratumFigures:
    """Compute every figure of one stratum, those of pixels from the histograms of 1024 bins that every case has."""
    protocol, chosen = rows.protocols[0], stratum.chosen
    what, units_are = ("slices" if rows.about.is_volumes else "images"), rows.about.units_are
    pixel, image = {}, {}
    for group in dict.fromkeys(rows.groups[chosen].tolist()):
        own = chosen & (rows.groups == group)
        names, counts = rows.unit_counts(system, protocol, own)
        pixel[group] = pixel_part({}, counts, len(names))
        image[group] = scores_part(rows.image_scores(system, protocol, own), what)
    parts: dict[str, dict[str, Metric]] = {
        "pixel": combine(pixel, units_are).metrics,
        "image": combine(image, units_are).metrics,
        "froc": measure_detections(rows, system, chosen),
    }
    for counted, metrics in measure_specificity(rows, system, protocol, chosen).items():
        parts[f"specificity_of_{counted}"] = metrics
    for kind in rows.thresholds(system):
        level = measure_cases(rows, system, kind, protocol, chosen)
        parts["case"] = {name: spread.median for name, spread in level.spreads.items()}
        parts |= {"lesion": level.lesions, "healthy": level.healthy}
        break
    figures = {(part, name): metric for part, metrics in parts.items() for name, metric in metrics.items()}
    return StratumFigures(stratum, system, int(np.count_nonzero(rows.labels[chosen])), figures)


def _verdicts(rows: Rows, levels: dict[str, dict[str, Level]]) -> dict[str, dict[tuple[str, str], Verdict]]:
    """Compare the detector with every other system, and correct for the number of tests."""
    detector = rows.systems[0]
    verdicts: dict[str, dict[tuple[str, str], Verdict]] = {}
    for other in rows.systems[1:]:
        verdicts[other] = {
            (kind, name): _verdict(rows, levels[detector][kind], levels[other][kind], name) for kind, name in COMPARED
        }
        dice = _dice_verdict(rows, detector, other)
        if dice is not None:
            verdicts[other][CASE_DICE] = dice
    places = [(other, figure) for other, figures in verdicts.items() for figure in figures]
    corrected = holm([verdicts[other][figure].p_value for other, figure in places])
    for (other, figure), p_value in zip(places, corrected, strict=True):
        verdicts[other][figure] = replace(verdicts[other][figure], corrected=p_value)
    return verdicts


def _verdict(rows: Rows, detector: Level, other: Level, name: str) -> Verdict:
    missing = np.full(1, np.nan)
    samples = (other.samples.get(name, missing), detector.samples.get(name, missing))
    units = len(np.unique(rows.units))
    difference, p_value = paired_difference(
        other.metrics[name], detector.metrics[name], samples, units, rows.about.units_are
    )
    return Verdict(difference, p_value)


def _dice_verdict(rows: Rows, detector: str, other: str) -> Verdict | None:
    """Compare the Dice of cases at thresholds of the same kind by permutation; None where there is no such kind."""
    kinds = [kind for kind in rows.thresholds(detector) if kind in rows.thresholds(other)]
    if not kinds:
        return None
    first = rows.protocols[0]
    both = [case_values(rows, system, kinds[-1], first).get("dice") for system in (other, detector)]
    if both[0] is None or both[1] is None:
        return None
    return dice_verdict(both[0], both[1], rows.units)


def dice_verdict(first: NDArray[np.float64], second: NDArray[np.float64], units: NDArray[np.str_]) -> Verdict:
    """Compare the Dice (cases,) of two systems in the same cases: second minus first, paired over patients."""
    kept = ~(np.isnan(first) | np.isnan(second))
    if not kept.any():
        return Verdict(Metric.undefined("defined in no case"), None)
    return Verdict(Metric(float((second - first)[kept].mean())), permutation_test(first, second, units))


def _loses(verdict: Verdict) -> bool:
    return verdict.difference.value is not None and verdict.difference.value < 0
