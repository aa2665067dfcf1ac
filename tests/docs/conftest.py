"""The folder of small files in which the blocks of a page run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moeclip_med.demo.files import write_nifti
from moeclip_med.weights.registry import find_folder

LEAST_OF_LESION = 700
HEALTHY_STUDIES = 19
"""So many are the fewest that can promise the default rate of one in twenty."""


@pytest.fixture
def desk(tmp_path, small_brain, dicom_folder, nifti_file):
    """A folder with the files that the pages name; blocks find there what those before them wrote."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "study").symlink_to(dicom_folder, target_is_directory=True)
    (folder / "brain.nii.gz").symlink_to(nifti_file)
    shutil.copytree(dicom_folder, folder / "archive" / "study")
    shutil.copytree(dicom_folder, folder / "demo" / "input" / "simulated_brain_dicom")
    shutil.copy(nifti_file, folder / "demo" / "input" / "simulated_brain.nii.gz")
    lesion = (small_brain[0] > LEAST_OF_LESION).astype(np.uint8)
    write_nifti(folder / "demo" / "input" / "simulated_brain_mask.nii.gz", lesion, small_brain[1])
    _write_healthy_studies(folder / "healthy", *small_brain)
    _write_images(folder / "images")
    shutil.copytree(find_folder("lite"), folder / "our-polyps", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _write_healthy_studies(folder: Path, image: np.ndarray, affine: np.ndarray) -> None:
    image, affine = image[:, :, ::6], affine @ np.diag([1, 1, 6, 1])
    for number in range(HEALTHY_STUDIES):
        noise = np.random.default_rng(number).integers(0, 30, image.shape)
        write_nifti(folder / f"{number}.nii.gz", np.minimum(image, 450) + noise.astype(np.int16), affine)


def _write_images(folder: Path) -> None:
    folder.mkdir()
    for number in range(4):
        grey = np.random.default_rng(number).integers(90, 110, (64, 64)).astype(np.uint8)
        mask = np.zeros_like(grey)
        if number % 2:
            mask[20:30, 30:40] = 255
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
        Image.fromarray(np.where(mask > 0, 220, grey).astype(np.uint8)).save(folder / f"{number}.png")
