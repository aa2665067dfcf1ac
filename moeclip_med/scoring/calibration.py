"""A threshold from healthy studies of one's own scanner, with a guarantee that needs no assumption about scores.

Split conformal prediction (Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005, chapter 4) for the
rate of healthy studies that are flagged, conformal risk control (Angelopoulos et al., ICLR 2024) for false positives
per study. Both hold for a new healthy study that is exchangeable with those used: same scanner, protocol, kind of
patient.
They hold on average over calibrations; how far one calibration can be off is told beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.anomaly import LOW_THRESHOLD_SHARE
from moeclip_med.scoring.findings import find_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms import Volume
    from numpy.typing import NDArray

    from moeclip_med.scoring.anomaly import AnomalyVolume
    from moeclip_med.weights import ModelMetadata, ScoreScale

COUNTED_AT_MOST = 10
"""False positives of one study beyond this number are not counted: risk control needs a bounded loss."""

CALIBRATED_SCORE = 0.5
"""The score at which a calibrated model's threshold lies."""

_FIRST_STEP = 16
_CONFIDENCE = 0.9


@dataclass(frozen=True)
class Calibration:
    """A threshold and what it promises.

    Attributes:
        raw_threshold: A finding reaches a raw score above it.
        promise: What holds for a new healthy study, one sentence.
        limit: How far this one calibration can be off, and what it needs to hold, one sentence.
        studies: How many healthy studies it was made from.
    """

    raw_threshold: float
    promise: str
    limit: str
    studies: int


def studies_needed(rate: float) -> int:
    """The least number of healthy studies with which a rate of flagged ones can be promised."""
    return math.ceil(1 / rate - 1e-9) - 1


def studies_needed_for_findings(allowed: float) -> int:
    """The least number of healthy studies with which a mean number of false positives can be promised."""
    return math.ceil(COUNTED_AT_MOST / allowed - 1e-9) - 1


def check_enough(count: int, rate: float | None, allowed: float | None) -> None:
    """Refuse a promise that so few studies cannot give, before any of them is scored.

    Args:
        count: How many healthy studies there are.
        rate: The share of flagged studies to promise, or None.
        allowed: Else the mean number of false positives per study.

    Raises:
        InputError: If the promise makes no sense or needs more studies.
    """
    if rate is not None:
        if not 0 < rate < 1:
            raise InputError(
                f"a rate of {rate} of flagged studies makes no sense; name one between 0 and 1, such as 0.05"
            )
        _check_count(count, studies_needed(rate), f"a rate of {rate:.3g}")
    if allowed is not None:
        if not 0 < allowed < COUNTED_AT_MOST:
            raise InputError(
                f"{allowed} false positives per study make no sense; name a number above 0 and below {COUNTED_AT_MOST}"
            )
        _check_count(count, studies_needed_for_findings(allowed), f"{allowed:g} false positives per study")


def calibrate_rate(flag_levels: Sequence[float], rate: float) -> Calibration:
    """Choose the threshold at which at most a given share of healthy studies is flagged.

    Args:
        flag_levels: Of each healthy study the highest raw score at which it has a finding (`flag_level`).
        rate: The share, above 0 and below 1.

    Raises:
        InputError: If the rate makes no sense, or there are too few studies for it.
    """
    count = len(flag_levels)
    check_enough(count, rate, None)
    place = math.ceil((count + 1) * (1 - rate) - 1e-9)
    threshold = float(np.sort(np.asarray(flag_levels, dtype=np.float64))[place - 1])
    if not math.isfinite(threshold):
        raise InputError("no threshold gives a finding in these studies; look at them with score: are they blank?")
    return Calibration(
        threshold,
        f"A new healthy study is flagged with a probability of at most {rate:.3g}.",
        (
            f"It holds on average over calibrations, for studies like these {count}; in nine of ten calibrations "
            f"of this size the true rate is at most {_rate_bound(count, place):.2g}."
        ),
        count,
    )


def calibrate_findings(counts: NDArray[np.int64], levels: NDArray[np.float64], allowed: float) -> Calibration:
    """Choose the threshold at which healthy studies have at most a given number of findings on average.

    Args:
        counts: (studies, levels) findings of each healthy study at each level (`count_findings`).
        levels: (levels,) raw scores, ascending.
        allowed: Mean number of false positives per study, above 0.

    Raises:
        InputError: If the number makes no sense, there are too few studies for it, or no level is high enough.
    """
    studies = len(counts)
    check_enough(studies, None, allowed)
    # Findings merge as the threshold falls, so counts do not always grow; the guarantee needs a loss that does.
    capped = np.minimum(counts, COUNTED_AT_MOST)
    growing = np.maximum.accumulate(capped[:, ::-1], axis=1)[:, ::-1]
    risk = (growing.sum(axis=0) + COUNTED_AT_MOST) / (studies + 1)
    kept = np.flatnonzero(risk <= allowed)
    if not len(kept):
        raise InputError(
            "no threshold keeps the number of false positives; look at these studies with score: are they healthy?"
        )
    return Calibration(
        float(levels[kept[0]]),
        f"A new healthy study has at most {allowed:g} findings on average.",
        (
            f"It holds on average over calibrations, for studies like these {studies}; more than {COUNTED_AT_MOST} "
            f"findings in one study count as {COUNTED_AT_MOST}."
        ),
        studies,
    )


