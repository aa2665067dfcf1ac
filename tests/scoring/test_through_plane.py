"""The filter along the slice axis: a Gaussian in mm, whatever the order in which slices come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms import FrameGeometry, slice_views
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter1d

from moeclip_med.scoring.through_plane import (
    LARGEST_GAP,
    ThroughPlaneFilter,
    sigma_for,
    slice_positions,
    slices_to_score,
)

RNG = np.random.default_rng(5)


def filtered(positions, raw, sigma, order=None, batch=1):
    along = ThroughPlaneFilter(np.asarray(positions, dtype=float), sigma)
    order = list(range(len(raw))) if order is None else list(order)
    found = {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        found |= {one.index: one.raw for one in along.add(part, raw[part])}
    assert not set(found) & {one.index for one in along.flush()}
    assert sorted(found) == list(range(len(raw)))
    return np.stack([found[index] for index in range(len(raw))])


def test_even_slices_give_scipys_gaussian_inside():
    raw = RNG.random((60, 3, 4)).astype(np.float32)
    expected = gaussian_filter1d(raw, sigma=2.0, axis=0, truncate=3.0)
    got = filtered(np.arange(60) * 1.5, raw, sigma=3.0)
    np.testing.assert_allclose(got[10:-10], expected[10:-10], rtol=1e-5)


def test_uneven_slices_are_weighed_by_their_distance_in_mm():
    positions, raw = np.array([0.0, 1.0, 5.0]), np.array([[[1.0]], [[2.0]], [[4.0]]], dtype=np.float32)
    weights = np.exp(-0.5 * ((positions[:, None] - positions) / 2.0) ** 2)
    weights[np.abs(positions[:, None] - positions) > 6.0] = 0
    expected = (weights / weights.sum(1, keepdims=True)) @ [1.0, 2.0, 4.0]
    np.testing.assert_allclose(filtered(positions, raw, sigma=2.0)[:, 0, 0], expected, rtol=1e-6)


@given(st.permutations(range(12)), st.integers(1, 5), st.floats(0.3, 9))
def test_neither_order_nor_batches_change_a_bit(order, batch, sigma):
    raw = np.random.default_rng(0).random((12, 2, 2)).astype(np.float32)
    positions = np.cumsum(np.random.default_rng(1).uniform(0.5, 2, 12))
    np.testing.assert_array_equal(filtered(positions, raw, sigma, order, batch), filtered(positions, raw, sigma))


def test_a_constant_stays_what_it_is():
    raw = np.full((9, 2, 2), 0.7, dtype=np.float32)
    np.testing.assert_allclose(filtered(np.arange(9.0), raw, sigma=3.0), raw, rtol=1e-6)


def test_without_a_sigma_every_slice_comes_back_at_once():
    along = ThroughPlaneFilter(np.arange(5.0), 0.0)
    raw = RNG.random((1, 2, 2)).astype(np.float32)
    (one,) = along.add([3], raw)
    assert one.index == 3
    np.testing.assert_array_equal(one.raw, raw[0])
    assert along.flush() == []


def test_an_early_stop_takes_the_neighbours_that_came():
    along = ThroughPlaneFilter(np.arange(9.0), 2.0)
    raw = np.arange(3, dtype=np.float32)[:, None, None]
    assert along.add([0, 1, 2], raw) == []
    got = {one.index: float(one.raw[0, 0]) for one in along.flush()}
    weights = np.exp(-0.5 * (np.arange(3) / 2.0) ** 2)
    assert got[0] == pytest.approx(float(weights @ [0, 1, 2] / weights.sum()))
    assert sorted(got) == [0, 1, 2]


def test_no_more_slices_are_held_than_wait_for_a_neighbour():
    along = ThroughPlaneFilter(np.arange(200.0), 3.0)
    held = most = 0
    for index in range(200):
        held += 1 - len(along.add([index], np.zeros((1, 1, 1), dtype=np.float32)))
        most = max(most, held)
    assert most <= 20


@pytest.mark.parametrize(
    ("spacing", "sigma", "expected"),
    [
        (1.0, 3.0, [0, 3, 4, 6, 7, 10]),
        (0.99999, 3.0, [0, 3, 4, 6, 7, 10]),
        (1.00001, 3.0, [0, 3, 4, 6, 7, 10]),
        (1.2, 3.0, [0, 2, 4, 6, 8, 10]),
        (0.75, 3.0, [0, 4, 6, 10]),
        (1.6, 3.0, list(range(11))),
        (5.0, 3.0, list(range(11))),
        (0.1, 0.15, list(range(11))),
        (1.0, 0.0, list(range(11))),
    ],
)
def test_of_thin_slices_some_are_scored(spacing, sigma, expected):
    assert slices_to_score(np.arange(11) * spacing, sigma).tolist() == expected


@given(st.lists(st.floats(0.05, 5), max_size=40), st.floats(0.2, 6))
def test_scored_slices_lie_close_enough_and_hold_both_ends(gaps, sigma):
    positions = np.cumsum([0.0, *gaps])
    chosen = slices_to_score(positions, sigma)
    assert (chosen[0], chosen[-1]) == (0, len(positions) - 1)
    wide = np.diff(positions[chosen]) > LARGEST_GAP * sigma * 1.001
    assert (np.diff(chosen)[wide] == 1).all()


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(2, 60))
def test_a_volume_stored_the_other_way_round_has_the_same_slices_scored(gaps, sigma):
    positions = np.cumsum([0, *gaps]) / 10
    back = positions[-1] - positions[::-1]
    np.testing.assert_array_equal(
        len(positions) - 1 - slices_to_score(back, sigma / 10)[::-1], slices_to_score(positions, sigma / 10)
    )


def filtered_of_some(positions, raw, sigma, scored, order):
    along, found = ThroughPlaneFilter(positions, sigma, scored), {}
    for index in order:
        found |= {one.index: one.raw for one in along.add([index], raw[[index]])}
    assert along.flush() == []
    return np.stack([found[index] for index in range(len(positions))])


@given(st.randoms(use_true_random=False), st.floats(1, 6))
def test_slices_that_do_not_come_are_interpolated_before_the_gaussian(random, sigma):
    positions = np.cumsum(np.random.default_rng(1).uniform(0.2, 1, 30))
    raw = np.random.default_rng(0).random((30, 2, 2)).astype(np.float32)
    scored = slices_to_score(positions, sigma)
    order = scored.tolist()
    random.shuffle(order)
    between = interp1d(positions[scored], raw[scored], axis=0)(positions).astype(np.float32)
    expected = filtered(positions, between, sigma)
    got = filtered_of_some(positions, raw, sigma, scored, order)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_array_equal(got, filtered_of_some(positions, raw, sigma, scored, sorted(order)))


def test_a_smooth_map_is_hardly_another_when_some_slices_are_scored():
    positions = np.arange(90.0)
    raw = np.sin(positions / 9).astype(np.float32)[:, None, None]
    scored = slices_to_score(positions, 3.0)
    assert len(scored) == 32
    got = filtered_of_some(positions, raw, 3.0, scored, scored.tolist())
    np.testing.assert_allclose(got[9:-9], filtered(positions, raw, 3.0)[9:-9], atol=0.02)


def test_an_early_stop_gives_scores_where_a_scored_slice_is_the_nearest():
    along = ThroughPlaneFilter(np.arange(10.0), 3.0, np.array([0, 3, 6, 9]))
    assert [along.scored_for(index) for index in range(10)] == [0, 0, 3, 3, 3, 6, 6, 6, 9, 9]
    assert along.stood_for(3) == (2, 3, 4)
    assert along.add([3], np.ones((1, 1, 1), dtype=np.float32)) == []
    assert [one.index for one in along.flush()] == [2, 3, 4]


@pytest.mark.parametrize(("spacing", "expected"), [(1.0, 3.0), (3.0, 3.0), (5.0, 0.0)])
def test_thick_slices_are_left_alone(make_volume, spacing, expected):
    volume = make_volume(np.zeros((4, 4, 16)), affine=np.diag([1, 1, spacing, 1]))
    assert sigma_for(volume, slice_views(volume)[0], 3.0) == expected


@pytest.mark.parametrize(("shape", "spacing", "expected"), [((96, 96, 3), 1.0, 0.0), ((100, 100, 60), 0.1, 0.15)])
def test_slabs_and_small_animals(make_volume, shape, spacing, expected):
    volume = make_volume(np.zeros(shape), affine=np.diag([spacing, spacing, spacing, 1]))
    assert sigma_for(volume, slice_views(volume)[0], 3.0) == pytest.approx(expected)


def test_images_without_orientation_are_left_alone(make_volume):
    volume = make_volume(np.zeros((4, 4, 6)), has_orientation=False)
    assert sigma_for(volume, slice_views(volume)[0], 3.0) == 0


def test_tilted_slices_lie_where_their_normal_says(make_volume):
    tilt = np.radians(20)
    frames = tuple(
        FrameGeometry((0.0, 2 * z * np.tan(tilt), 2.0 * z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)) for z in range(4)
    )
    volume = make_volume(np.zeros((4, 4, 4)), is_regular=False, frame_geometry=frames)
    np.testing.assert_allclose(slice_positions(volume, slice_views(volume)[0]), [0, 2, 4, 6])
