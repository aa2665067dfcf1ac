"""Brightness and colour by patch: in the body's own units, silent on the ground, honest about mirrors."""

from __future__ import annotations

import pytest
import torch

from moeclip_med.model.losses import fused_margin, peak_loss
from moeclip_med.model.patch_intensity import (
    MIRROR_CHANNELS,
    OWN_CHANNELS,
    at_grid,
    intensity_channels,
    is_grey,
    nearest_difference,
    odd,
)

SIZE, GRID = 64, 16
BRIGHT, BODY, BRIGHTEST, DARKEST, NEAR, MIRRORED = 0, 1, 4, 5, 6, 11


def head(spot=None):
    """A body with a little texture on black ground, perhaps with a spot (row, column, side, value)."""
    image = torch.zeros(3, SIZE, SIZE)
    texture = 0.06 * torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    image[:, 12:52, 12:52] = 0.4 + (texture + texture.flip(1)) / 2
    if spot is not None:
        row, column, side, value = spot
        image[:, row : row + side, column : column + side] = value
    return image[None]


def test_shape_and_range():
    images = torch.rand(2, 3, SIZE, SIZE)
    assert intensity_channels(images, GRID).shape == (2, GRID, GRID, OWN_CHANNELS)
    channels = intensity_channels(images, GRID, images.flip(3))
    assert channels.shape == (2, GRID, GRID, OWN_CHANNELS + MIRROR_CHANNELS)
    assert channels.dtype == torch.float32
    assert channels.abs().max() <= 8


def test_a_small_spot_shows_in_its_patch_only():
    channels = intensity_channels(head((21, 33, 2, 1.0)), GRID)[0]
    assert channels[5, 8, BRIGHTEST] == channels[..., BRIGHTEST].max()
    assert channels[5, 8, NEAR] == channels[2:14, 2:14, NEAR].max()
    assert channels[5, 8, NEAR] > 3 * channels[9, 5, NEAR].abs()
    dark = intensity_channels(head((21, 33, 2, 0.06)), GRID)[0]
    assert dark[5, 8, DARKEST] == dark[4:12, 4:12, DARKEST].min()


@pytest.mark.parametrize(("factor", "offset"), [(0.5, 0.0), (1.4, 0.0), (0.8, 0.15)])
def test_brightness_and_contrast_of_the_body_do_not_matter(factor, offset):
    image = head((21, 33, 4, 0.6))
    changed = torch.where(image > 0, factor * image + offset, image)
    torch.testing.assert_close(intensity_channels(changed, GRID), intensity_channels(image, GRID), atol=2e-3, rtol=1e-3)


def test_the_ground_says_nothing():
    channels = intensity_channels(head((21, 33, 4, 0.6)), GRID)[0]
    quiet = [BRIGHT, BODY, BRIGHTEST, DARKEST, *range(NEAR, OWN_CHANNELS)]
    assert (channels[:2][..., quiet] == 0).all()
    assert (channels[4:12, 4:12, BODY] == 1).all()


def test_a_black_image_is_all_zero():
    assert (intensity_channels(torch.zeros(1, 3, SIZE, SIZE), GRID) == 0).all()


def test_images_of_one_colour_channel_are_grey_and_a_cameras_are_not():
    grey = head((21, 33, 4, 0.6))
    tinted = grey * torch.tensor([1.0, 0.7, 0.6])[:, None, None] + 0.05 * torch.rand(3, SIZE, SIZE)
    channels = intensity_channels(torch.cat([grey, tinted, torch.zeros_like(grey)]), GRID)
    assert is_grey(channels).tolist() == [1, 0, 1]


def test_what_has_a_mirror_twin_differs_from_nothing():
    image = head()
    channels = intensity_channels(image, GRID, image.flip(3))[0, ..., MIRRORED]
    assert channels.abs().max() < 1e-5
    image = head((21, 16, 6, 0.9))
    one_sided = intensity_channels(image, GRID, image.flip(3))[0, ..., MIRRORED]
    torch.testing.assert_close(one_sided, -one_sided.flip(1))
    assert one_sided[5, 4] > 0.5


def test_a_twin_two_patches_off_is_still_a_twin_and_three_is_none():
    fields = torch.zeros(1, 1, 12, 12)
    fields[0, 0, 5, 5] = 3.0
    near, far = fields.roll(2, dims=3), fields.roll(3, dims=3)
    assert nearest_difference(fields, near, 2)[0, 0, 5, 5] == 0
    assert nearest_difference(fields, far, 2)[0, 0, 5, 5] == 3
    assert nearest_difference(far, fields, 2)[0, 0, 5, 5] == 0, (
        "darker than the twin's place, but like what is beside it"
    )


def test_colour_is_told_from_brightness():
    image = head()
    image[:, 0, 20:28, 20:28] += 0.2
    image[:, 1, 20:28, 20:28] -= 0.2
    channels = intensity_channels(image, GRID)[0]
    assert channels[5, 5, 2] > 2
    assert channels[5, 5, BRIGHT].abs() < 0.5


def test_coarser_grids_average():
    channels = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert at_grid(channels, 4) is channels
    assert at_grid(channels, 2)[0, 0, 0, 0] == (0 + 1 + 4 + 5) / 4
    assert [odd(side) for side in (1.2, 3.9, 5.3, 12.8, 32)] == [3, 3, 5, 11, 31]


def test_the_fused_margin_is_the_mean_over_all_maps():
    fine, coarse = torch.zeros(1, 2, 2, 8, 8), torch.zeros(1, 2, 2, 4, 4)
    fine[:, 0, 1] = 3.0
    coarse[:, :, 0] = 1.0
    margin = fused_margin([fine, coarse], 8, corners_aligned=False)
    torch.testing.assert_close(margin, torch.full((1, 8, 8), (3 + 0 - 1 - 1) / 4))


def test_the_peak_is_judged_by_the_image_label():
    high, low = torch.full((1, 8, 8), -5.0), torch.full((1, 8, 8), -5.0)
    high[0, :3, :3] = 5.0
    empty, full = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    full[0, 0, 0] = 1
    assert max(peak_loss(high, full), peak_loss(low, empty)) < 0.01
    assert min(peak_loss(high, empty), peak_loss(low, full)) > 4.9
