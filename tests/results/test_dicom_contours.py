"""Polygons along pixel borders cover exactly the pixels they were made from."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from scipy import ndimage

from moeclip_med.results.dicom.contours import outline

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


def covered(polygons, shape):
    """(x, y): how many polygons each pixel centre lies in, by another program's rule."""
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 2)
    inside = [Polygon(np.vstack([polygon, polygon[:1]])).contains_points(centres) for polygon in polygons]
    return np.sum(inside, axis=0).reshape(shape) if inside else np.zeros(shape, int)


def area(polygon):
    x, y = polygon.T
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


@settings(max_examples=150, deadline=None)
@given(masks)
def test_every_pixel_lies_in_one_polygon_and_no_other_does(mask):
    polygons = outline(mask)
    np.testing.assert_array_equal(covered(polygons, mask.shape), mask.astype(int))
    assert sum(area(polygon) for polygon in polygons) == mask.sum()


@settings(max_examples=50, deadline=None)
@given(masks)
def test_corners_are_corners_of_pixels_and_no_three_lie_on_a_line(mask):
    for polygon in outline(mask):
        np.testing.assert_array_equal(polygon % 1, 0.5)
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert ((steps != 0).sum(axis=1) == 1).all()
        assert (np.sign(steps) != np.sign(np.roll(steps, 1, axis=0))).any(axis=1).all()


def test_one_pixel_is_a_square_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (polygon,) = outline(mask)
    assert sorted(map(tuple, polygon.tolist())) == [(1.5, 2.5), (1.5, 3.5), (2.5, 2.5), (2.5, 3.5)]


def test_a_ring_is_cut_through_its_hole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert len(outline(mask)) == 2
    assert sum(area(polygon) for polygon in outline(mask)) == 24


def test_a_disc_without_holes_is_one_polygon():
    x, y = np.mgrid[:40, :40]
    mask = ndimage.binary_fill_holes((x - 20) ** 2 + (y - 19) ** 2 < 150)
    assert len(outline(mask)) == 1
