"""Every command of the README runs as it stands there, on small files with the names it uses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

# Run by CI itself on a clean clone, or needing a package index or a screen.
RUN_ELSEWHERE = {"make demo", "make test", 'pip install "moeclip-med[napari]"', "napari"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def desk(tmp_path, dicom_folder, nifti_file):
    """A folder with the files that the README names."""
    (tmp_path / "study").symlink_to(dicom_folder, target_is_directory=True)
    (tmp_path / "brain.nii.gz").symlink_to(nifti_file)
    return tmp_path


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
