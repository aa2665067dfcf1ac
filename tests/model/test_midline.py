"""The mirror axis: found where it was put, and mirrored at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from moeclip_med.model.midline import LARGEST_SHIFT, LARGEST_TILT, Midline, find_midline, mirrored

SIZE = 128


def body(seed=0, *, tilt=0.0, shift=0.0):
    """A textured ellipse with two like halves, its axis tilted (degrees) and shifted (share of half the side)."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 4)
    texture = 0.5 + 1.5 * (texture + texture[:, ::-1])
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    upright = np.where((rows / 48) ** 2 + (columns / 38) ** 2 < 1, texture, 0)
    angle = math.radians(tilt)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.full(2, (SIZE - 1) / 2)
    axis = np.array([math.sin(angle), math.cos(angle)]) * shift * SIZE / 2  # (rows, columns)
    image = ndimage.affine_transform(upright, turn, middle - turn @ (middle + axis), order=1)
    return torch.from_numpy(image.clip(0, 1).astype(np.float32)).expand(1, 3, -1, -1)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), tilt=st.floats(-11, 11), shift=st.floats(-0.12, 0.12))
def test_the_axis_is_found_where_it_was_put(seed, tilt, shift):
    image = body(seed, tilt=tilt, shift=shift)
    found = find_midline(image)
    largest_error = 1 if abs(tilt) <= 10 else 2  # at the end of the search there is no next step to interpolate with
    assert math.degrees(found.tilt.item()) == pytest.approx(tilt, abs=largest_error)
    assert found.shift.item() == pytest.approx(shift, abs=2 / 64)
    twin = mirrored(image, found)
    assert (twin - image).abs().mean() < 0.35 * (image.flip(3) - image).abs().mean() + 0.01


def test_mirroring_twice_gives_the_image_back():
    image = body(1, tilt=5, shift=0.1)
    midline = Midline(torch.tensor([0.1]), torch.tensor([-0.05]))
    inner = (slice(None), slice(None), slice(20, -20), slice(20, -20))
    assert (mirrored(mirrored(image, midline), midline) - image)[inner].abs().mean() < 0.02


def test_an_upright_axis_in_the_middle_flips():
    image = torch.rand(2, 3, 32, 32)
    midline = Midline(torch.zeros(2), torch.zeros(2))
    torch.testing.assert_close(mirrored(image, midline), image.flip(3), atol=1e-5, rtol=0)


def test_a_shifted_axis_mirrors_around_itself_and_shows_nothing_beyond_the_edge():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 6] = 1
    twin = mirrored(image, Midline(torch.zeros(1), torch.tensor([0.25])))  # one column right of the middle
    assert twin[0, 0, 3].tolist() == pytest.approx([0, 0, 0, 1, 0, 0, 0, 0], abs=1e-5)
    full = mirrored(torch.ones(1, 1, 8, 8), Midline(torch.zeros(1), torch.tensor([0.25])))
    assert full[0, 0, 3].tolist() == pytest.approx([0, 0, 1, 1, 1, 1, 1, 1], abs=1e-5)


def test_every_image_has_its_own_axis_whatever_is_beside_it():
    images = torch.cat([body(0, tilt=6), body(1, tilt=-4, shift=0.1), torch.zeros(1, 3, SIZE, SIZE)])
    together = find_midline(images)
    for index, image in enumerate(images):
        alone = find_midline(image[None])
        assert together.tilt[index].item() == pytest.approx(alone.tilt.item(), abs=1e-5)
        assert together.shift[index].item() == pytest.approx(alone.shift.item(), abs=1e-5)
    assert together.tilt.abs().max() <= math.radians(LARGEST_TILT) + 1e-6
    assert together.shift.abs().max() <= LARGEST_SHIFT + 1e-6


def test_autocast_does_not_move_the_axis():
    image = body(2, tilt=7, shift=-0.08)
    expected = find_midline(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = find_midline(image)
        twin = mirrored(image, found)
    assert torch.equal(found.tilt, expected.tilt)
    torch.testing.assert_close(twin, mirrored(image, expected))
