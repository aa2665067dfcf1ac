"""How often `score` opens its input files: once while it reads them, and never again for any result."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_COUNT_OPENINGS = """
import json, os, runpy, sys
from collections import Counter

openings = Counter()

def watch(event, arguments):
    if event == "open" and arguments[2] & os.O_ACCMODE == os.O_RDONLY:
        openings[str(arguments[0])] += 1

place, sys.argv = sys.argv[1], ["moeclip-med", *sys.argv[2:]]
sys.addaudithook(watch)
try:
    runpy.run_module("moeclip_med", run_name="__main__")
except SystemExit as ended:
    code = ended.code
with open(place, "w") as file:
    json.dump([code, {path: count for path, count in openings.items() if path.endswith(".dcm")}], file)
"""
_FORMATS = ["--results", "nifti,seg,sr,report"]


@pytest.fixture
def openings(tmp_path):
    """Run the command and return how often it opened each DICOM file for reading."""

    def run(*arguments):
        told = tmp_path / "openings.json"
        words = [sys.executable, "-c", _COUNT_OPENINGS, told, *arguments]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=120)
        code, counts = json.loads(told.read_text())
        assert not code, done.stderr
        return counts

    return run


def dicom_files(folder: Path, target: Path) -> Path:
    """The files of a folder, under names that can be counted."""
    target.mkdir()
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        shutil.copy(path, target / f"{number}.dcm")
    return target


def test_each_dicom_file_is_opened_once_for_all_results(openings, dicom_folder, tmp_path):
    study = dicom_files(dicom_folder, tmp_path / "study")
    counts = openings("score", study, "-o", tmp_path / "out", *_FORMATS, "--quiet")
    assert {path: counts.get(str(path)) for path in study.iterdir()} == dict.fromkeys(study.iterdir(), 1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"anomaly.nii.gz", "report.html"} <= names
    assert len([name for name in names if name.endswith(".dcm")]) == 2


def test_each_file_of_an_archive_is_opened_once_after_it_was_unpacked(openings, dicom_folder, tmp_path):
    study = dicom_files(dicom_folder, tmp_path / "study")
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", study)
    counts = openings("score", archive, "-o", tmp_path / "out", *_FORMATS, "--quiet")
    assert sorted(Path(path).name for path in counts) == sorted(path.name for path in study.iterdir())
    assert set(counts.values()) == {1}
