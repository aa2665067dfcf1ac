"""Every command of the README runs as it stands there, on small files with the names it uses."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moeclip_med.demo.files import write_nifti

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

HEALTHY_STUDIES = 19
"""So many are the fewest that can promise the default rate of one in twenty."""

# Run by CI itself on a clean clone, or needing a package index or a screen.
RUN_ELSEWHERE = {"make demo", "make test", 'pip install "moeclip-med[napari]"', "napari"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, small_brain, dicom_folder, nifti_file):
    """A folder with the files that the README names; commands find there what those before them wrote."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "study").symlink_to(dicom_folder, target_is_directory=True)
    (folder / "brain.nii.gz").symlink_to(nifti_file)
    shutil.copytree(dicom_folder, folder / "archive" / "study")
    image, affine = small_brain
    image, affine = image[:, :, ::3], affine @ np.diag([1, 1, 3, 1])
    for number in range(HEALTHY_STUDIES):
        noise = np.random.default_rng(number).integers(0, 30, image.shape)
        write_nifti(folder / "healthy" / f"{number}.nii.gz", np.minimum(image, 450) + noise.astype(np.int16), affine)
    _write_images(folder / "images")
    return folder


def _write_images(folder):
    folder.mkdir()
    for number in range(4):
        grey = np.random.default_rng(number).integers(90, 110, (64, 64)).astype(np.uint8)
        mask = np.zeros_like(grey)
        if number % 2:
            mask[20:30, 30:40] = 255
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
        Image.fromarray(np.where(mask > 0, 220, grey).astype(np.uint8)).save(folder / f"{number}.png")


def test_every_command_is_run_here_or_known_to_be_run_elsewhere():
    ours = {line for line in commands() if line.startswith("moeclip-med ")}

    assert ours
    assert set(commands()) - ours == RUN_ELSEWHERE


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("moeclip-med ")])
def test_command(command, desk, line):
    done = command(*shlex.split(line)[1:], cwd=desk)

    assert done.returncode == 0, done.stderr


def test_python(desk):
    (code,) = blocks("python")

    done = subprocess.run([sys.executable, "-c", code], cwd=desk, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(40, 48, 24)")


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (Path(__file__).parents[2] / link).exists()
