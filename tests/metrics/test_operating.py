"""Sensitivity at a specificity, averages over cases, paired tests."""

import numpy as np
import pytest
from scipy import stats

from moeclip_med.metrics.operating import measure_mean, measure_median, measure_sensitivity_at, quartiles
from moeclip_med.metrics.paired import holm, permutation_test


def names(count):
    return np.array([str(number) for number in range(count)])


def test_sensitivity_at_a_specificity():
    normal, abnormal = np.arange(20.0), np.array([18.5, 19.5, 5.0, 30.0])
    scores, labels = np.concatenate([normal, abnormal]), np.repeat([False, True], [20, 4])
    metrics = measure_sensitivity_at(scores, labels, names(24), "volumes", "volumes")
    assert metrics["sensitivity_at_specificity_95"].value == 0.75  # one of twenty may lie above: 18.5, 19.5, 30
    assert metrics["sensitivity_at_specificity_90"].value == 0.75
    assert metrics["sensitivity_at_specificity_90"].interval.low < 0.75


def test_equal_scores_are_not_told_apart():
    scores, labels = np.ones(20), np.repeat([False, True], 10)
    assert (
        measure_sensitivity_at(scores, labels, names(20), "images", "images")["sensitivity_at_specificity_90"].value
        == 0
    )


def test_without_healthy_cases_there_is_no_specificity():
    metrics = measure_sensitivity_at(np.ones(3), np.ones(3, bool), names(3), "volumes", "volumes")
    assert metrics["sensitivity_at_specificity_90"].reason == "no normal volumes"


def test_mean_and_median_leave_out_what_is_undefined():
    values = np.array([np.nan, *np.linspace(0, 1, 12)])
    mean, median = (measure(values, names(13), "volumes") for measure in (measure_mean, measure_median))
    assert mean.value == pytest.approx(0.5)
    assert median.value == pytest.approx(0.5)
    assert mean.interval.units == 12
    assert median.interval.low < 0.5 < median.interval.high
    assert quartiles(values) == pytest.approx((0.25, 0.75))
    assert measure_median(np.full(3, np.nan), names(3), "volumes").reason == "defined in no case"
    assert quartiles(np.full(3, np.nan)) is None


def test_intervals_hold_the_median_as_often_as_they_promise():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        interval = measure_median(rng.normal(0.5, 0.1, 40), names(40), "volumes").interval
        held += interval.low <= 0.5 <= interval.high
    assert held >= 52


def test_permutation_test_agrees_with_the_t_test_where_differences_are_normal():
    rng = np.random.default_rng(1)
    first = rng.normal(0.5, 0.1, 25)
    second = first + rng.normal(0.03, 0.08, 25)
    assert permutation_test(first, second, names(25)) == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
    assert permutation_test(first, first, names(25)) == 1.0
    assert permutation_test(first[:9], second[:9], names(9)) is None


def test_permutation_is_of_patients():
    rng = np.random.default_rng(2)
    shift = rng.normal(0.02, 0.1, 12)
    first = np.full(120, 0.5)
    second = first + np.repeat(shift, 10)
    units = np.repeat(names(12), 10)
    assert permutation_test(first, second, units) == pytest.approx(
        permutation_test(np.full(12, 0.5), 0.5 + shift, names(12))
    )
    assert permutation_test(first, second, names(120)) < permutation_test(first, second, units)


def test_holm():
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
