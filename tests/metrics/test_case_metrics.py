"""Overlap, surfaces and lesions of single cases, against other programs on the same masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_surface_dice
from scipy import ndimage

from moeclip_med.metrics.histogram import label_regions
from moeclip_med.metrics.lesions import LesionRule, measure_lesions, panoptic
from moeclip_med.metrics.overlap import measure_overlap
from moeclip_med.metrics.surfaces import hausdorff, surface_dice, surface_distances

REFERENCES = {
    0: {"hd95": 25.848791074245618, "nsd": 0.5719254, "brats": (4, 2, 0.2199015532611797, 188.49192212506065)},
    1: {"hd95": 16.900887550658396, "nsd": 0.3288360, "brats": (3, 0, 0.2229678871017083, 9.726605368003327)},
    2: {"hd95": 24.195867415738583, "nsd": 0.4989561, "brats": (1, 2, 0.12920520037528482, 255.48872843753978)},
    3: {"hd95": 21.360009363293827, "nsd": 0.5422285, "brats": (3, 0, 0.3306713805414024, 129.73887835919564)},
}
"""HD95 and NSD at 2 mm of `surface-distance` 0.1 with voxels of 1 × 1.2 × 2.5 mm; lesions, false regions, lesion-wise
Dice and HD95 by the steps of BraTS-2023-Metrics (glioma) with voxels of 1 mm, distances again of `surface-distance`."""

PANOPTICA = {
    0: {0.5: (1, 5, 5, 0.09945925067593665), 0.1: (4, 2, 2, 0.1875681947781364)},
    1: {0.5: (0, 5, 6, 0.0), 0.1: (3, 2, 3, 0.14759751941299046)},
    2: {0.5: (0, 6, 6, 0.0), 0.1: (4, 2, 2, 0.1934695409831774)},
    3: {0.5: (0, 6, 6, 0.0), 0.1: (4, 2, 2, 0.2087882575330913)},
}
"""Matched, false, missed and quality of `panoptica` 2.1.7: connected components, naive matching."""


def case(seed, shape=(48, 56, 40)):
    """Balls: some found shifted, some missed, some false."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)

    def ball(centre, radius):
        return sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True)) <= radius * radius

    truth, found = np.zeros(shape, bool), np.zeros(shape, bool)
    for number in range(6):
        centre, radius = [rng.uniform(5, size - 5) for size in shape], rng.uniform(1.5, 6)
        truth |= ball(centre, radius)
        if number % 3:
            found |= ball([place + rng.uniform(-2.5, 2.5) for place in centre], radius * rng.uniform(0.6, 1.3))
    for _ in range(2):
        found |= ball([rng.uniform(5, size - 5) for size in shape], rng.uniform(1, 3))
    return truth, found


@pytest.mark.parametrize("seed", REFERENCES)
def test_surfaces_are_those_of_surface_distance(seed):
    distances = surface_distances(*case(seed), (1.0, 1.2, 2.5))
    assert hausdorff(distances) == pytest.approx(REFERENCES[seed]["hd95"], rel=1e-9)
    assert surface_dice(distances, 2.0) == pytest.approx(REFERENCES[seed]["nsd"], abs=1e-6)


@pytest.mark.parametrize("seed", REFERENCES)
def test_lesions_are_those_of_brats(seed):
    lesions, false, dice, hd95 = REFERENCES[seed]["brats"]
    own = measure_lesions(*case(seed), (1.0, 1.0, 1.0))
    assert (len(own.lesions), own.false_regions) == (lesions, false)
    assert own.dice == pytest.approx(dice, rel=1e-9)
    assert own.hd95 == pytest.approx(hd95, rel=1e-9)


