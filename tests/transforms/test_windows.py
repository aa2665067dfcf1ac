import tracemalloc

import numpy as np
import pytest
import torch
from moeclip_transforms import Affine, FileFormat, ImageType, Series, Volume, Window, fit_window
from moeclip_transforms.volume import SourceRef


def volume_of(array, **facts):
    data = torch.as_tensor(np.asarray(array, dtype=np.float32))
    data = data[None] if data.ndim == 3 else data
    series = Series("1", FileFormat.NIFTI, (), "", ImageType.MR, "", (*data.shape[1:], 1), len(data))
    return Volume(data, Affine(np.eye(4)), SourceRef(series, ""), **facts)


@pytest.mark.parametrize(
    ("image_type", "low", "high"),
    [
        (ImageType.CT_BRAIN, 0, 80),
        (ImageType.CT_SOFT_TISSUE, -160, 240),
        (ImageType.CT_LUNG, -1350, 150),
    ],
)
def test_ct_windows_are_fixed_in_hu(image_type, low, high):
    for content in (np.zeros((2, 2, 2)), np.full((2, 2, 2), 3000)):
        window = fit_window(volume_of(content), image_type)
        assert (window.low, window.high) == (low, high)
    hounsfield = torch.tensor([low - 1000.0, low, (low + high) / 2, high, high + 1000])
    assert window.apply(hounsfield).tolist() == [0, 0, 0.5, 1, 1]
    assert window.foreground(torch.tensor([-1000.0, -100.0, 40.0])).tolist() == [False, True, True]


def test_what_is_not_finite_becomes_zero():
    values = torch.tensor([np.nan, np.inf, -np.inf, 5.0])
    window = Window(0, 10)
    assert window.apply(values).tolist() == [0, 0, 0, 0.5]
    assert window.foreground(values).tolist() == [False, False, False, True]
    assert values[3] == 5  # the input is left as it was


def test_fitting_a_window_copies_no_volume():
    voxels = np.random.default_rng(0).normal(100, 20, (128, 128, 128)).astype(np.float32)
    volume = volume_of(voxels.transpose(2, 1, 0))  # as memory holds DICOM slices
    tracemalloc.start()
    fit_window(volume, ImageType.MR)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < voxels.nbytes / 2  # one mask of the whole is a quarter


def test_numpy_and_torch_agree():
    values = np.linspace(-1, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    window = Window(0, 1, background=values[0, 0, 0])
    out = window.apply(values)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, window.apply(torch.from_numpy(values)).numpy())


def test_constant_volume_becomes_zero():
    volume = volume_of(np.full((4, 4, 4), 7))
    window = fit_window(volume, ImageType.MR)
    assert not window.apply(volume.tensor).any()
    assert not window.foreground(volume.tensor).any()


def test_volume_of_nan_becomes_zero():
    volume = volume_of(np.full((4, 4, 4), np.nan))
    assert not fit_window(volume, ImageType.MR).apply(volume.tensor).any()


def test_percentiles_are_those_of_the_tissue_not_of_the_air():
    generator = np.random.default_rng(1)
    air = np.abs(generator.normal(0, 4, size=(60, 60, 20)))
    tissue = generator.uniform(200, 800, size=(30, 30, 20))
    array = air.copy()
    array[15:45, 15:45] = tissue
    window = fit_window(volume_of(array), ImageType.MR)
    assert 8 < window.foreground_above < 200  # above two standard deviations of the air
    foreground = array[array > window.foreground_above]
    assert len(foreground) == pytest.approx(tissue.size, rel=0.02)
    assert window.low == pytest.approx(np.percentile(foreground, 0.5), abs=1)
    assert window.high == pytest.approx(np.percentile(foreground, 99.5), abs=1)
    assert np.percentile(window.apply(torch.from_numpy(air)).numpy(), 99.9) < 0.01


def test_masked_background_is_left_out_even_in_the_middle_of_the_range():
    generator = np.random.default_rng(2)
    brain = generator.normal(0, 1, size=(20, 20, 20))
    array = np.zeros((40, 40, 40))  # z-scored, skull-stripped: the background is 0, the mean of the brain as well
    array[10:30, 10:30, 10:30] = brain
    window = fit_window(volume_of(array), ImageType.MR)
    assert window.background == 0
    assert window.low == pytest.approx(np.percentile(brain, 0.5), abs=0.02)
    assert window.high == pytest.approx(np.percentile(brain, 99.5), abs=0.02)
    assert window.apply(torch.zeros(3)).tolist() == [0, 0, 0]


def test_window_does_not_depend_on_orientation():
    generator = np.random.default_rng(3)
    array = np.abs(generator.normal(0, 5, size=(24, 20, 16)))
    array[4:12, 4:12, 4:12] += 300
    expected = fit_window(volume_of(array), ImageType.MR)
    for axes in ((2, 1, 0), (1, 0, 2)):
        assert fit_window(volume_of(array.transpose(axes)[::-1].copy()), ImageType.MR) == expected


def test_photographs_keep_their_stored_range():
    volume = volume_of(np.full((3, 4, 4, 1), 51), display_range=(0.0, 255.0))
    for image_type in (ImageType.PLAIN, ImageType.ENDOSCOPY, ImageType.OCT):
        window = fit_window(volume, image_type)
        assert (window.low, window.high) == (0, 255)
    assert float(window.apply(volume.tensor).max()) == pytest.approx(0.2)
    assert window.foreground(torch.tensor([0.0, 5.0, 60.0])).tolist() == [False, False, True]


def test_one_outlier_does_not_darken_the_rest():
    array = np.random.default_rng(4).uniform(100, 200, size=(30, 30, 30))
    array[0, 0, 0] = 1e6
    window = fit_window(volume_of(array), ImageType.MR)
    assert window.high < 300