def flag_level(anomaly: AnomalyVolume, scale: ScoreScale) -> float:
    """Return the highest raw score at which a study still has a finding that is large enough to be listed.

    Args:
        anomaly: Scored with its raw map kept.
        scale: Of the model; its spread says how far below the threshold a finding reaches.

    Returns:
        The level, minus infinity where no threshold gives a finding.
    """
    raw, reach = _usable_raw(anomaly), _reach(scale)
    # Findings change only at the voxels' own scores, and a lower threshold never makes the largest one smaller.
    levels = np.unique(raw)
    levels = levels[np.isfinite(levels)]
    if not len(levels) or not _has_finding(raw, anomaly.volume, reach, float(levels[0])):
        return -math.inf
    has, has_not = 0, len(levels)
    step = _FIRST_STEP
    # Near the top findings are few and quick to list, so the search comes from there.
    while len(levels) - step > has:
        if _has_finding(raw, anomaly.volume, reach, float(levels[-step])):
            has = len(levels) - step
        else:
            has_not, step = len(levels) - step, 4 * step
    while has_not - has > 1:
        middle = (has + has_not) // 2
        if _has_finding(raw, anomaly.volume, reach, float(levels[middle])):
            has = middle
        else:
            has_not = middle
    return float(levels[has])


def risk_levels(scale: ScoreScale) -> NDArray[np.float64]:
    """Raw scores at which findings are counted: fixed by the model alone, as risk control demands."""
    return scale.centre + scale.spread * np.linspace(-2.0, 60.0, 249)


def count_findings(anomaly: AnomalyVolume, levels: NDArray[np.float64], scale: ScoreScale) -> NDArray[np.int64]:
    """Count a study's findings at each of some raw scores.

    Args:
        anomaly: Scored with its raw map kept.
        scale: As for `flag_level`.
        levels: (levels,) ascending.

    Returns:
        (levels,); below a level with `COUNTED_AT_MOST` findings nothing more is counted.
    """
    raw, reach = _usable_raw(anomaly), _reach(scale)
    counts: NDArray[np.int64] = np.full(len(levels), COUNTED_AT_MOST, dtype=np.int64)
    for place in range(len(levels) - 1, -1, -1):
        counts[place] = len(_findings(raw, anomaly.volume, reach, float(levels[place])))
        if counts[place] >= COUNTED_AT_MOST:
            break
    return counts


def calibrated_metadata(metadata: ModelMetadata, calibration: Calibration, made_from: str) -> ModelMetadata:
    """Set a new meaning for a model's scores: findings reach 0.5.

    The scale keeps its spread and moves its centre to the threshold, so that scores keep their order.

    Args:
        metadata: Of the model that was calibrated.
        calibration: What was found.
        made_from: The images, as a phrase without names: "40 MR studies".
    """
    from moeclip_med.weights import ScoreScale, Threshold

    source = f"calibrated on {made_from}. {calibration.promise} {calibration.limit}"
    spread = metadata.score_scale.spread
    # Scores are float32: the margin keeps the score of the threshold itself below one half after rounding.
    centre = float(np.nextafter(np.float32(calibration.raw_threshold + 1e-6 * spread), np.float32(np.inf)))
    scale = ScoreScale(centre, spread, source=f"calibrated on {made_from}")
    return metadata.calibrated(scale, Threshold(CALIBRATED_SCORE, source, is_calibrated=True))


def _usable_raw(anomaly: AnomalyVolume) -> NDArray[np.float32]:
    """The raw map without padding and without what was not scored."""
    if anomaly.raw is None:
        message = "Calibration needs a volume that was scored with its raw map kept."
        raise ValueError(message)
    raw = anomaly.raw.copy()
    for outside in (anomaly.volume.padding_mask, None if anomaly.scored is None else ~anomaly.scored):
        if outside is not None:
            raw[outside] = -np.inf
    return raw


def _reach(scale: ScoreScale) -> float:
    """How far below a calibrated threshold, in raw scores, a finding reaches."""
    return scale.raw(CALIBRATED_SCORE) - scale.raw(LOW_THRESHOLD_SHARE * CALIBRATED_SCORE)


def _findings(raw: NDArray[np.float32], volume: Volume, reach: float, level: float) -> tuple[object, ...]:
    # Three steps stand for scores: 1 where the level is reached, 0.7 at the low threshold, 0 elsewhere.
    steps = np.where(raw >= level, np.float32(1), (raw >= level - reach) * np.float32(0.7))
    return find_findings(steps, volume, 1.0).findings


def _has_finding(raw: NDArray[np.float32], volume: Volume, reach: float, level: float) -> bool:
    return math.isfinite(level) and bool(_findings(raw, volume, reach, level))


def _check_count(count: int, needed: int, what: str) -> None:
    if count < needed:
        raise InputError(f"{count} healthy studies are too few to promise {what}: at least {needed} are needed")


def _rate_bound(count: int, place: int) -> float:
    """The rate that nine of ten calibrations keep: the true rate follows Beta(count + 1 - place, place)."""
    from scipy.stats import beta

    return float(beta.ppf(_CONFIDENCE, count + 1 - place, place))
