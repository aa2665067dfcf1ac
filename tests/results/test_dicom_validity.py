"""The DICOM results evaluated by programs that others wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from moeclip_transforms import open_source
from result_cases import SOURCES, Blob, score

from moeclip_med.results import write_results

EXPLAINED: dict[str, str] = {
    "</DeidentificationMethod(0012,0063)> - Empty attribute": "copied from the real head CT, where it is empty too",
}
"""Errors of dciodvfy that are not ours, with the reason. Results of the made-up sources have none at all."""

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed"
)
needs_dcmdump = pytest.mark.skipif(
    shutil.which("dcmdump") is None, reason="dcmdump (Debian package dcmtk) is not installed"
)


def files_of(paths):
    captures = sorted(paths["sc"].iterdir()) if "sc" in paths else []
    return [path for fmt, path in paths.items() if fmt != "sc"] + captures[:1] + captures[-1:]


def errors(path, explained=()):
    """What dciodvfy calls an error in a file, save for the explained ones."""
    result = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    return [line for line in lines if "Error" in line and not any(known in line for known in explained)]


@needs_dciodvfy
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(written, source):
    for path in files_of(written(source).paths):
        assert errors(path) == [], path.name


@needs_dciodvfy
def test_dciodvfy_would_find_one(written, tmp_path):
    dataset = written("axial").read("seg")
    del dataset.SegmentationType
    dataset.save_as(tmp_path / "broken.dcm")
    assert any("SegmentationType" in line for line in errors(tmp_path / "broken.dcm"))


@needs_dcmdump
@pytest.mark.parametrize("source", SOURCES)
def test_dcmtk_parses_every_file(written, source):
    for path in files_of(written(source).paths):
        result = subprocess.run(["dcmdump", "-q", path], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert "MoECLIP-Med" in result.stdout


SHARED = os.environ.get("MOECLIP_SHARED")


@pytest.mark.skipif(SHARED is None, reason="MOECLIP_SHARED does not name a folder with real series")
@needs_dciodvfy
def test_a_real_tilted_head_ct(tmp_path):
    with open_source(Path(SHARED) / "data" / "dicom" / "ct_head_gantry_tilt.zip") as source:
        series = next(series for series in source.series if not series.skip_reason)
        volume = source.read(series)
        x, y, z = volume.shape
        anomaly = score(volume, (Blob((x * 0.4, y * 0.5, z // 2), 30, 0.9),))
        paths = write_results(anomaly, tmp_path / "out", ["nifti", "report", "seg", "pm", "sr", "sc"]).files
    for path in files_of({fmt: path for fmt, path in paths.items() if fmt not in {"nifti", "report"}}):
        assert errors(path, EXPLAINED) == [], path.name


def test_the_reader_does_not_take_results_for_images(written):
    result = written("axial")
    with open_source(result.paths["seg"].parent) as source:
        assert len(source.series) >= 1
        assert all(series.skip_reason for series in source.series)
