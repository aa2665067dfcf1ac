"""Intervals and paired tests over patients."""

import numpy as np
import pytest

from moeclip_med.metrics import bootstrap
from moeclip_med.metrics.curves import auroc, measure
from moeclip_med.metrics.histogram import PixelCounts
from moeclip_med.metrics.value import Metric


def patients(rng, count, separation, bins=40, pixels=200):
    """Counts of patients whose scores are shifted together: pixels of one patient are not independent."""
    normal, abnormal = np.zeros((count, bins)), np.zeros((count, bins))
    for patient in range(count):
        shift = rng.normal(0, 2)
        for target, mean in ((normal, 18), (abnormal, 18 + separation)):
            drawn = np.clip(rng.normal(mean + shift, 3, pixels), 0, bins - 1).astype(int)
            target[patient] = np.bincount(drawn, minlength=bins)
    return PixelCounts(normal, abnormal, abnormal / pixels, np.ones(count))


def pooled(counts):
    return PixelCounts(counts.normal.sum(0), counts.abnormal.sum(0), counts.overlap.sum(0), counts.regions.sum())


def test_draws_keep_the_number_of_units_and_repeat():
    drawn = bootstrap.draw(7, repeats=50)
    assert (drawn.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(drawn, bootstrap.draw(7, repeats=50))


def test_resampling_every_unit_once_gives_the_metric_itself():
    counts = patients(np.random.default_rng(0), 12, 3)
    samples = bootstrap.curve_samples(counts, np.ones((1, 12)))
    for name, metric in measure(pooled(counts)).items():
        assert samples[name][0] == pytest.approx(metric.value)


def test_intervals_cover_the_truth_as_often_as_promised():
    rng = np.random.default_rng(1)
    truth = auroc(*(getattr(pooled(patients(rng, 4000, 2)), part) for part in ("normal", "abnormal")))
    covered = 0
    runs = 150
    for _ in range(runs):
        counts = patients(rng, 30, 2)
        value = auroc(pooled(counts).normal, pooled(counts).abnormal)
        samples = bootstrap.curve_samples(counts, bootstrap.draw(30, repeats=200), with_regions=False)["auroc"]
        interval = bootstrap.with_interval(Metric(float(value)), samples, float(value), 30, "patients").interval
        covered += interval.low <= truth <= interval.high
    # 95 % is promised for many patients; with 30 the percentile interval is known to be a little narrow.
    assert 0.88 <= covered / runs <= 0.99


def test_pixels_of_one_patient_do_not_count_as_independent():
    rng = np.random.default_rng(2)
    few, many = (patients(rng, 20, 2, pixels=pixels) for pixels in (100, 10_000))
    widths = []
    for counts in (few, many):
        samples = bootstrap.curve_samples(counts, bootstrap.draw(20), with_regions=False)["auroc"]
        widths.append(np.subtract(*np.percentile(samples, (97.5, 2.5))))
    assert widths[1] > 0.5 * widths[0]


def test_too_few_patients_have_no_interval():
    metric = bootstrap.with_interval(Metric(0.8), np.full(100, 0.8), 0.8, 2, "patients")
    assert metric.interval is None
    assert metric.interval_reason == "2 patients; an interval needs at least 10"


def test_often_undefined_resamples_have_no_interval():
    samples = np.where(np.arange(100) < 20, np.nan, 0.8)
    metric = bootstrap.with_interval(Metric(0.8), samples, 0.8, 12, "images")
    assert metric.interval_reason == "undefined in 20% of the resamples of 12 images"


def test_undefined_metrics_stay_undefined():
    metric = Metric.undefined("no normal images")
    assert bootstrap.with_interval(metric, np.full(100, np.nan), np.nan, 50, "images") is metric


def test_macro_average_leaves_out_undefined_classes():
    parts = [{"ap": np.array([0.2, np.nan])}, {"ap": np.array([0.6, 0.5])}, {"ap": np.array([np.nan, np.nan])}]
    np.testing.assert_allclose(bootstrap.macro_samples(parts)["ap"], [0.4, 0.5])


def test_paired_test_finds_a_small_difference_that_patients_agree_on():
    rng = np.random.default_rng(3)
    first = patients(rng, 25, 2)
    better = PixelCounts(first.normal, np.roll(first.abnormal, 1, axis=1), first.overlap, first.regions)
    drawn = bootstrap.draw(25)
    samples = tuple(bootstrap.curve_samples(part, drawn)["auroc"] for part in (first, better))
    values = [Metric(float(auroc(pooled(part).normal, pooled(part).abnormal))) for part in (first, better)]
    difference, p_value = bootstrap.paired_difference(*values, samples, 25, "patients")
    assert difference.interval.low > 0
    assert p_value < 0.01
    # Each alone is far less certain than their difference.
    assert difference.interval.high - difference.interval.low < np.ptp(np.percentile(samples[0], (2.5, 97.5)))


def test_paired_test_of_a_run_with_itself_sees_no_difference():
    counts = patients(np.random.default_rng(4), 15, 2)
    samples = bootstrap.curve_samples(counts, bootstrap.draw(15))["ap"]
    metric = measure(pooled(counts))["ap"]
    difference, p_value = bootstrap.paired_difference(metric, metric, (samples, samples), 15, "patients")
    assert difference.value == 0.0
    assert p_value == 1.0


def test_what_binning_alone_could_make_is_no_difference():
    rng = np.random.default_rng(6)
    first = rng.uniform(0.7, 0.8, 200)
    samples = (first, first + 3e-5)  # the same sign in every resample
    figures = (Metric(0.75, error_bound=1e-5), Metric(0.75003, error_bound=1e-5))
    assert bootstrap.paired_difference(*figures, samples, 25, "patients")[1] < 0.05
    coarser = (figures[0], Metric(0.75003, error_bound=3e-5))
    assert bootstrap.paired_difference(*coarser, samples, 25, "patients")[1] == 1.0


def test_paired_p_values_are_uniform_when_there_is_no_difference():
    rng = np.random.default_rng(5)
    significant = 0
    runs = 120
    for _ in range(runs):
        parts = [patients(rng, 25, 2) for _ in range(2)]
        drawn = bootstrap.draw(25, repeats=200)
        samples = tuple(bootstrap.curve_samples(part, drawn, with_regions=False)["auroc"] for part in parts)
        values = [Metric(float(auroc(pooled(part).normal, pooled(part).abnormal))) for part in parts]
        significant += bootstrap.paired_difference(*values, samples, 25, "patients")[1] < 0.05
    assert significant / runs < 0.12
