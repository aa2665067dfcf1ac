"""Lesions hit, false positives, FROC with its intervals."""

import numpy as np
import pytest

from moeclip_med.metrics.detection import Detections, froc, froc_band, lesion_places, match_marks, measure_froc


def boxes(*corners, shape=(20, 20, 10), side=3):
    mask = np.zeros(shape, dtype=bool)
    for x, y, z in corners:
        mask[x : x + side, y : y + side, z : z + side] = True
    return mask


def marks(*places):
    return [np.array([place]) for place in places]


def detections(hits, false, lesions, units=None):
    names = np.array(units or [str(number) for number in range(len(lesions))])
    return Detections(np.array([1.0, 2.0, 3.0]), np.array(hits), np.array(false), np.array(lesions), names)


def test_a_mark_in_a_lesion_or_right_beside_it_hits():
    places = lesion_places(boxes((1, 1, 1), (12, 12, 2)))
    hit, false = match_marks(places, marks((2, 2, 2), (15, 15, 5), (17, 2, 7), (5, 5, 5)))
    assert hit.tolist() == [True, True]
    assert false == 2


def test_two_marks_in_one_lesion_hit_it_once():
    hit, false = match_marks(lesion_places(boxes((1, 1, 1), side=8)), marks((1, 1, 1), (8, 8, 8)))
    assert (hit.sum(), false) == (1, 0)


def test_a_mark_shared_by_several_voxels_counts_where_one_lies_in_a_lesion():
    places = lesion_places(boxes((1, 1, 1)))
    assert match_marks(places, [np.array([[18, 18, 8], [2, 2, 2]])])[1] == 0


def test_lesions_are_widened_without_growing_into_each_other():
    places = lesion_places(boxes((1, 1, 1), (5, 1, 1)))
    assert places.sizes.tolist() == [27, 27]
    assert np.array_equal(places.wider[places.labels > 0], places.labels[places.labels > 0])
    assert set(np.unique(places.wider[4, 1:4, 1:4])) <= {1, 2}


def test_froc_over_two_cases():
    curve = froc(detections([[2, 2, 1], [0, 0, 0]], [[2, 1, 0], [0, 0, 0]], [2, 0]))
    assert curve.rate.tolist() == [0.0, 0.5, 1.0]
    assert curve.sensitivity.tolist() == [0.5, 1.0, 1.0]
    metrics = measure_froc(detections([[2, 2, 1], [0, 0, 0]], [[2, 1, 0], [0, 0, 0]], [2, 0]), "volumes")
    assert metrics["sensitivity_at_0.25"].value == 0.5
    assert metrics["sensitivity_at_0.5"].value == 1.0
    assert metrics["froc_mean"].value == pytest.approx((2 * 0.5 + 5 * 1.0) / 7)
    assert metrics["froc_mean"].interval is None
    assert "needs at least 10" in metrics["froc_mean"].interval_reason


def test_froc_intervals_are_over_patients_not_over_their_cases():
    rng = np.random.default_rng(0)
    found = rng.integers(0, 2, 15)
    hits, false = np.repeat(found[:, None], 3, axis=1), np.zeros((15, 3), dtype=int)
    one = measure_froc(detections(hits, false, [1] * 15), "volumes")["froc_mean"]
    names = [str(number % 15) for number in range(60)]
    four = detections(np.tile(hits, (4, 1)), np.tile(false, (4, 1)), [1] * 60, names)
    repeated = measure_froc(four, "patients")["froc_mean"]
    assert repeated.interval == one.interval
    low, high = froc_band(four, np.array([0.5, 1.0]))
    assert (low < one.value).all()
    assert (high > one.value).all()


def test_froc_without_lesions_is_undefined():
    assert measure_froc(detections([[0, 0, 0]], [[1, 0, 0]], [0]), "volumes")["froc_mean"].reason
