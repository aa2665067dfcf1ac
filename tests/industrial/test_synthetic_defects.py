"""Synthetic defects and composites: pure, bounded, and a mask that tells the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from moeclip_med.industrial.bodies import body_composite
from moeclip_med.industrial.coloured_surfaces import add_hairs, surface_composite
from moeclip_med.industrial.composites import mirror, symmetric_composite, uneven_light
from moeclip_med.industrial.defect_shapes import crescent, many_small, ring, spots, tiny
from moeclip_med.industrial.fields import defect_mask, ellipse_level, ridges, smooth_noise, turn_and_shift, warp
from moeclip_med.industrial.organs import organ_composite
from moeclip_med.industrial.synthetic import (
    SMALLEST_CHANGE,
    blend,
    fill_by_copy,
    only_if_visible,
    synthetic_defect,
    vary,
    visible,
)
from moeclip_med.industrial.tubes import glints, tube_composite
from moeclip_med.industrial.wavy_layers import layered_composite

SIZE = 64
seeds = st.integers(0, 2**32 - 1)
makers = pytest.mark.parametrize(
    "make",
    [
        synthetic_defect,
        symmetric_composite,
        tube_composite,
        layered_composite,
        organ_composite,
        surface_composite,
        body_composite,
    ],
)


def textures(seed):
    rng = np.random.default_rng(seed)
    pair = [0.5 + 0.15 * np.stack([smooth_noise(SIZE, 3, rng)] * 3, axis=2) for _ in range(2)]
    return [np.clip(texture, 0, 1).astype(np.float32) for texture in pair]


@makers
@settings(max_examples=25)
@given(seed=seeds)
def test_image_is_in_range_and_repeats_with_its_seed(make, seed):
    normal, other = textures(seed)
    before = normal.copy()
    image, mask = make(normal, other, np.random.default_rng(seed))
    again, mask_again = make(normal, other, np.random.default_rng(seed))
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.float32
    assert mask.shape == (SIZE, SIZE)
    assert mask.dtype == np.bool_
    assert 0 <= image.min() <= image.max() <= 1
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    np.testing.assert_array_equal(normal, before)


@makers
def test_about_two_thirds_have_a_defect(make):
    shares = []
    for seed in range(150):
        _, mask = make(*textures(seed % 5), np.random.default_rng(seed))
        shares.append(mask.any())
    assert 0.5 < np.mean(shares) < 0.8


@settings(max_examples=25)
@given(seed=seeds)
def test_defect_stays_where_it_is_allowed_and_is_never_empty(seed):
    rng = np.random.default_rng(seed)
    allowed = np.zeros((SIZE, SIZE), dtype=bool)
    allowed[10:40, 20:25] = True
    mask = defect_mask(SIZE, rng, allowed)
    assert mask.any()
    assert not (mask & ~allowed).any()


def test_no_room_gives_no_defect():
    assert not defect_mask(SIZE, np.random.default_rng(0), np.zeros((SIZE, SIZE), dtype=bool)).any()


@settings(max_examples=25)
@given(seed=seeds)
def test_pixels_far_from_a_defect_are_untouched(seed):
    np.random.default_rng(seed)
    image, filling = textures(seed)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[20:30, 20:30] = True
    result = blend(image, filling, mask, edge=1.0)
    np.testing.assert_array_equal(result[:10], image[:10])
    np.testing.assert_allclose(result[24:26, 24:26], filling[24:26, 24:26], atol=2e-3)


def test_a_fill_that_changes_nothing_is_no_defect():
    image, _ = textures(1)
    mask = np.ones((SIZE, SIZE), dtype=bool)
    assert not visible(image, image + SMALLEST_CHANGE / 2, mask)
    assert visible(np.zeros_like(image), np.full_like(image, 2 * SMALLEST_CHANGE), mask)
    assert not visible(image, image + 1, ~mask)


def test_normal_variation_is_at_most_the_stated_share():
    image = np.full((SIZE, SIZE, 3), 0.5, dtype=np.float32)
    for seed in range(20):
        varied = vary(image, np.random.default_rng(seed))
        assert np.abs(varied / image - 1).max() <= 0.35 + 1e-5


def test_copy_is_never_the_place_it_came_from():
    image, _ = textures(3)
    for seed in range(10):
        assert np.abs(fill_by_copy(image, np.random.default_rng(seed)) - image).mean() > 0.01


def test_smooth_noise_is_standardised_and_smooth():
    noise = smooth_noise(256, 20, np.random.default_rng(0))
    assert abs(noise.mean()) < 1e-4
    assert noise.std() == pytest.approx(1, abs=1e-4)
    # Gaussian noise of width s has a mean squared slope of 1/(2 s²) per axis.
    assert np.diff(noise, axis=0).std() == pytest.approx(1 / (20 * np.sqrt(2)), rel=0.35)


def test_ellipse_has_its_area_and_turns_with_its_angle():
    level = ellipse_level(256, (128, 128), (60, 20), 0.0)
    assert (level > 0).sum() == pytest.approx(np.pi * 60 * 20, rel=0.01)
    assert level[128 + 50, 128] > 0 > level[128, 128 + 50]
    turned = ellipse_level(256, (128, 128), (60, 20), np.pi / 2)
    assert turned[128, 128 + 50] > 0 > turned[128 + 50, 128]


@settings(max_examples=20)
@given(seed=seeds, size=st.sampled_from([32, 33]))
def test_mirror_is_symmetric_and_keeps_the_left_half(seed, size):
    field = np.random.default_rng(seed).random((size, size), dtype=np.float32)
    mirrored = mirror(field)
    np.testing.assert_array_equal(mirrored, mirrored[:, ::-1])
    np.testing.assert_array_equal(mirrored[:, : size // 2], field[:, : size // 2])


def test_placing_turns_and_moves_about_the_centre():
    image = np.zeros((65, 65), dtype=np.float32)
    image[32, 52] = 1
    turned = turn_and_shift(image, np.pi / 2, 1.0, (0, 0), order=1)
    assert turned.sum() == pytest.approx(1, abs=1e-3)
    assert np.unravel_index(turned.argmax(), turned.shape) in {(12, 32), (52, 32)}
    moved = turn_and_shift(image, 0.0, 1.0, (3, -4), order=1)
    assert np.unravel_index(moved.argmax(), moved.shape) == (35, 48)
    grown = turn_and_shift(image, 0.0, 1.1, (0, 0), order=1)
    assert np.unravel_index(grown.argmax(), grown.shape) == (32, 54)


def test_a_defect_that_nobody_could_see_is_taken_back():
    image, other = textures(4)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[5:9, 5:9] = True
    kept, empty = only_if_visible(image, image.copy(), mask)
    assert kept is image
    assert not empty.any()
    changed, same = only_if_visible(image, other, mask)
    assert changed is other
    np.testing.assert_array_equal(same, mask)


@settings(max_examples=20)
@given(seed=seeds)
@example(seed=29834207)  # a crescent thinner than the grid
def test_small_lesions_and_crescents_lie_in_the_body(seed):
    body = ellipse_level(SIZE, (32, 32), (26, 22), 0.0) > 0
    half = body.copy()
    half[:, 32:] = False
    rng = np.random.default_rng(seed)
    small, band, round_ones = many_small(half, rng), crescent(body, half, rng), spots(half, rng)
    assert small.any()
    assert band.any()
    assert round_ones.any()
    assert not ((small | band | round_ones | ring(half, rng)) & ~half).any()


@settings(max_examples=20)
@given(seed=seeds)
def test_tiny_spots_are_tiny_and_lie_in_the_body(seed):
    body = ellipse_level(256, (128, 128), (100, 90), 0.0) > 0
    mask = tiny(body, np.random.default_rng(seed))
    assert not (mask & ~body).any()
    assert mask.mean() < 0.02
    depth = ndimage.distance_transform_edt(mask)
    assert depth.max() <= 8  # a few may touch


def test_no_room_gives_no_spot_and_no_ring():
    nowhere = np.zeros((SIZE, SIZE), dtype=bool)
    assert not spots(nowhere, np.random.default_rng(0)).any()
    assert not tiny(nowhere, np.random.default_rng(0)).any()
    assert not ring(nowhere, np.random.default_rng(0)).any()


def test_a_ring_is_hollow_and_small_spots_are_as_common_as_large_ones():
    everywhere = np.ones((256, 256), dtype=bool)
    filled = [
        ndimage.binary_fill_holes(mask).sum() / mask.sum()
        for mask in (ring(everywhere, np.random.default_rng(s)) for s in range(20))
        if mask.any()
    ]
    assert np.median(filled) > 1.2
    areas = [spots(everywhere, np.random.default_rng(seed)).mean() for seed in range(200)]
    assert np.quantile(areas, 0.3) < 0.01
    assert np.quantile(areas, 0.8) > 0.03


def test_uneven_light_is_slow_and_hairs_are_thin():
    image = np.full((256, 256), 0.5, dtype=np.float32)
    lit = uneven_light(image, np.random.default_rng(1))
    assert np.abs(lit / image - 1).max() <= 0.3 + 1e-6
    assert np.abs(np.diff(lit, axis=0)).max() < 0.01
    haired = add_hairs(np.full((256, 256, 3), 0.7, dtype=np.float32), np.random.default_rng(0))
    assert 0 < (np.abs(haired - 0.7).max(axis=2) > 0.1).mean() < 0.15


def test_a_crescent_hugs_the_edge():
    body = ellipse_level(256, (128, 128), (110, 90), 0.0) > 0
    inner = ellipse_level(256, (128, 128), (70, 50), 0.0) > 0
    for seed in range(20):
        assert not (crescent(body, body, np.random.default_rng(seed)) & inner).any()


def test_ridges_are_thin_and_warps_move_all_images_alike():
    rng = np.random.default_rng(0)
    thin, broad = (ridges(256, 10, width, np.random.default_rng(0)) for width in (0.1, 0.4))
    assert 0 < (thin > 0.5).mean() < (broad > 0.5).mean() < 0.5
    image = rng.random((SIZE, SIZE), dtype=np.float32)
    first, second = warp([image, 2 * image], 3, 10, rng)
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
    assert np.abs(first - image).mean() > 0.01


def test_glints_are_bright_and_small():
    sizes = [(glints(256, np.random.default_rng(seed)) > 0.3).mean() for seed in range(30)]
    assert max(sizes) > 0
    assert max(sizes) < 0.03
