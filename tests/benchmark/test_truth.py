"""What masks say, in the forms that programs leave them in."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from moeclip_med.benchmark.datasets.truth import interpret

SHAPE = (40, 50, 12)
LESION = np.zeros(SHAPE, dtype=bool)
LESION[10:22, 15:30, 3:8] = True


def picture(mask, **options):
    """A mask as JPEG leaves it, (x, y, 1)."""
    buffer = io.BytesIO()
    Image.fromarray((mask * 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    return np.asarray(Image.open(buffer), dtype=np.float32)[..., None]


def disc(size=120, radius=30):
    rows, columns = np.mgrid[:size, :size]
    return (rows - 55) ** 2 + (columns - 62) ** 2 < radius**2


@pytest.mark.parametrize(
    "values",
    [
        LESION.astype(np.float32),
        np.where(LESION, 1.0, np.nan).astype(np.float32),
        np.where(LESION, 255, 0).astype(np.float32),
        np.where(LESION, 0.99998, 0.00003).astype(np.float32),
        np.where(LESION, 3, np.where(np.arange(12) > 9, -1, 0)).astype(np.float32),
        np.where(LESION, 3.2e-5, 0).astype(np.float32),
    ],
    ids=["plain", "NaN outside", "0 and 255", "stored with a slope", "-1 unknown", "tiny numbers"],
)
def test_binary_masks_of_all_kinds_say_the_same(values):
    np.testing.assert_array_equal(interpret(values).abnormal, LESION)


def test_nan_outside_is_no_inverted_mask():
    assert interpret(np.where(LESION, 1.0, np.nan).astype(np.float32)).remarks == ()


def test_the_overshoot_of_a_spline_and_probabilities_are_cut_at_half(tmp_path):
    spline = ndimage.shift(LESION.astype(np.float32), (0.4, 0.3, 0.2), order=3)
    soft = ndimage.gaussian_filter(LESION.astype(np.float32), 1.0)
    for values in (spline, soft):
        truth = interpret(values)
        assert abs(int(truth.abnormal.sum()) - int(LESION.sum())) < 0.15 * LESION.sum()
        assert "cut at" in truth.remarks[0]


@pytest.mark.parametrize("quality", [95, 75, 40])
def test_the_ringing_of_jpeg_is_no_lesion(quality):
    truth = interpret(picture(disc(), quality=quality))
    assert ndimage.label(truth.abnormal)[1] == 1
    assert np.count_nonzero(truth.abnormal[..., 0] != disc()) <= 0.01 * disc().sum()


def test_soft_edges_are_no_lesion():
    soft = np.clip(ndimage.gaussian_filter(disc() * 255.0, 1.5), 0, 255).astype(np.uint8).astype(np.float32)
    assert np.count_nonzero(interpret(soft[..., None]).abnormal[..., 0] != disc()) <= 0.02 * disc().sum()


@pytest.mark.parametrize("levels", [(0, 1, 2, 4), (0, 85, 170, 255), (0, 128, 255), (0, 7, 200)])
def test_label_pictures_keep_every_label(levels):
    labels = np.zeros((60, 60, 1), np.float32)
    for number, level in enumerate(levels[1:]):
        labels[10:30, 5 + 18 * number : 18 + 18 * number] = level
    truth = interpret(labels)
    np.testing.assert_array_equal(truth.abnormal, labels > 0)
    np.testing.assert_array_equal(interpret(labels, (levels[1],)).abnormal, labels == levels[1])


def test_labels_that_count_nowhere():
    values = np.where(LESION, 1, 0).astype(np.float32)
    values[:, :, 10:] = 255
    told = interpret(values)
    assert any("255" in remark for remark in told.remarks)
    truth = interpret(values, ignore_labels=(255, -1))
    np.testing.assert_array_equal(truth.abnormal, LESION)
    assert truth.ignored is not None
    np.testing.assert_array_equal(truth.ignored, values == 255)


def test_a_mask_that_is_nearly_all_lesion_is_told():
    assert "inverted" in interpret((~LESION[:, :, :9] | True).astype(np.float32)).remarks[0]


def test_an_empty_mask_is_a_normal_case():
    truth = interpret(np.zeros(SHAPE, np.float32))
    assert (truth.abnormal.any(), truth.remarks) == (False, ())


def test_an_image_given_as_mask_is_told():
    image = np.random.default_rng(4).integers(0, 200, SHAPE).astype(np.float32)
    image[LESION] = 150  # flat, as saturated tissue is
    truth = interpret(image)
    assert any("not few whole numbers" in remark for remark in truth.remarks)
    assert truth.abnormal.mean() < 0.6
