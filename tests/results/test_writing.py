"""Results are put in place together; one that fails costs itself alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from moeclip_transforms import read_volume
from moeclip_transforms.errors import InputError
from result_cases import Blob, score
from sentences import facts, lacking

from moeclip_med.results import ResultFormat, result_notes, write_results
from moeclip_med.results import nifti as nifti_writer
from moeclip_med.results.formats import RESULT_NAMES

PLAIN = (ResultFormat.NIFTI, ResultFormat.CSV, ResultFormat.JSON, ResultFormat.RUN)


def test_the_results_of_a_zip_need_no_file_of_it(dicom_folder, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", dicom_folder))
    anomaly = score(read_volume(archive), (Blob((20, 24, 12), 3.0, 0.9),))
    archive.unlink()
    wanted = (ResultFormat.NIFTI, ResultFormat.SEG, ResultFormat.SR, ResultFormat.REPORT)
    assert set(write_results(anomaly, tmp_path / "out", wanted).files) == {str(name) for name in wanted}


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_returns_the_path_of_every_file_and_leaves_nothing_else(nifti_anomaly, tmp_path):
    folder = tmp_path / "deep" / "out"
    written = write_results(nifti_anomaly, folder, PLAIN).files
    assert written == {
        "nifti": folder / "anomaly.nii.gz",
        "csv": folder / "findings.csv",
        "json": folder / "findings.json",
        "run": folder / "run.json",
    }
    assert all(path.is_file() for path in written.values())
    assert listing(folder.parent) == ["out"]
    assert listing(folder) == ["anomaly.nii.gz", "findings.csv", "findings.json", "run.json"]


def test_accepts_names_of_formats_and_refuses_unknown_ones(nifti_anomaly, tmp_path):
    assert list(write_results(nifti_anomaly, tmp_path / "out", ["csv"]).files) == ["csv"]
    with pytest.raises(InputError, match=r'^"jpeg" is no result format; choose from nifti, csv, json,'):
        write_results(nifti_anomaly, tmp_path / "out", ["jpeg"])
    with pytest.raises(InputError, match=r"^No result format was named; choose from nifti, csv,"):
        write_results(nifti_anomaly, tmp_path / "out", [])


def test_results_of_an_earlier_run_are_replaced_and_other_files_stay(nifti_anomaly, tmp_path):
    folder = tmp_path / "out"
    write_results(nifti_anomaly, folder, PLAIN)
    (folder / "my notes.txt").write_text("mine")
    write_results(nifti_anomaly, folder, [ResultFormat.JSON])
    assert listing(folder) == ["findings.json", "my notes.txt"]


def test_results_that_came_meanwhile_stay_where_nobody_asked_to_replace_them(nifti_anomaly, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "my notes.txt").write_text("mine")
    write_results(nifti_anomaly, folder, [ResultFormat.CSV], replaces=False)
    before = (folder / "findings.csv").read_bytes()
    with pytest.raises(InputError) as caught:
        write_results(nifti_anomaly, folder, [ResultFormat.JSON], replaces=False)
    assert not lacking(caught.value, str(folder), "another run", "--overwrite")
    assert listing(folder) == ["findings.csv", "my notes.txt"]
    assert (folder / "findings.csv").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".partial"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full, nothing was written; free some space or choose another folder."),
        (errno.EACCES, "there is no permission to write, nothing was written; choose another folder."),
        (errno.EIO, "the results could not be written (Input/output error); choose another folder."),
    ],
)
def test_a_failed_write_leaves_the_old_results_and_nothing_partial(
    nifti_anomaly, tmp_path, monkeypatch, number, message
):
    folder = tmp_path / "out"
    write_results(nifti_anomaly, folder, PLAIN)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half_written(_anomaly, path, _notes):
        path.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(nifti_writer, "SCORES", replace(nifti_writer.SCORES, write=half_written))
    with pytest.raises(InputError) as caught:
        write_results(nifti_anomaly, folder, PLAIN)
    assert facts(caught.value) == facts(f"{folder}: {message}")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert listing(tmp_path) == ["in", "out"]


def test_a_failed_rename_brings_the_old_results_back(nifti_anomaly, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    write_results(nifti_anomaly, folder, PLAIN)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename = Path.rename

    def refuse_csv(self, target):
        if self.name == "findings.csv" and target.parent == folder:
            raise PermissionError(errno.EACCES, "locked")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_csv)
    with pytest.raises(InputError, match="no permission"):
        write_results(nifti_anomaly, folder, PLAIN)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def break_scores(monkeypatch):
    def broken(_anomaly, path, _notes):
        path.write_bytes(b"half")
        message = "secret"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(nifti_writer, "SCORES", replace(nifti_writer.SCORES, write=broken))


def test_a_format_that_fails_costs_itself_alone_and_the_others_say_so(nifti_anomaly, tmp_path, monkeypatch):
    break_scores(monkeypatch)
    written = write_results(nifti_anomaly, tmp_path / "out", PLAIN)
    assert list(written.failed) == [ResultFormat.NIFTI]
    (reason,) = written.failed.values()
    assert "anomaly.nii.gz" in reason
    assert "ZeroDivisionError" in reason
    assert "secret" not in reason
    assert listing(tmp_path / "out") == sorted(RESULT_NAMES[ResultFormat(fmt)] for fmt in written.files)
    assert reason in json.loads(written.files["json"].read_text(encoding="utf-8"))["notes"]


def test_where_every_format_fails_nothing_is_left(nifti_anomaly, tmp_path, monkeypatch):
    break_scores(monkeypatch)
    with pytest.raises(InputError, match="ZeroDivisionError"):
        write_results(nifti_anomaly, tmp_path / "out", ["nifti"])
    assert listing(tmp_path) == ["in"]


def test_a_file_where_the_folder_should_be(nifti_anomaly, tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(InputError, match="out: a file is in the way.*; choose another"):
        write_results(nifti_anomaly, tmp_path / "out", PLAIN)
    assert (tmp_path / "out").read_text() == "not a folder"


def test_no_result_but_the_pixels_names_the_patient_or_the_file(nifti_anomaly, tmp_path):
    written = write_results(nifti_anomaly, tmp_path / "out", [*PLAIN, ResultFormat.REPORT]).files
    for path in written.values():
        assert b"Doe" not in path.read_bytes(), path.name


def test_notes_are_in_the_tables_and_the_record(nifti_anomaly, tmp_path):
    written = write_results(nifti_anomaly, tmp_path / "out", PLAIN).files
    notes = list(result_notes(nifti_anomaly, PLAIN))
    assert not lacking(notes[0], "uncalibrated", "99.5th percentile of normal industrial images", ": calibrate")
    assert json.loads(written["json"].read_text(encoding="utf-8"))["notes"] == notes
    assert json.loads(written["run"].read_text(encoding="utf-8"))["result"]["notes"] == notes
