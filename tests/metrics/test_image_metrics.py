"""Exact image metrics and decisions at a threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from moeclip_med.metrics.exact import measure_exactly
from moeclip_med.metrics.threshold import count_decisions, measure_at_threshold
from moeclip_med.metrics.value import Metric


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_image_metrics_are_exact_with_ties(cases):
    scores = np.array([score for score, _ in cases], dtype=float)
    labels = np.array([label for _, label in cases])
    metrics = measure_exactly(scores, labels)
    if labels.all() or not labels.any():
        assert all(metric.value is None for metric in metrics.values())
        return
    assert metrics["auroc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["ap"].value == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    best = max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
    assert metrics["f1max"].value == pytest.approx(best, abs=1e-12)
    assert all(metric.error_bound == 0.0 for metric in metrics.values())


def test_sets_without_normal_images_say_so():
    metric = measure_exactly(np.arange(5.0), np.ones(5, dtype=bool))["auroc"]
    assert metric == Metric(None, "no normal images")


def test_decisions_at_a_threshold():
    found = np.array([1, 1, 0, 0, 1, 0], dtype=bool)
    mask = np.array([1, 0, 1, 0, 1, 0], dtype=bool)
    decisions = count_decisions(found, mask)
    assert decisions.tolist() == [2, 1, 1, 2]
    metrics = measure_at_threshold(decisions)
    assert metrics["dice"].value == pytest.approx(f1_score(mask, found))
    assert metrics["sensitivity"].value == pytest.approx(2 / 3)
    assert metrics["specificity"].value == pytest.approx(2 / 3)


def test_decisions_without_anything_abnormal_are_undefined_not_zero():
    metrics = measure_at_threshold(np.array([0, 3, 0, 7]))
    assert metrics["dice"] == Metric(None, "no abnormal pixels")
    assert metrics["sensitivity"] == Metric(None, "no abnormal pixels")
    assert metrics["specificity"].value == pytest.approx(0.7)


@pytest.mark.parametrize("value", [None, 0.5])
def test_a_metric_needs_exactly_one_of_value_and_reason(value):
    with pytest.raises(ValueError, match="either a value or a reason"):
        Metric(value, "because" if value else "")
