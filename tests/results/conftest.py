"""Fixtures over the volumes of `result_cases`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pydicom
import pytest
from result_cases import (
    BLOBS,
    Blob,
    Written,
    clip_volume,
    dicom_volume,
    enhanced_volume,
    nifti_volume,
    photo_volume,
    score,
)

from moeclip_med.results import write_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """Results of a kind of source, written once: `written("oblique")`."""

    @cache
    def make(source: str) -> Written:
        folder = tmp_path_factory.mktemp(source)
        (folder / "in").mkdir()
        if source == "clip":
            anomaly = score(clip_volume(folder / "in"), (Blob((150, 100, 2), 20, 0.8),))
            formats = ["seg", "sr", "sc"]
        else:
            special = source == "enhanced"
            volume = enhanced_volume(folder / "in") if special else dicom_volume(folder / "in", source)
            anomaly = score(volume, BLOBS)
            formats = ["seg", "pm", "sr", "sc", "rtstruct"]
        paths = write_results(anomaly, folder / "out", formats).files
        files = dict.fromkeys(frame.path for frame in anomaly.volume.frames)
        headers = tuple(pydicom.dcmread(path, stop_before_pixels=True) for path in files)
        return Written(anomaly, paths, headers)

    return make


@pytest.fixture
def nifti_anomaly(tmp_path: Path) -> AnomalyVolume:
    """A scored NIfTI head with two findings."""
    source = tmp_path / "in"
    source.mkdir()
    return score(nifti_volume(source), BLOBS)


@pytest.fixture
def photo_anomaly(tmp_path: Path) -> AnomalyVolume:
    """A scored photograph with one finding."""
    return score(photo_volume(tmp_path), (Blob((90, 50, 0), 14, 0.83),))


@pytest.fixture
def dicom_anomaly(tmp_path: Path) -> Callable[..., AnomalyVolume]:
    """Make a scored DICOM series with two findings: `dicom_anomaly("oblique")`."""

    def make(orientation: str = "axial", blobs: tuple[Blob, ...] = BLOBS) -> AnomalyVolume:
        folder = tmp_path / f"in_{orientation}"
        folder.mkdir()
        return score(dicom_volume(folder, orientation), blobs)

    return make


@pytest.fixture
def small_anomaly(tmp_path: Path) -> AnomalyVolume:
    """A scored DICOM series of four small slices with one finding."""
    folder = tmp_path / "in_small"
    folder.mkdir()
    return score(dicom_volume(folder, "axial", (24, 20, 4)), (Blob((12, 10, 1), 3, 0.9),))
