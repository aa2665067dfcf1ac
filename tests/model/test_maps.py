"""Aggregation, token inputs and the anomaly map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moeclip_transforms.errors import InputError
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional

from moeclip_med.model.aggregation import (
    MirrorTwins,
    average_window,
    level_features,
    nearest_distance,
    token_width,
)
from moeclip_med.model.architecture import BlurSpec
from moeclip_med.model.patch_intensity import MIRROR_CHANNELS, OWN_CHANNELS
from moeclip_med.model.similarity import AnomalyMap, anomaly_of_tokens, gaussian_taps, patch_logits

ALL_INPUTS = ("normalised", "surroundings", "mirror", "mirror_magnitude", "asymmetry", "mirror_nearest")


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer_norm(tokens):
    return functional.layer_norm(tokens, tokens.shape[-1:])


@pytest.mark.parametrize("side", [1, 3, 5])
def test_windows_average_with_the_outside_taken_as_zero(side):
    patches = noise(2, 6, 7, 4)
    averaged = average_window(patches, side)
    reach = side // 2
    padded = functional.pad(patches, (0, 0, reach, reach, reach, reach))
    expected = padded[1, 0:side, 2 : 2 + side].mean(dim=(0, 1))
    torch.testing.assert_close(averaged[1, 0, 2], expected)
    assert averaged.shape == patches.shape


def test_surroundings_do_not_count_the_outside():
    flat = torch.full((1, 5, 5, 2), 3.0)
    torch.testing.assert_close(average_window(flat, 5, count_padding=False), flat)


def features(patches, inputs=ALL_INPUTS, windows=(1, 3)):
    twins = MirrorTwins(patches.flip(2))
    return level_features(patches, layer_norm, windows=windows, inputs=inputs, surroundings=3, twins=twins)


def test_named_inputs_lie_side_by_side():
    patches = noise(2, 6, 6, 4)
    first, second = features(patches)
    assert first.shape == second.shape == (2, 6, 6, token_width(ALL_INPUTS, 4))
    torch.testing.assert_close(first[..., :4], layer_norm(patches))
    torch.testing.assert_close(second[..., :4], layer_norm(average_window(patches, 3)))
    mirror, magnitude, asymmetry = first[..., 8:12], first[..., 12:16], first[..., 16]
    torch.testing.assert_close(mirror.abs(), magnitude)
    torch.testing.assert_close(asymmetry[:, 0, 0], magnitude.mean(dim=(1, 2, 3)))
    nearest = first[..., 17]
    assert (nearest >= 0).all()
    assert (nearest <= magnitude.mean(dim=-1) + 1e-6).all()


def test_the_most_alike_twin_may_lie_one_patch_off_and_no_further():
    patches = torch.zeros(1, 7, 7, 2)
    patches[0, 3, 2] = 4.0
    assert nearest_distance(patches, patches.roll((1, 1), dims=(1, 2)))[0, 3, 2] == 0
    assert nearest_distance(patches, patches.roll(2, dims=2))[0, 3, 2] == 4
    assert nearest_distance(patches, patches).max() == 0


def test_the_mirror_image_mirrors_the_comparison():
    patches = noise(1, 4, 6, 3)
    (original,) = features(patches, ("mirror",), (1,))
    (flipped,) = features(patches.flip(2), ("mirror",), (1,))
    torch.testing.assert_close(flipped, -original)


def test_where_the_mirror_does_not_count_nothing_of_it_is_seen():
    patches, intensity = noise(2, 4, 6, 3), noise(2, 4, 6, OWN_CHANNELS + MIRROR_CHANNELS, seed=1)
    inputs = ("mirror", "mirror_magnitude", "asymmetry", "mirror_nearest", "intensity_mirror", "mirror_counts")
    (seen,) = level_features(
        patches,
        layer_norm,
        windows=(1,),
        inputs=inputs,
        surroundings=None,
        intensity=intensity,
        twins=MirrorTwins(noise(2, 4, 6, 3, seed=2), torch.tensor([1.0, 0.0])),
    )
    assert seen.shape[-1] == token_width(inputs, 3)
    assert (seen[0, ..., -1] == 1).all()
    assert (seen[0, ..., :-1].abs().amax(dim=(0, 1)) > 0).all()
    assert (seen[1] == 0).all()


def test_symmetric_patches_have_no_mirror_difference_and_a_blank_image_stays_finite():
    half = noise(1, 4, 3, 3)
    (mirror,) = features(torch.cat([half, half.flip(2)], dim=2), ("mirror",), (1,))
    assert mirror.abs().max() < 1e-5
    (blank,) = features(torch.zeros(1, 4, 4, 3), ALL_INPUTS, (1,))
    assert torch.isfinite(blank).all()


def test_the_anomaly_of_a_token_is_that_of_its_logits():
    projected, text = noise(2, 3, 3, 8), functional.normalize(noise(8, 2, seed=1), dim=0)
    normal, abnormal = patch_logits(functional.normalize(projected, dim=-1), text, 100.0).unbind(dim=1)
    torch.testing.assert_close(anomaly_of_tokens(projected, text, 100.0), (abnormal + 1 - normal) / 2)


def test_prompts_may_differ_between_images():
    tokens, texts = functional.normalize(noise(2, 3, 3, 8), dim=-1), functional.normalize(noise(2, 8, 2, seed=1), dim=1)
    together = patch_logits(tokens, texts, 100.0)
    for index in range(2):
        torch.testing.assert_close(together[index], patch_logits(tokens[index : index + 1], texts[index], 100.0)[0])


@settings(max_examples=20)
@given(st.integers(6, 12), st.integers(6, 40), st.booleans())
def test_summing_first_equals_blurring_and_resizing_each_map(grid, size, aligned):
    fuse = AnomalyMap(grid, size, BlurSpec(9, 1.5), corners_aligned=aligned)
    maps = [noise(2, grid, grid, seed=seed) for seed in range(3)]
    each = torch.stack([fuse([item]) for item in maps]).sum(dim=0)
    torch.testing.assert_close(fuse(maps), each, atol=1e-5, rtol=1e-5)


def test_the_blur_reflects_the_border_without_repeating_the_edge():
    image = noise(1, 12, 12)
    blurred = AnomalyMap(12, 12, BlurSpec(9, 1.5), corners_aligned=True)([image])
    # The kernel of 9 taps reaches 4 patches, 4 / 1.5 standard deviations.
    expected = image[0].numpy()
    for axis in (0, 1):
        expected = gaussian_filter1d(expected, 1.5, axis=axis, mode="mirror", truncate=4 / 1.5)
    torch.testing.assert_close(blurred[0], torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    assert gaussian_taps(BlurSpec(7, 1.0)).sum() == pytest.approx(1)


def test_coarser_levels_are_brought_to_the_finest_grid():
    fuse = AnomalyMap(8, 32, None, corners_aligned=False)
    fine, coarse = torch.zeros(1, 8, 8), torch.full((1, 2, 2), 0.5)
    torch.testing.assert_close(fuse([fine, coarse]), torch.full((1, 32, 32), 0.5))


def test_a_blur_wider_than_the_grid_is_refused():
    with pytest.raises(InputError, match="kernel of 9 .*grid of 4 patches; use a larger image"):
        AnomalyMap(4, 32, BlurSpec(9, 1.5), corners_aligned=True)
