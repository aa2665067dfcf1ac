"""A volume is eager, frozen and comparable, comes from files and from arrays, and becomes MONAI's tensor when asked."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms import Affine, ImageType, InputError, Volume, read_volume
from moeclip_transforms.intensity import fit_image_window, fit_window
from monai.data.meta_tensor import MetaTensor

SCORE = """
import sys
from moeclip_med.cli.app import app
app(["score", sys.argv[1], "--output", sys.argv[2], "--quiet"], standalone_mode=False)
slow = {"monai", "torchvision", "timm", "open_clip", "matplotlib", "pandas", "sklearn"} & sys.modules.keys()
print("imported:", *sorted(slow))
"""


def test_monai_gets_the_same_values_and_the_files_geometry(nifti_file, small_brain):
    volume = read_volume(nifti_file)
    image = volume.to_monai()
    assert not isinstance(volume.tensor, MetaTensor)
    assert isinstance(image, MetaTensor)
    assert image.data_ptr() == volume.tensor.data_ptr()
    np.testing.assert_array_equal(image.as_tensor(), small_brain[0][None].astype(np.float32))
    np.testing.assert_allclose(image.affine, small_brain[1])
    np.testing.assert_array_equal(image.affine, volume.affine.matrix)
    assert image.meta["space"] == "RAS"


def test_both_forms_have_the_same_window(nifti_file):
    volume = read_volume(nifti_file)
    assert fit_window(volume, ImageType.MR) == fit_image_window(volume.to_monai(), ImageType.MR)


def test_a_volume_stays_frozen_and_can_be_sent(nifti_file):
    volume = read_volume(nifti_file)
    with pytest.raises(FrozenInstanceError):
        volume.tensor = torch.zeros(1, 2, 3, 4)
    sent = pickle.loads(pickle.dumps(volume))  # noqa: S301 - our own
    assert sent == volume
    assert hash(sent) == hash(volume)


def test_volumes_are_equal_when_values_geometry_and_source_are(nifti_file):
    volume = read_volume(nifti_file)
    assert volume == read_volume(nifti_file)
    moved = volume.affine.matrix.copy()
    moved[0, 3] += 1
    assert volume != replace(volume, affine=Affine(moved))
    assert volume != replace(volume, tensor=volume.tensor + 1)
    assert volume != replace(volume, source=replace(volume.source, time_point=1))
    assert volume != replace(volume, padding_mask=np.zeros(volume.shape, dtype=bool))
    assert volume != "a volume"


def test_shown_in_a_shell_a_volume_is_one_line_without_names(write_series):
    folder = write_series([0, 1, 2])
    shown = repr(read_volume(folder))
    assert "(1, 8, 6, 3)" in shown
    assert "0.25 × 0.5 × 1 mm" in shown
    assert " mm" not in repr(Volume.from_array(np.zeros((4, 4, 2))))
    assert "\n" not in shown
    assert "secret" not in shown
    assert folder.name not in shown


def test_values_that_are_not_numbers_are_equal_to_themselves():
    array = np.array([[[1.0, np.nan]]])
    assert Volume.from_array(array) == Volume.from_array(array.copy())


def test_an_array_is_a_volume_in_one_line(small_brain):
    array, affine = small_brain
    volume = Volume.from_array(array, affine, image_type="mr")
    assert volume.shape == array.shape
    assert volume.affine == Affine(affine)
    assert volume.has_orientation
    assert volume.series.image_type is ImageType.MR
    np.testing.assert_array_equal(volume.array[0], array.astype(np.float32))


def test_without_an_affine_there_is_no_orientation():
    volume = Volume.from_array(np.random.default_rng(0).random((5, 6)))
    assert volume.shape == (5, 6, 1)
    assert not volume.has_orientation
    assert volume.affine == Affine(np.eye(4))


def test_a_photograph_of_bytes_keeps_its_range():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    volume = Volume.from_array(pixels, image_type="endoscopy", axes="yxc")
    assert volume.shape == (9, 7, 1)
    assert volume.display_range == (0.0, 255.0)
    np.testing.assert_array_equal(volume.array[:, :, :, 0], pixels.transpose(2, 1, 0))


@given(st.permutations("cxyz"), st.sampled_from([1, 3]))
def test_named_axes_come_in_any_order(axes, channels):
    sizes = {"c": channels, "x": 4, "y": 5, "z": 6}
    array = np.arange(channels * 120).reshape([sizes[axis] for axis in axes])
    volume = Volume.from_array(array, axes="".join(axes))
    np.testing.assert_array_equal(volume.array, array.transpose([axes.index(axis) for axis in "cxyz"]))


def test_monais_tensor_and_torchs_come_back(nifti_file):
    volume = read_volume(nifti_file)
    again = Volume.from_array(volume.to_monai())
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.affine == volume.affine
    assert again.slice_axis == volume.slice_axis
    assert again.series.image_type is volume.series.image_type
    plain = Volume.from_array(volume.tensor, volume.affine)
    np.testing.assert_array_equal(plain.array, volume.array)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_simpleitk_image_keeps_its_place(dimension):
    rng = np.random.default_rng(1)
    image = SimpleITK.GetImageFromArray(rng.random((5, 6, 7)[-dimension:]).astype(np.float32))
    image.SetSpacing((2.0, 3.0, 4.0)[:dimension])
    image.SetOrigin((10.0, 20.0, 30.0)[:dimension])
    volume = Volume.from_array(image)
    index = (3, 2, 1)[:dimension]
    assert float(volume.array[0][(*index, 0)[:3]]) == image.GetPixel(index)
    lps = np.array([*image.TransformIndexToPhysicalPoint(index), 0.0])[:3]
    ras = volume.affine.to_world([*index, 0][:3]) * [-1, -1, 1]
    np.testing.assert_allclose(ras[:dimension], lps[:dimension])
    assert volume.has_orientation == (dimension == 3)


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.zeros((2, 3, 4, 5)), {}, "2 channels"),
        (np.zeros((3, 4)), {"axes": "xyz"}, '"xyz"'),
        (np.zeros(5), {}, "1 axes"),
        (np.zeros((3, 0, 4)), {}, "3×0×4"),
        (np.zeros((3, 4), dtype=np.complex64), {}, "complex64"),
        (np.zeros((3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), {}, "'R'"),
        (np.ones((3, 4, 5)), {"affine": np.zeros((4, 4))}, "singular"),
        (np.ones((3, 4, 5)), {"image_type": "x-ray"}, '"x-ray"'),
        (np.ones((3, 4, 5)), {"slice_axis": 4}, "expected 0, 1 or 2"),
    ],
)
def test_what_is_no_image_is_refused(array, options, words):
    with pytest.raises(InputError, match=words):
        Volume.from_array(array, **options)


def test_the_files_are_hashed_whatever_their_names(nifti_file, tmp_path):
    copy = tmp_path / "other_name.nii.gz"
    copy.write_bytes(nifti_file.read_bytes())
    assert read_volume(copy).source.sha256 == read_volume(nifti_file).source.sha256


@pytest.mark.slow
def test_scoring_with_a_compiled_model_imports_no_slow_library(nifti_file, tmp_path):
    pytest.importorskip("openvino")
    for turn in ("compiles", "finds it compiled"):
        command = [sys.executable, "-c", SCORE, str(nifti_file), str(tmp_path / turn)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "imported:"
