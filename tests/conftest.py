"""Fixtures that several packages use: small simulated files of real formats, and the commands as a user runs them.

Property tests draw the same examples in every run (profile `ci`); `make explore` draws new ones (profile `explore`).
No example has a deadline: a busy machine would fail it by chance.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from typer.testing import CliRunner
from windows import refuse_open_files, write_crlf

from moeclip_med.cli.logs import shown_on_terminal
from moeclip_med.demo.files import write_dicom_series, write_nifti

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _logger_as_it_was():
    """A command run in this process sets up the package's logger: the next test finds it as it was."""
    logger = logging.getLogger("moeclip_med")
    before = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large reference data, where there is one; tests that need it are skipped otherwise."""
    place = os.environ.get("MOECLIP_SHARED")
    if not place:
        pytest.skip("set MOECLIP_SHARED to the folder of reference data to run this test")
    return Path(place)


@pytest.fixture(scope="session")
def small_brain() -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with a bright, off-centre lesion: (x, y, z) int16 and its RAS+ affine, 4 mm voxels."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 48, 24)], indexing="ij"))
    random = np.random.default_rng(1)
    body = ((grid / np.array([0.8, 0.9, 0.95])[:, None, None, None]) ** 2).sum(axis=0) < 1
    lesion = ((grid - np.array([0.35, -0.2, 0.1])[:, None, None, None]) ** 2).sum(axis=0) < 0.16**2
    image = body * (400 + 20 * random.standard_normal(body.shape)) + lesion * 500
    affine = np.diag([4.0, 4.0, 6.0, 1.0])
    affine[:3, 3] = [-80, -96, -72]
    return np.clip(image, 0, 2000).astype(np.int16), affine


@pytest.fixture(scope="session")
def nifti_file(small_brain, tmp_path_factory) -> Path:
    """The small brain as NIfTI."""
    path = tmp_path_factory.mktemp("nifti") / "brain.nii.gz"
    write_nifti(path, *small_brain)
    return path


@pytest.fixture(scope="session")
def dicom_folder(small_brain, tmp_path_factory) -> Path:
    """The small brain as a DICOM MR series."""
    folder = tmp_path_factory.mktemp("dicom") / "study"
    write_dicom_series(folder, *small_brain, "SIMULATED lesion")
    return folder


@pytest.fixture
def command():
    """Return a function that runs `moeclip-med` in a process of its own, as a user does."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "moeclip_med", *[str(argument) for argument in arguments]],
            capture_output=True,
            text=True,
            check=False,
            **{"timeout": 120, **options},
        )

    return run


@pytest.fixture
def invoke():
    """Return a function that runs `moeclip-med` in this process; errors are raised, messages are in `stderr`."""
    from moeclip_med.cli.app import app

    def run(*arguments):
        words = [str(argument) for argument in arguments]
        with shown_on_terminal():
            return CliRunner(env={"COLUMNS": "200"}).invoke(app, words, catch_exceptions=False)

    return run


@pytest.fixture
def windows_files(monkeypatch):
    """For this test, a file that is open can be neither renamed nor deleted, as on Windows."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to see which files are open")
    refuse_open_files(monkeypatch)


@pytest.fixture
def windows_newlines(monkeypatch):
    """For this test, text files get the line ends of Windows."""
    write_crlf(monkeypatch)
