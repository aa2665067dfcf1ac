"""The filter along the slice axis: a Gaussian in mm, whatever the order in which slices come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms import FrameGeometry, slice_views
from scipy.ndimage import gaussian_filter1d

from moeclip_med.scoring.through_plane import ThroughPlaneFilter, sigma_for, slice_positions

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
