"""`moeclip-med score` and `info` from the outside: files, exit codes, messages, nothing left behind."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat, ImageType, Series
from pydicom.data import get_testdata_file

from moeclip_med.cli.score import list_jobs, parse_time_point
from moeclip_med.demo.files import write_nifti
from moeclip_med.scoring import load_detector


def test_scores_a_nifti_file_onto_its_own_grid(command, nifti_file, tmp_path):
    done = command("score", nifti_file, "-o", tmp_path / "out", "--quiet")

    assert done.returncode == 0, done.stderr
    anomaly, source = nib.load(tmp_path / "out" / "anomaly.nii.gz"), nib.load(nifti_file)
    assert anomaly.shape == source.shape
    np.testing.assert_array_equal(anomaly.affine, source.affine)
    assert anomaly.get_data_dtype() == np.float32
    scores = anomaly.get_fdata()
    assert 0 <= scores.min() <= scores.max() <= 1
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"anomaly.nii.gz", "findings.csv", "findings.json", "report.html", "run.json"}
    assert "uncalibrated" in done.stdout
    with (tmp_path / "out" / "findings.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["1", f"{float(first['peak_score']):.2f}"] in rows


@pytest.mark.parametrize(("options", "scored"), [([], 14), (["--every-slice"], 24)])
def test_thin_slices_are_all_scored_where_that_is_asked_for(command, small_brain, tmp_path, options, scored):
    image, affine = small_brain
    write_nifti(tmp_path / "thin.nii", image, affine @ np.diag([1, 1, 1.2 / 6, 1]))  # steps of two slices are 2.4 mm

    done = command("score", tmp_path / "thin.nii", "-o", tmp_path / "out", "--quiet", *options)

    assert done.returncode == 0, done.stderr
    outcome = json.loads((tmp_path / "out" / "run.json").read_text())["outcome"]
    assert (outcome["slices_scored"], outcome["slices_total"]) == (scored, 24)


@pytest.mark.slow
def test_dicom_and_nifti_of_the_same_volume_score_the_same(command, nifti_file, dicom_folder, tmp_path):
    for name, path in (("nifti", nifti_file), ("dicom", dicom_folder)):
        done = command("score", path, "-o", tmp_path / name, "--quiet", "--plane", "axial")
        assert done.returncode == 0, done.stderr

    from_nifti = nib.as_closest_canonical(nib.load(tmp_path / "nifti" / "anomaly.nii.gz"))
    from_dicom = nib.as_closest_canonical(nib.load(tmp_path / "dicom" / "anomaly.nii.gz"))
    np.testing.assert_allclose(from_nifti.affine, from_dicom.affine, atol=1e-4)
    np.testing.assert_allclose(from_nifti.get_fdata(), from_dicom.get_fdata(), atol=1e-3)


@pytest.mark.slow
def test_several_series_get_a_folder_each_and_one_can_be_named(command, dicom_folder, nifti_file, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(dicom_folder, root / "study")
    shutil.copy(nifti_file, root / "brain.nii.gz")

    everything = command("score", root, "-o", tmp_path / "all", "--quiet")
    listing = json.loads(command("info", root, "--json").stdout)
    uid = next(series["series"] for series in listing["series"] if series["format"] == "dicom")
    one = command("score", root, "-o", tmp_path / "one", "--series", uid, "--quiet")

    assert everything.returncode == one.returncode == 0, everything.stderr + one.stderr
    assert len(list((tmp_path / "all").glob("series-*/anomaly.nii.gz"))) == 2
    assert (tmp_path / "one" / "anomaly.nii.gz").is_file()


def test_run_json_says_what_was_done_and_names_nobody(command, dicom_folder, tmp_path):
    command("score", dicom_folder, "-o", tmp_path / "out", "--quiet")

    text = (tmp_path / "out" / "run.json").read_text()
    run = json.loads(text)
    assert run["model"]["name"] == "lite"
    assert len(run["model"]["sha256"]) == len(run["input"]["sha256"]) == 64
    assert run["settings"]["kind"] == "mr"
    assert run["settings"]["is_calibrated"] is False
    assert "SIMULATED" not in text
    assert str(dicom_folder) not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "missing.nii.gz", "-o", "out"], "missing.nii.gz"),
        (["score", "empty", "-o", "out"], "empty"),
        (["score", "text.txt", "-o", "out"], "text.txt"),
        (["info", "missing"], "missing"),
        (["score", "", "-o", "out"], "the path is empty"),
        (["score", "text.txt", "-o", ""], "the path is empty"),
        (["score", "text.txt", "-o", "text.txt/x"], "cannot be written to"),
        (["calibrate", "--healthy", "empty", "-o", "text.txt/x"], "cannot be written to"),
        (["benchmark", "--folder", "a=empty", "-o", "text.txt/x"], "cannot be written to"),
        (["benchmark", "--folder", "a=empty", "-o", "text.txt"], "is a file"),
        (["demo", "-o", "text.txt"], "is a file"),
        (["export", "-o", "text.txt/x"], "cannot be written to"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(command, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("not an image")

    done = command(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_time_points_get_a_run_and_a_folder_each(command, tmp_path):
    values = np.zeros((40, 40, 2, 3), dtype=np.int16)
    values[8:32, 8:32, :, :] = np.arange(1, 4) * 100
    nib.save(nib.Nifti1Image(values, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "perfusion.nii.gz")

    done = command("score", tmp_path / "perfusion.nii.gz", "-o", tmp_path / "out", "--time-point", "all", "--quiet")

    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert folders == ["time-000", "time-001", "time-002"]
    runs = [json.loads((tmp_path / "out" / name / "run.json").read_text()) for name in folders]
    assert [run["input"]["time_point"] for run in runs] == [0, 1, 2]
    assert "Of 3 time points, numbered from 0, this is number 2." in done.stderr


def test_one_time_point_or_one_volume_needs_no_folder_of_its_own(tmp_path):
    one, several = (
        Series(f"1.{time}", FileFormat.NIFTI, (), "", ImageType.MR, "", (8, 8, 8, time), 1) for time in (1, 12)
    )

    assert [job.folder for job in list_jobs((one,), None, tmp_path)] == [tmp_path]
    assert [(job.folder, job.time_point) for job in list_jobs((several,), 7, tmp_path)] == [(tmp_path, 7)]
    both = list_jobs((one, several), None, tmp_path)
    assert len({job.folder for job in both}) == 13
    assert both[12].folder.name == "time-011"


@pytest.mark.parametrize("value", ["-1", "first", "1.5", ""])
def test_a_time_point_is_a_number_or_all(value):
    with pytest.raises(InputError, match="expected a number from 0, or all"):
        parse_time_point(value)


def test_info_says_what_the_scan_had_to_say(command, tmp_path):
    for patient in "AB":
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        dataset.PatientID = patient
        dataset.save_as(tmp_path / patient)

    done = command("info", tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("belong to 2 patients or studies") == 1


def test_info_names_the_file_of_a_series_and_what_is_skipped_once(command, nifti_file, tmp_path):
    folder = tmp_path / "volumes"
    folder.mkdir()
    shutil.copy(nifti_file, folder / "b.nii.gz")
    (folder / "other.mgz").write_bytes(b"some other format")

    done = command("info", folder)
    (listed,) = json.loads(command("info", folder, "--json").stdout)["series"]

    assert "b.nii.gz" in done.stdout
    assert done.stderr.count("other.mgz") == 1
    assert listed["first_file"] == "b.nii.gz"


def test_an_unknown_result_format_is_refused_with_the_known_ones(command, nifti_file, tmp_path):
    done = command("score", nifti_file, "-o", tmp_path / "out", "--results", "nifti,pdf")

    assert done.returncode == 2
    assert '--results: "pdf" is not a result format; choose from' in done.stderr


def test_results_are_not_overwritten_unasked(command, nifti_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")

    refused = command("score", nifti_file, "-o", tmp_path / "out", "--quiet")
    accepted = command("score", nifti_file, "-o", tmp_path / "out", "--quiet", "--overwrite")

    assert refused.returncode == 2
    assert "is not empty; name another folder or add --overwrite" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep me"


def test_results_that_another_run_wrote_meanwhile_are_replaced_only_if_asked(invoke, nifti_file, tmp_path, monkeypatch):
    table = tmp_path / "out" / "findings.csv"

    def load(*arguments, **chosen):
        table.parent.mkdir(exist_ok=True)
        table.write_text("another run's")
        return load_detector(*arguments, **chosen)

    monkeypatch.setattr("moeclip_med.scoring.load_detector", load)
    arguments = ("score", nifti_file, "-o", table.parent, "--quiet", "--results", "csv")

    with pytest.raises(InputError, match="results of another run"):
        invoke(*arguments)
    assert table.read_text() == "another run's"
    assert invoke(*arguments, "--overwrite").exit_code == 0
    assert table.read_text() != "another run's"


@pytest.mark.slow
def test_dicom_results_are_refused_for_nifti_with_the_reason(command, nifti_file, tmp_path):
    only = command("score", nifti_file, "-o", tmp_path / "only", "--results", "seg", "--quiet")
    beside = command("score", nifti_file, "-o", tmp_path / "beside", "--results", "nifti,seg", "--quiet")

    sentence = "a DICOM Segmentation cites DICOM source frames, but this input is"
    assert (only.returncode, beside.returncode) == (2, 3)
    assert sentence in only.stderr
    assert sentence in beside.stderr
    assert not (tmp_path / "only").exists()
    assert [path.name for path in (tmp_path / "beside").iterdir()] == ["anomaly.nii.gz"]


@pytest.mark.slow
def test_typed_prompts_are_ignored_by_lite_and_it_says_so(command, nifti_file, tmp_path):
    done = command("score", nifti_file, "-o", tmp_path / "out", "--prompt", "brain MRI", "--quiet")

    assert done.returncode == 0, done.stderr
    assert "prompt" in done.stderr


@pytest.mark.slow
def test_own_maps_are_not_scored_again(command, nifti_file, tmp_path):
    shutil.copy(nifti_file, tmp_path / "brain.nii.gz")
    command("score", nifti_file, "-o", tmp_path / "before", "--quiet")

    done = command("score", tmp_path, "-o", tmp_path / "out", "--quiet")

    assert done.returncode == 0, done.stderr
    assert "is skipped: a result of MoECLIP-Med itself" in done.stderr
    assert (tmp_path / "out" / "anomaly.nii.gz").is_file()


@pytest.fixture
def with_a_broken_file(tmp_path):
    """A folder that holds an image and a file that looks like one."""
    folder = tmp_path / "in"
    folder.mkdir()
    values = np.random.default_rng(3).integers(0, 900, (32, 32, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "whole.nii.gz")
    (folder / "broken.nii").write_bytes(b"no header at all")
    return folder


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["batch", "-o", "out", "--dry-run"]])
def test_a_file_that_cannot_be_read_is_exit_code_3(command, with_a_broken_file, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    name, *options = arguments

    assert command(name, with_a_broken_file, *options).returncode == 3
    (with_a_broken_file / "broken.nii").unlink()
    assert command(name, with_a_broken_file, *options).returncode == 0


@pytest.mark.slow
def test_scoring_beside_a_file_that_cannot_be_read_is_exit_code_3(command, with_a_broken_file, tmp_path):
    done = command("score", with_a_broken_file, "-o", tmp_path / "out", "--quiet")

    assert done.returncode == 3
    assert '"broken.nii"' in done.stderr
    assert (tmp_path / "out" / "anomaly.nii.gz").is_file()
