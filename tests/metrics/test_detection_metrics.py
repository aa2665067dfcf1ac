"""Lesions hit, false findings, FROC."""

import numpy as np
import pytest

from moeclip_med.metrics.detection import Detections, detect, froc, lesion_places, measure_froc
from moeclip_med.metrics.value import Metric


def boxes(*corners, shape=(20, 20, 10), side=3):
    mask = np.zeros(shape, dtype=bool)
    for x, y, z in corners:
        mask[x : x + side, y : y + side, z : z + side] = True
    return mask


def test_hits_and_false_findings():
    places = lesion_places(boxes((1, 1, 1), (12, 12, 2)))
    found = boxes((2, 2, 2), (1, 14, 5), (15, 2, 6)).astype(float)
    assert detect(found, 0.5, places, smallest=1) == (1, 2)


def test_one_finding_over_everything_hits_only_what_it_points_at():
    places = lesion_places(boxes((1, 1, 1), (6, 1, 1)))
    raw = np.ones((20, 20, 10))
    raw[7, 2, 2] = 2.0
    assert detect(raw, 0.5, places, smallest=1) == (1, 0)
    raw[15, 15, 5] = 3.0
    assert detect(raw, 0.5, places, smallest=1) == (0, 1)


def test_two_findings_in_one_lesion_hit_it_once():
    places = lesion_places(boxes((1, 1, 1), side=8))
    raw = boxes((1, 1, 1), (6, 6, 5)).astype(float)
    assert detect(raw, 0.5, places, smallest=1) == (1, 0)


def test_a_mark_right_beside_a_lesion_counts():
    places = lesion_places(boxes((5, 5, 5)))
    raw = np.zeros((20, 20, 10))
    raw[8, 8, 8] = 1.0
    assert detect(raw, 0.5, places, smallest=1) == (1, 0)
    assert detect(np.roll(raw, 1, axis=0), 0.5, places, smallest=1) == (0, 1)


def test_small_findings_neither_hit_nor_count_as_false():
    places = lesion_places(boxes((1, 1, 1)))
    raw = boxes((1, 1, 1), (12, 12, 2), side=2).astype(float)
    assert detect(raw, 0.5, places, smallest=9) == (0, 0)
    assert detect(raw, 0.5, places, smallest=8) == (1, 1)


def test_froc_over_two_volumes():
    detections = Detections.none(np.array([1.0, 2.0, 3.0]))
    mask = boxes((1, 1, 1), (12, 12, 2))
    raw = 3.0 * boxes((1, 1, 1)) + 2.0 * boxes((12, 12, 2)) + 2.0 * boxes((1, 14, 5)) + 1.0 * boxes((15, 2, 6))
    detections.add(raw, mask, smallest=1)
    detections.add(np.zeros(mask.shape), np.zeros(mask.shape, dtype=bool), smallest=1)
    false_rate, sensitivity = froc(detections)
    assert false_rate.tolist() == [0.0, 0.5, 1.0]
    assert sensitivity.tolist() == [0.5, 1.0, 1.0]
    metrics = measure_froc(detections)
    assert metrics["sensitivity_at_0.25"].value == 0.5
    assert metrics["sensitivity_at_0.5"].value == 1.0
    assert metrics["froc_mean"].value == pytest.approx((2 * 0.5 + 5 * 1.0) / 7)


def test_froc_without_lesions_is_undefined():
    detections = Detections.none(np.array([1.0]))
    detections.add(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool), smallest=1)
    assert measure_froc(detections)["froc_mean"] == Metric(None, "no lesion in any volume")
