"""A volume's image is MONAI's tensor for all who ask, and costs those who do not ask nothing."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from moeclip_transforms import ImageKind, read_volume
from moeclip_transforms.intensity import fit_image_window, fit_window
from monai.data.meta_tensor import MetaTensor

SCORE = """
import sys
from moeclip_med.cli.app import app
app(["score", sys.argv[1], "--output", sys.argv[2], "--quiet"], standalone_mode=False)
slow = {"monai", "torchvision", "timm", "open_clip", "matplotlib", "pandas", "sklearn"} & sys.modules.keys()
print("imported:", *sorted(slow))
"""


def test_the_image_is_a_meta_tensor_with_the_files_geometry(nifti_file, small_brain):
    volume = read_volume(nifti_file)
    plain, affine, meta = volume.voxels, volume.affine, volume.meta
    assert not isinstance(plain, MetaTensor)
    assert isinstance(volume.image, MetaTensor)
    assert volume.image is volume.image
    np.testing.assert_array_equal(volume.image.as_tensor(), small_brain[0][None].astype(np.float32))
    np.testing.assert_allclose(volume.image.affine, small_brain[1])
    np.testing.assert_array_equal(volume.image.affine, affine)
    assert volume.image.meta["space"] == meta["space"] == "RAS"
    assert volume.voxels.data_ptr() == plain.data_ptr()
    assert volume.shape == small_brain[0].shape


def test_both_forms_have_the_same_window(nifti_file):
    volume = read_volume(nifti_file)
    assert fit_window(volume, ImageKind.MR) == fit_image_window(volume.image, ImageKind.MR)


def test_a_volume_stays_frozen_and_can_be_copied_and_sent(nifti_file):
    volume = read_volume(nifti_file)
    with pytest.raises(FrozenInstanceError):
        volume.image = volume.voxels
    sent = pickle.loads(pickle.dumps(volume))  # noqa: S301 - our own
    assert torch.equal(sent.image.as_tensor(), volume.image.as_tensor())
    other = replace(volume, image=MetaTensor(torch.zeros(1, 2, 3, 4)))
    assert other.shape == (2, 3, 4)
    assert torch.equal(other.voxels, torch.zeros(1, 2, 3, 4))


def test_scoring_with_a_compiled_model_imports_no_slow_library(nifti_file, tmp_path):
    pytest.importorskip("openvino")
    for turn in ("compiles", "finds it compiled"):
        command = [sys.executable, "-c", SCORE, str(nifti_file), str(tmp_path / turn)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "imported:"
