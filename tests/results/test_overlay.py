"""Colours of scores."""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

from moeclip_med.results.overlay import FULL_OPACITY, blend, colours, opacity, overlay_rgba

SCORES = np.linspace(0, 1, 256, dtype=np.float32)


def test_lightness_rises_evenly_so_that_the_eye_sees_scores_in_order():
    lightness = rgb2lab(colours(SCORES) / 255.0)[:, 0]
    steps = np.diff(lightness[::15])
    assert lightness[0] < 1
    assert lightness[-1] > 95
    assert (steps > 0).all()
    assert steps[1:].min() > 0.85 * steps.mean()
    assert steps.max() < 1.3 * steps.mean()


def test_a_colour_means_a_score_whatever_else_is_in_the_picture():
    quiet = np.array([0.1, 0.3], dtype=np.float32)
    loud = np.array([0.1, 0.3, 1.0], dtype=np.float32)
    np.testing.assert_array_equal(overlay_rgba(quiet, 0.5), overlay_rgba(loud, 0.5)[:2])


def test_opacity_is_nothing_well_below_the_threshold_and_full_from_it_on():
    shown = opacity(SCORES, 0.5)
    assert (shown[SCORES <= 0.3] == 0).all()
    assert np.allclose(shown[SCORES >= 0.5], FULL_OPACITY)
    assert (np.diff(shown) >= 0).all()


def test_blending_leaves_the_image_alone_where_scores_are_low():
    image = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(blend(image, np.zeros((5, 7), np.float32), 0.5), (image * 255).round())
    high = blend(image, np.ones((5, 7), np.float32), 0.5)
    expected = image * 255 * (1 - FULL_OPACITY) + np.array([252, 255, 164]) * FULL_OPACITY
    assert np.abs(high - expected).max() <= 1


def test_scores_outside_the_range_are_clipped():
    np.testing.assert_array_equal(colours(np.float32([-1, 2])), colours(np.float32([0, 1])))
