"""What goes wrong at night: workers that die, hang or hog, files that change, disks that fill, shares that vanish."""

from __future__ import annotations

import csv
import os
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from batch_fakes import FAULT, HANG, HOG, LIGHT, SEGFAULT, FakeDetector, LoadFake, Recorder, settings
from hospital_files import Patient, write_nifti, write_series
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.overview import read_status
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import FileStamp, Halt, SeriesState, StudyJob, StudyReport, StudyState, WorkOrder
from moeclip_med.batch.study import StudyScorer
from moeclip_med.pipeline import ScoreSettings
from moeclip_med.results import ResultFormat

KEY = b"k" * 32
GIBIBYTE = 2**30


def read_list(output: Path) -> list[dict[str, str]]:
    with (output / "triage.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# One study in this process: no worker to start.


@pytest.fixture
def make_scorer(tmp_path):
    def make(detector=None, **changes) -> StudyScorer:
        output = tmp_path / "out"
        (output / ".batch" / "unfinished").mkdir(parents=True, exist_ok=True)
        (output / ".batch" / "key").write_bytes(KEY)
        order = WorkOrder(
            root=tmp_path / "archive", output=output, settings=ScoreSettings(LIGHT), filters=(), key=KEY,
            fingerprint="one", memory_bytes=None, thumbnails=True,
        )  # fmt: skip
        return StudyScorer(replace(order, **changes), detector or FakeDetector(), output / ".batch/unfinished/test")

    return make


def job_of(*paths: Path) -> StudyJob:
    facts = [path.stat() for path in paths]
    stamps = tuple(FileStamp(path, fact.st_size, fact.st_mtime_ns) for path, fact in zip(paths, facts, strict=True))
    return StudyJob("study-a", "patient-a", stamps, Pseudonyms(KEY).signature(stamps))


def quiet(series: str, done: int, total: int) -> None:
    pass


class Meddler(FakeDetector):
    """Does something once, in the middle of scoring."""

    def __init__(self, deed) -> None:
        super().__init__()
        self.deed = deed

    def map_slices(self, slices, box=None, *, want_routing=False):
        if self.deed is not None:
            self.deed, deed = None, self.deed
            deed()
        return super().map_slices(slices, box)


def test_files_that_change_while_read_are_noticed_and_leave_no_result(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    job = job_of(path)
    report = make_scorer(Meddler(lambda: os.utime(path, ns=(1, 1)))).score(job, quiet)
    assert isinstance(report, StudyReport)
    assert report.state is StudyState.FAILED
    assert not lacking(report.reason, "file", "changed", "read", "; run", "again")
    assert not (tmp_path / "out" / "studies").exists()


def test_files_that_vanish_after_they_were_found_are_noticed(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    write_nifti(tmp_path / "archive" / "other.nii.gz")
    job = job_of(path)
    path.unlink()
    report = make_scorer().score(job, quiet)
    assert not lacking(report.reason, "file", "vanished", "; run", "again")


@pytest.mark.parametrize("how", ["renamed away", "unmounted"])
def test_an_archive_that_is_gone_stops_the_run_and_costs_no_study(tmp_path, make_scorer, how):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    job = job_of(path)
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    if how == "unmounted":
        (tmp_path / "archive").mkdir()  # the empty folder that was mounted over
    halt = make_scorer().score(job, quiet)
    assert isinstance(halt, Halt)
    assert halt.study == "study-a"
    assert not lacking(halt.reason, "archive", "gone", "; mount", "run")


def test_an_output_folder_that_is_gone_stops_the_run_and_is_not_made_anew(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    scorer = make_scorer(Meddler(lambda: (tmp_path / "out").rename(tmp_path / "gone")))
    halt = scorer.score(job_of(path), quiet)
    assert isinstance(halt, Halt)
    assert not lacking(halt.reason, "output folder", "gone", "; mount", "run")
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_the_run(tmp_path, make_scorer, monkeypatch):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")

    def write_to_full_disk(*_):
        with open("/dev/full", "wb") as stream:  # noqa: PTH123 - the real device gives the real error
            stream.write(b"x" * 100_000)

    monkeypatch.setattr("moeclip_med.results.nifti._save", write_to_full_disk)
    halt = make_scorer().score(job_of(path), quiet)
    assert isinstance(halt, Halt)
    assert not lacking(halt.reason, "disk", "full", "; free", "run")
    assert not (tmp_path / "out" / "studies").exists()


def test_a_fault_of_ours_costs_that_series_and_names_nobody(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "archive" / "Doe_Jane.nii.gz")

    def fault():
        raise KeyError("Doe_Jane")

    report = make_scorer(Meddler(fault)).score(job_of(path), quiet)
    (record,) = report.series
    assert record.state is SeriesState.FAILED
    assert not lacking(record.reason, "internal error", "(KeyError)")
    assert "Doe" not in record.reason
    assert "KeyError: 'Doe_Jane'" in report.private[0].message


def test_a_series_too_large_for_a_worker_is_refused_before_it_is_read(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    report = make_scorer(memory_bytes=2**20).score(job_of(path), quiet)
    assert report.series[0].state is SeriesState.FAILED
    assert not lacking(report.series[0].reason, "20×22×4×1", "0.0 GiB", "; raise --memory", "--workers")


def test_a_header_that_dicom_results_correct_is_said(tmp_path, make_scorer):
    write_series(tmp_path / "archive", Patient())
    paths = sorted((tmp_path / "archive").iterdir())
    for path in paths:
        dataset = pydicom.dcmread(path)
        del dataset.StudyInstanceUID
        dataset.save_as(path)
    scorer = make_scorer(settings=ScoreSettings(LIGHT | {ResultFormat.SEG, ResultFormat.SC}))
    (record,) = scorer.score(job_of(*paths), quiet).series
    assert record.state is SeriesState.DONE
    assert "The source has no valid StudyInstanceUID" in record.notes[0]
    assert (tmp_path / "out" / record.folder / "anomaly.nii.gz").is_file()
    assert (tmp_path / "out" / record.folder / "overlay").is_dir()


def test_results_of_dicom_cannot_come_from_nifti_and_that_is_said(tmp_path, make_scorer):
    path = write_nifti(tmp_path / "input" / "one.nii.gz")
    scorer = make_scorer(settings=ScoreSettings(LIGHT | {ResultFormat.SR}))
    (record,) = scorer.score(job_of(path), quiet).series
    assert not lacking(record.notes[0], "Not written: sr", "this input is NIfTI; omit sr", "DICOM series")
    assert "one" not in record.notes[0].split()


def test_results_in_place_are_taken_over_and_not_made_again(tmp_path, make_scorer):
    """As after a kill between the rename of a result folder and the ledger's entry."""
    path = write_nifti(tmp_path / "archive" / "one.nii.gz")
    first = make_scorer().score(job_of(path), quiet)

    def never():
        raise AssertionError("scored twice")

    again = make_scorer(Meddler(never)).score(job_of(path), quiet)
    assert again.series == first.series
    other_settings = make_scorer(Meddler(never), fingerprint="two").score(job_of(path), quiet)
    assert other_settings.series[0].state is SeriesState.FAILED, "results of other settings are not taken over"


def test_one_corrupt_slice_costs_that_slice_and_is_said(tmp_path, make_scorer):
    folder = tmp_path / "archive" / "Doe"
    write_series(folder, Patient(), shape=(24, 20, 20))
    paths = sorted(folder.iterdir())
    content = paths[7].read_bytes()
    paths[7].write_bytes(content[:-200])
    report = make_scorer().score(job_of(*paths), quiet)
    (record,) = report.series
    assert record.state is SeriesState.DONE
    assert record.slices == 19
    assert any("skipped" in note or "missing" in note.lower() for note in record.notes), record.notes
    assert not [note for note in record.notes if paths[7].name in note]


# Workers.


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is told by Linux")
@pytest.mark.slow
def test_a_worker_that_dies_hangs_or_hogs_costs_its_study_and_is_replaced(tmp_path):
    root, output = tmp_path / "archive", tmp_path / "out"
    for slices in (SEGFAULT, HANG, HOG, FAULT):
        write_nifti(root / f"bad{slices}.nii", shape=(20, 22, slices))
    for number in range(3):
        write_nifti(root / f"fine{number}.nii")
    changes = {"time_limit": 25.0, "memory_bytes": int(1.3 * GIBIBYTE), "workers": 1}
    outcome = run_batch(settings(root, output, **changes), Recorder(), load=LoadFake(misbehave=True))
    reasons = sorted(row["reason"] for row in read_list(output) if row["state"] == "failed")
    tokens = (("internal error", "KeyError"), ("25 s", "--time-limit"), ("1.3 GiB", "--memory"), ("ended", "SIGSEGV"))
    assert [lacking(reason, *some) for reason, some in zip(reasons, tokens, strict=True)] == [[]] * 4
    assert outcome.counts.series[SeriesState.DONE] == 3
    assert outcome.counts.studies[StudyState.FAILED] == 3
    assert not (output / ".batch" / "scratch").exists(), "and so no folder for unpacked archives is left"
    assert list((output / ".batch" / "unfinished").iterdir()) == []


def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path):
    write_nifti(tmp_path / "archive" / "one.nii")

    with pytest.raises(InputError) as caught:
        run_batch(settings(tmp_path / "archive", tmp_path / "out"), Recorder(), load=Refuses())
    assert str(caught.value) == "the model is not there"
    assert read_status(tmp_path / "out").counts.studies[StudyState.WAITING] == 1


class Refuses:
    def __call__(self):
        raise InputError("the model is not there")


class Noisy:
    """Writes past Python, as libraries in C do, then fails as nobody expected."""

    def __init__(self, error):
        self.error = error

    def __call__(self):
        os.write(2, b"Featherstonehaugh: WEBP compression support is not configured\n")
        raise self.error


@pytest.mark.parametrize(
    ("error", "tokens"),
    [
        (PermissionError(13, "Permission denied", "adapters"), ('"adapters"', "Permission denied", "; check")),
        (KeyError("Featherstonehaugh"), ("internal error (KeyError)", "; try", "moeclip-med score")),
    ],
)
def test_what_libraries_print_in_a_worker_reaches_nobody_and_a_fault_is_one_sentence(tmp_path, capfd, error, tokens):
    write_nifti(tmp_path / "archive" / "one.nii")
    with pytest.raises(InputError) as caught:
        run_batch(settings(tmp_path / "archive", tmp_path / "out"), Recorder(), load=Noisy(error))
    assert not lacking(caught.value, "model cannot be loaded", *tokens)
    assert "Featherstonehaugh" not in "".join((str(caught.value), *capfd.readouterr()))


def test_a_share_that_vanishes_in_the_night_and_comes_back(tmp_path, without_processes):
    root, output = tmp_path / "archive", tmp_path / "out"
    for number in range(12):
        write_nifti(root / f"{number:02d}.nii")
    watcher = Recorder()

    def unmount_in_the_middle(counts, slices):
        if counts.finished >= 3 and root.exists():
            root.rename(tmp_path / "unmounted")

    watcher.working = unmount_in_the_middle
    with pytest.raises(InputError) as caught:
        run_batch(settings(root, output), watcher, load=LoadFake())
    assert not lacking(caught.value, "archive", "gone", "; mount", "run")
    counts = read_status(output).counts
    assert counts.studies[StudyState.FAILED] == 0
    assert 3 <= counts.studies[StudyState.DONE] < 12
    (tmp_path / "unmounted").rename(root)
    outcome = run_batch(settings(root, output), Recorder(), load=LoadFake())
    assert outcome.counts.studies[StudyState.DONE] == 12