@pytest.mark.parametrize("seed", PANOPTICA)
@pytest.mark.parametrize("iou", [0.5, 0.1])
def test_panoptic_quality_is_panopticas(seed, iou):
    truth, found = (label_regions(mask)[0] for mask in case(seed))
    own = panoptic(truth, found, iou)
    matched, false, missed, quality = PANOPTICA[seed][iou]
    assert (own.matched, own.false, own.missed) == (matched, false, missed)
    assert own.quality == pytest.approx(quality, rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # of MONAI itself
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0.3, 3.0), st.floats(0.3, 5.0))
def test_surface_dice_is_monais(seed, is_flat, in_plane, between):
    spacing = (in_plane, 1.0) if is_flat else (in_plane, 1.0, between)
    rng = np.random.default_rng(seed)
    shape = (14,) * len(spacing)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    truth = smooth > np.quantile(smooth, 0.8)
    found = ndimage.shift(truth.astype(float), rng.integers(-2, 3, truth.ndim), order=0) > 0
    if not found.any():
        return
    tensors = [torch.from_numpy(mask)[None, None] for mask in (found, truth)]
    theirs = compute_surface_dice(*tensors, [1.1], True, spacing=spacing, use_subvoxels=True)
    assert surface_dice(surface_distances(truth, found, spacing), 1.1) == pytest.approx(float(theirs), abs=1e-4)


def test_equal_masks_agree_wholly():
    truth, _ = case(0)
    same = measure_overlap(truth, truth, (1.0, 1.0, 1.0), element_size=0.001)
    assert (same.dice, same.iou, same.sensitivity, same.precision, same.hd95, same.nsd) == (1, 1, 1, 1, 0, 1)
    assert same.size_error == same.relative_size_error == 0
    assert same.truth_size == pytest.approx(truth.sum() / 1000)


def test_sizes_and_their_error():
    truth, found = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[:4, :4], found[:4, :6] = True, True
    one = measure_overlap(truth, found, (0.5, 0.5), element_size=0.25)
    assert (one.truth_size, one.found_size, one.size_error, one.relative_size_error) == (4.0, 6.0, 2.0, 0.5)
    assert one.dice == pytest.approx(32 / 40)
    assert one.iou == pytest.approx(16 / 24)


def test_empty_masks_follow_the_stated_rules():
    empty, full = np.zeros((6, 8), bool), np.ones((6, 8), bool)
    both = measure_overlap(empty, empty, (1.0, 1.0))
    alarm = measure_overlap(empty, full, (1.0, 1.0))
    for one in (both, alarm):
        assert np.isnan([one.dice, one.iou, one.sensitivity, one.precision, one.hd95, one.nsd]).all()
    assert (alarm.truth_size, alarm.found_size) == (0, 48)
    missed = measure_overlap(full, empty, (2.0, 1.0))
    assert (missed.dice, missed.iou, missed.sensitivity, missed.nsd) == (0, 0, 0, 0)
    assert missed.hd95 == pytest.approx(np.hypot(12, 8))
    assert np.isnan(missed.precision)
    assert (measure_lesions(empty, empty, (1.0, 1.0)).dice, measure_lesions(empty, empty, (1.0, 1.0)).hd95) == (1, 0)
    only_false = measure_lesions(empty, full, (1.0, 1.0))
    assert (only_false.dice, only_false.hd95, only_false.false_regions) == (0, 374, 1)
    assert np.isnan(panoptic(empty.astype(int), empty.astype(int), 0.5).quality)


def test_dilation_is_in_millimetres_on_other_grids():
    truth = np.zeros((40, 20, 12), bool)
    truth[4:8, 4:8, 2:6] = truth[12:16, 4:8, 2:6] = True  # 4 voxels apart along x
    joined = measure_lesions(truth, truth, (1.0, 1.0, 1.0), LesionRule(smallest=0))
    apart = measure_lesions(truth, truth, (3.0, 1.0, 1.0), LesionRule(smallest=0))
    assert (len(joined.lesions), len(apart.lesions)) == (1, 2)


def test_lesions_too_small_to_count_are_neither_missed_nor_false():
    truth = np.zeros((20, 20, 20), bool)
    truth[2:4, 2:4, 2:4] = True
    one = measure_lesions(truth, truth, (1.0, 1.0, 1.0))
    assert (len(one.lesions), one.false_regions, one.dice) == (0, 0, 1.0)
