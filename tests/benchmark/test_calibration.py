"""Calibration keeps its promise on fresh data, and refuses what it cannot promise."""

from types import SimpleNamespace

import numpy as np
import pytest
from moeclip_transforms import Affine
from moeclip_transforms.errors import InputError
from scipy import ndimage

from moeclip_med.scoring.calibration import (
    calibrate_findings,
    calibrate_rate,
    calibrated_metadata,
    count_findings,
    flag_level,
    studies_needed,
    studies_needed_for_findings,
)
from moeclip_med.weights.metadata import ScoreScale

SCALE = ScoreScale(centre=6.0, spread=1.5)


def study(rng, side=24):
    """A smooth random raw map whose height varies from study to study, as scores of healthy patients do."""
    raw = ndimage.gaussian_filter(rng.normal(size=(side, side, 6)), 2.0).astype(np.float32)
    raw *= np.float32(rng.gamma(4.0) * 4)
    volume = SimpleNamespace(
        has_orientation=True,
        has_spacing=True,
        is_regular=True,
        frame_geometry=(),
        affine=Affine(np.diag([3.0, 3.0, 3.0, 1.0])),
        shape=raw.shape,
        slice_axis=2,
        padding_mask=None,
        series=SimpleNamespace(is_cine=False),
    )
    return SimpleNamespace(raw=raw, volume=volume, scored=None)


@pytest.fixture(scope="module")
def pool():
    """Flag levels of many simulated healthy studies."""
    rng = np.random.default_rng(1)
    return np.array([flag_level(study(rng), SCALE) for _ in range(500)])


def test_flag_level_is_where_the_last_listed_finding_vanishes():
    anomaly = study(np.random.default_rng(0))
    level = flag_level(anomaly, SCALE)
    above = np.nextafter(np.float32(level), np.float32(9))
    at_level, higher = count_findings(anomaly, np.array([level, above]), SCALE)
    assert (at_level > 0, higher) == (True, 0)
    # A single high voxel is smaller than the smallest finding, so it changes nothing.
    anomaly.raw[0, 0, 0] = 1e6
    assert flag_level(anomaly, SCALE) == level


@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_the_promised_rate_holds_on_fresh_studies(pool, rate):
    """Average over many calibrations of the rate of fresh studies above the threshold: promised, and not far below."""
    rng = np.random.default_rng(4)
    rates = []
    for _ in range(300):
        order = rng.permutation(len(pool))
        healthy, fresh = pool[order[:29]], pool[order[29:]]
        rates.append(np.mean(fresh > calibrate_rate(healthy.tolist(), rate).raw_threshold))
    assert np.mean(rates) <= rate + 0.01
    assert np.mean(rates) > 0.5 * rate


def test_nine_of_ten_calibrations_keep_the_stated_bound():
    rng = np.random.default_rng(2)
    kept = 0
    for _ in range(400):
        calibration = calibrate_rate(rng.normal(size=39).tolist(), 0.1)
        bound = float(calibration.limit.rstrip(".").rsplit(" ", 1)[1])
        fresh = rng.normal(size=4000)
        kept += np.mean(fresh > calibration.raw_threshold) <= bound + 0.003
    assert kept / 400 >= 0.87


def test_the_promised_number_of_findings_holds_on_fresh_studies():
    rng = np.random.default_rng(3)
    levels = np.linspace(0.0, 12.0, 25)
    pool = np.array([count_findings(study(rng), levels, SCALE) for _ in range(300)])
    means = []
    for _ in range(200):
        order = rng.permutation(len(pool))
        calibration = calibrate_findings(pool[order[:60]], levels, 0.5)
        place = int(np.searchsorted(levels, calibration.raw_threshold))
        means.append(pool[order[60:], place].mean())
    assert np.mean(means) <= 0.5 + 0.01
    assert np.mean(means) > 0.1


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.5, 1)])
def test_how_many_studies_a_rate_needs(rate, needed):
    assert studies_needed(rate) == needed
    with pytest.raises(InputError, match=f"at least {needed} are needed"):
        calibrate_rate([1.0] * (needed - 1), rate)
    assert calibrate_rate(list(np.arange(needed, dtype=float)), rate).raw_threshold <= needed - 1


def test_how_many_studies_a_number_of_findings_needs():
    assert studies_needed_for_findings(0.5) == 19
    with pytest.raises(InputError, match=r"18 healthy studies .*too few .*0\.5 false positives"):
        calibrate_findings(np.zeros((18, 3), dtype=np.int64), np.arange(3.0), 0.5)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_rates_that_make_no_sense_are_refused(rate):
    with pytest.raises(InputError, match="makes no sense"):
        calibrate_rate([1.0] * 50, rate)


def test_blank_studies_are_refused():
    with pytest.raises(InputError, match="are they blank"):
        calibrate_rate([-np.inf] * 50, 0.1)


def test_calibrated_metadata_puts_the_threshold_at_one_half_and_keeps_order():
    from moeclip_med.model.named_architectures import lite_architecture
    from moeclip_med.weights import ModelMetadata, Threshold

    before = ModelMetadata("m", "1", lite_architecture(), ScoreScale(4.5, 0.7), Threshold(0.6, "x"), "Apache-2.0")
    levels = np.linspace(3.0, 9.0, 40)
    found = calibrate_rate(levels.tolist(), 0.05)
    after = calibrated_metadata(before, found, "40 healthy studies (mr)")
    assert after.threshold.is_calibrated
    assert after.threshold.value == 0.5
    assert "40 healthy studies (mr)" in after.threshold.source
    assert "probability of at most 0.05" in after.threshold.source
    scores = after.score_scale.score(levels.astype(np.float32))
    flagged = scores >= after.threshold.value
    assert flagged.sum() == (levels > found.raw_threshold).sum()
    assert (np.diff(scores) > 0).all()
    assert after.identity() != before.identity()
