"""Diameters and intensities of findings against shapes whose measures are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moeclip_transforms import ImageType, Volume
from scipy.spatial.transform import Rotation

from moeclip_med.scoring.measures import IntensityUnit, measure_finding


def volume_of(values, affine=None, **changes):
    volume = Volume.from_array(np.asarray(values, dtype=np.float32), np.eye(4) if affine is None else affine)
    return replace(volume, **changes)


def affine_of(spacing, rotation=None, shift=0.0):
    """Voxel to world, mm; `shift` moves each slice along the first axis, as a tilted gantry does."""
    turn = np.eye(3) if rotation is None else rotation
    steps = np.diag(spacing)
    steps[0, 2] = shift
    affine = np.eye(4)
    affine[:3, :3] = turn @ steps
    affine[:3, 3] = (12.0, -7.0, 30.0)
    return affine


def ellipse(shape, spacing, half_axes, degrees):
    """(x, y) bool: an ellipse in mm about the middle, its first axis turned from x."""
    x, y = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing[:2], strict=True))
    x, y = np.meshgrid(x, y, indexing="ij")
    turn = math.radians(degrees)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return (along / half_axes[0]) ** 2 + (across / half_axes[1]) ** 2 <= 1


def measure(inside, affine=None, **changes):
    return measure_finding(inside, (0, 0, 0), volume_of(np.zeros(inside.shape), affine, **changes))


@settings(max_examples=40, deadline=None)
@given(
    long=st.floats(12, 30),
    ratio=st.floats(0.3, 0.85),
    degrees=st.floats(0, 180),
    spacing=st.tuples(st.floats(0.4, 1.0), st.floats(0.4, 1.0), st.floats(0.5, 8.0)),
    turn=st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)),
    shift=st.floats(-2, 2),
    axes=st.permutations([0, 1, 2]),
)
def test_an_ellipse_has_its_two_axes_whatever_the_geometry(long, ratio, degrees, spacing, turn, shift, axes):
    half_axes = (long, long * ratio)
    shape = tuple(int(2 * long / step) + 4 for step in spacing[:2])
    inside = np.repeat(ellipse(shape, spacing, half_axes, degrees)[..., None], 3, axis=2)
    affine = affine_of(spacing, Rotation.from_rotvec(turn).as_matrix(), shift)
    affine[:3, :3] = affine[:3, axes]  # the slice axis may be any of the three
    measures = measure(inside.transpose(axes), affine, slice_axis=axes.index(2))
    pixel = max(spacing[:2])
    assert measures.longest.mm == pytest.approx(2 * half_axes[0], abs=1.5 * pixel)
    assert measures.perpendicular.mm == pytest.approx(2 * half_axes[1], abs=2.5 * pixel)


@settings(max_examples=20, deadline=None)
@given(
    radius=st.floats(6, 14),
    spacing=st.tuples(st.floats(0.5, 1.2), st.floats(0.5, 1.2), st.floats(0.5, 4.0)),
)
def test_a_sphere_is_measured_in_its_widest_slice(radius, spacing):
    size = [2 * int(radius / step) + 5 for step in spacing]
    grid = np.meshgrid(*((np.arange(n) - n // 2) * step for n, step in zip(size, spacing, strict=True)), indexing="ij")
    inside = sum(part**2 for part in grid) <= radius**2
    measures = measure(inside, affine_of(spacing), slice_axis=2)
    assert measures.longest.mm == pytest.approx(2 * radius, abs=1.5 * max(spacing[:2]))
    assert measures.longest.start[2] == measures.longest.stop[2] == measures.perpendicular.start[2]
    widest = inside.sum(axis=(0, 1))
    assert widest[int(measures.longest.start[2])] >= 0.9 * widest.max()


def test_one_voxel_is_as_long_as_its_longer_side():
    measures = measure(np.ones((1, 1, 1), bool), affine_of((2.0, 3.0, 9.0)))
    assert (measures.longest.mm, measures.perpendicular.mm) == pytest.approx((3.0, 2.0))


def test_a_rectangle_by_hand():
    inside = np.zeros((12, 9, 1), bool)
    inside[2:10, 3:6] = True  # outline from 1.5 to 9.5 and from 2.5 to 5.5
    measures = measure(inside)
    assert measures.longest.mm == pytest.approx(math.hypot(8.0, 2.0))
    ends = {measures.longest.start, measures.longest.stop}
    assert {end[0] for end in ends} == {1.5, 9.5}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_lines_are_at_right_angles_lie_in_one_slice_and_are_as_long_as_said(seed):
    rng = np.random.default_rng(seed)
    inside = rng.random((9, 8, 4)) > 0.7
    inside[4, 4, 2] = True
    affine = affine_of((0.7, 1.3, 4.0), Rotation.random(rng=rng).as_matrix(), 1.1)
    volume = volume_of(np.zeros((14, 15, 12)), affine, slice_axis=2)
    measures = measure_finding(inside, (3, 5, 7), volume)
    lines = (measures.longest, measures.perpendicular)
    long, across = (volume.affine.to_world(line.stop) - volume.affine.to_world(line.start) for line in lines)
    assert np.linalg.norm(long) == pytest.approx(measures.longest.mm)
    assert np.linalg.norm(across) == pytest.approx(measures.perpendicular.mm)
    assert measures.perpendicular.mm <= measures.longest.mm + 1e-9
    assert abs(long @ across) < 1e-6 * measures.longest.mm**2
    assert len({end[2] for line in lines for end in (line.start, line.stop)}) == 1


def test_the_place_of_the_box_is_heeded():
    values = np.zeros((20, 20, 5))
    values[10:12, 11:14, 3] = [[1, 2, 3], [4, 5, 9]]
    inside = np.ones((2, 3, 1), bool)
    measures = measure_finding(inside, (10, 11, 3), volume_of(values))
    assert measures.mean == pytest.approx(4.0)
    assert measures.sd == pytest.approx(np.std([1, 2, 3, 4, 5, 9]))
    assert measures.maximum == 9
    assert measures.longest.start[2] == 3


def test_padding_and_values_that_are_not_finite_do_not_count():
    values = np.array([10.0, 20.0, np.nan, -2000.0]).reshape(4, 1, 1)
    padding = np.array([False, False, False, True]).reshape(4, 1, 1)
    measures = measure_finding(np.ones((4, 1, 1), bool), (0, 0, 0), volume_of(values, padding_mask=padding))
    assert (measures.mean, measures.sd, measures.maximum) == (15.0, 5.0, 20.0)


def test_without_a_usable_value_there_is_no_mean():
    values = np.array([np.nan, np.nan, 1.0]).reshape(3, 1, 1)
    measures = measure_finding(np.ones((2, 1, 1), bool), (0, 0, 0), volume_of(values))
    assert (measures.mean, measures.sd, measures.maximum) == (None, None, None)


@pytest.mark.parametrize(
    ("image_type", "unit"), [(ImageType.CT_LUNG, IntensityUnit.HU), (ImageType.MR, IntensityUnit.ARBITRARY)]
)
def test_the_unit_is_hu_in_ct_alone(image_type, unit):
    volume = Volume.from_array(np.zeros((2, 2, 2), np.float32), np.eye(4), image_type=image_type)
    assert measure_finding(np.ones((2, 2, 2), bool), (0, 0, 0), volume).unit is unit


def test_a_photograph_has_no_mm_and_colours_no_intensity():
    volume = Volume.from_array(np.zeros((3, 4, 4, 1), np.float32), axes="cxyz")
    measures = measure_finding(np.ones((2, 2, 1), bool), (1, 1, 0), volume)
    assert (measures.longest, measures.perpendicular, measures.mean) == (None, None, None)
