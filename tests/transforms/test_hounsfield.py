import numpy as np
import pytest
import torch
from moeclip_transforms import ImageType, Volume, fit_window

RANDOM = np.random.default_rng(4)


def ct(shape=(40, 40, 10)):
    """HU of a head: air around, skull, brain of 35."""
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij"))
    plane = np.where(radius < 0.6, 35.0, np.where(radius < 0.7, 900.0, -1000.0))
    return np.repeat(plane[:, :, None], shape[2], axis=2) + RANDOM.normal(0, 4, shape)


def window_of(values, **options):
    return fit_window(Volume.from_array(values.astype(np.float32), np.eye(4), **options), ImageType.CT_BRAIN)


@pytest.mark.parametrize("padding", [None, -2000.0, -3024.0])
def test_hu_keep_their_window_without_a_word(padding):
    values = ct()
    if padding is not None:
        values[:5] = padding
    window = window_of(values)
    assert (window.low, window.high, window.notes) == (0.0, 80.0, ())


def test_a_brain_without_air_and_a_lung_are_hu():
    brain = np.where(ct() > 300, 0, np.clip(ct(), 0, None))
    assert window_of(brain).notes == ()
    assert window_of(np.where(ct() > 0, ct(), -800.0)).notes == ()


@pytest.mark.parametrize("offset", [1024, 32768])
def test_offsets_are_recognised_and_told(offset):
    window = window_of((ct() + offset).clip(0))
    assert (window.low, window.high) == (float(offset), 80.0 + offset)
    assert f"HU + {offset}" in window.notes[0]
    shown = window.apply(torch.tensor([35.0 + offset, -1000.0 + offset]))
    assert shown.tolist() == pytest.approx([35 / 80, 0.0])


@pytest.mark.parametrize("scale", [lambda hu: (hu.clip(-1024, 3071) + 1024) / 4095, lambda hu: hu / 1000 * 50000])
def test_what_is_no_hu_is_never_shown_as_black(scale):
    values = scale(ct())
    window = window_of(values)
    assert "HU" in window.notes[0]
    assert float(window.apply(torch.from_numpy(values)).std()) > 0.1
