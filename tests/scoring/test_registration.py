"""A known rigid motion is found again, and what is said of a fit is true of it."""

from dataclasses import replace

import numpy as np
import pytest
from moeclip_transforms import Affine, ImageType
from moeclip_transforms.errors import InputError
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from moeclip_med.scoring.registration import measure_fit, register, resample

SHAPE = (56, 64, 48)
SPACING = 3.0


@pytest.fixture(scope="module")
def head():
    """A soft ellipsoid with an uneven inside, (x, y, z)."""
    x, y, z = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    texture = gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 3)
    inside = (x / 0.7) ** 2 + (y / 0.8) ** 2 + ((z + 0.1) / 0.75) ** 2 < 1
    return gaussian_filter(np.where(inside, 100 + 60 * texture / texture.std(), 0.0), 0.7).astype(np.float32)


@pytest.fixture
def placed(make_volume):
    matrix = np.diag([SPACING] * 3 + [1.0])
    matrix[:3, 3] = -SPACING * (np.asarray(SHAPE) - 1) / 2

    def make(array, affine=matrix, **changes):
        return make_volume(array, affine, **changes)

    return make


def motion(degrees, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [((4, -3, 6), (5, -8, 4)), ((0, 0, 12), (40, 0, -25)), ((-10, 5, 0), (0, 300, 0))],
    ids=["small", "large", "another frame of reference"],
)
def test_a_known_motion_is_found_within_1_mm_and_1_degree(head, placed, degrees, shift):
    true = motion(degrees, shift)
    current = placed(head)
    noise = np.random.default_rng(1).normal(scale=3, size=SHAPE)
    prior = placed(2 * head + noise, true @ current.affine.matrix)  # the same voxels, elsewhere in the world
    fit = register(current, prior)
    wrong = np.linalg.inv(true) @ fit.to_prior.matrix
    corners = np.array([[a, b, c] for a in (-60, 60) for b in (-60, 60) for c in (-60, 60)], dtype=float)
    assert np.linalg.norm(corners @ wrong[:3, :3].T + wrong[:3, 3] - corners, axis=1).max() < 1.0
    assert np.degrees(np.arccos(np.clip((np.trace(wrong[:3, :3]) - 1) / 2, -1, 1))) < 1.0
    assert fit.is_registered
    assert fit.rotation_degrees == pytest.approx(Rotation.from_matrix(true[:3, :3]).magnitude() * 180 / np.pi, abs=1)
    assert fit.correlation > 0.95
    stored = measure_fit(current, prior)
    assert (stored.mutual_information or 0) < fit.mutual_information


def test_images_that_fit_stay_where_they_are(head, placed):
    fit = register(placed(head), placed(3 * head + 5))
    assert fit.shift_mm < 0.2
    assert fit.rotation_degrees < 0.2
    assert fit.correlation == pytest.approx(1, abs=0.01)


def test_the_same_images_give_the_same_motion(head, placed):
    current, prior = placed(head), placed(head, motion((2, 0, 3), (4, 0, 0)) @ placed(head).affine.matrix)
    first, again = register(current, prior), register(current, prior)
    np.testing.assert_allclose(first.to_prior.matrix, again.to_prior.matrix, atol=1e-6)
    assert first.mutual_information == pytest.approx(again.mutual_information, abs=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_a_prior_on_another_grid_is_resampled_to_its_place(head, placed, axes):
    current = placed(head)
    matrix = current.affine.matrix[:, [*axes, 3]]
    other = placed(head.transpose(axes)[::-1].copy(), matrix @ _flip_first(head.transpose(axes).shape))
    moved = resample(other.array[0], other.affine, current, Affine(np.eye(4)))
    np.testing.assert_allclose(moved, head, atol=1e-3)
    assert moved.dtype == np.float32


def _flip_first(shape):
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, shape[0] - 1
    return flip


def test_labels_are_never_mixed_and_0_outside(head, placed):
    current = placed(head)
    labels = np.where(head > 50, 7, 0).astype(np.uint16)
    moved = resample(labels, current.affine, current, Affine(motion((0, 0, 0), (31, 0, 0))), is_labels=True)
    assert set(np.unique(moved)) == {0, 7}
    assert not moved[-10:].any()


def test_nothing_is_said_of_a_fit_without_overlap(head, placed):
    far = placed(head, motion((0, 0, 0), (2000, 0, 0)) @ placed(head).affine.matrix)
    fit = measure_fit(placed(head), far)
    assert (fit.overlap, fit.correlation, fit.mutual_information) == (0, None, None)


@pytest.mark.parametrize("change", [{"has_orientation": False}, {"image_type": ImageType.ENDOSCOPY}])
def test_photographs_have_no_place_beside_another(head, placed, change):
    array = np.stack([head] * 3) if "image_type" in change else head
    with pytest.raises(InputError, match="patient coordinates"):
        register(placed(head), placed(array, **change))
    assert replace(measure_fit(placed(head), placed(head)), is_registered=True).shift_mm == 0
