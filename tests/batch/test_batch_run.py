"""A whole archive, from the tree to the triage list: what is there, what is not, and that it says nothing."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import stat
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from batch_fakes import LIGHT, LoadFake, Recorder, settings
from hospital_files import Patient, build_hospital, write_nifti, write_series
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import ImageType, Plane
from sentences import facts

from moeclip_med.batch.batch_settings import ModelChoice
from moeclip_med.batch.driver import run_batch, settings_that_matter
from moeclip_med.batch.filters import SeriesFilter
from moeclip_med.batch.output import LEDGER_NAME, PRIVATE_NAME
from moeclip_med.batch.overview import look_at_archive, read_status
from moeclip_med.batch.records import StudyState
from moeclip_med.pipeline import ScoreSettings
from moeclip_med.results.formats import DicomOptions, SegmentationKind

OTHERS = {
    "formats": frozenset({"json"}),
    "plane": Plane.CORONAL,
    "image_type": ImageType.OCT,
    "threshold": 0.7,
    "time_point": 1,
    "min_volume_ml": 5.0,
    "every_slice": True,
    "dicom": DicomOptions.of(SegmentationKind.LABELMAP, "SCT:39607008:Lung"),
}


def read_list(output: Path) -> list[dict[str, str]]:
    with (output / "triage.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def everything_written(output: Path) -> dict[Path, bytes]:
    """Every file but the private ones, and every name of a file or folder, as bytes."""
    private = {"private.sqlite", "private.sqlite-wal", "private.sqlite-shm", "key"}
    paths = [path for path in output.rglob("*") if path.name not in private]
    return {path: os.fsencode(path.relative_to(output)) + b"\0" + unpacked(path) for path in paths}


def unpacked(path: Path) -> bytes:
    """The content of a file; what is inside where it is compressed."""
    if path.is_dir():
        return b""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return str(parquet.read_table(path).to_pylist()).encode()
    return path.read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The hospital's archive, scored once for all tests of this file that only look."""
    folder = tmp_path_factory.mktemp("hospital")
    root, patients = build_hospital(folder)
    output = folder / "out"
    watcher = Recorder()
    outcome = run_batch(settings(root, output), watcher, load=LoadFake())
    return root, output, patients, outcome, watcher


def test_every_series_is_scored_left_out_or_listed_with_its_reason(finished):
    _, output, _, outcome, _ = finished
    rows = read_list(output)
    assert [row["state"] for row in rows] == ["done"] * 5 + ["failed"] * 2 + ["skipped"]
    assert {row["format"] for row in rows if row["state"] == "done"} == {"dicom", "nifti"}
    damaged, empty = sorted(row["reason"] for row in rows if row["state"] == "failed")
    assert damaged.startswith("1 file cannot be read: ")
    assert "broken" not in damaged
    assert empty == "it is empty (0 bytes)"
    assert [row["reason"] for row in rows if row["state"] == "skipped"] == ["a scout (localizer)"]
    assert outcome.has_failures
    assert outcome.plan.files == 21
    assert outcome.plan.others == 1


def test_scores_are_those_of_the_pipeline(finished, tmp_path):
    from moeclip_transforms import open_source

    from moeclip_med.pipeline import score_series

    root, output, *_ = finished
    with open_source(root / "research" / "Featherstonehaugh_flair.nii.gz") as source:
        (series,) = source.series
        alone = score_series(source, series, LoadFake()(), ScoreSettings(LIGHT), tmp_path / "alone")
    (row,) = [row for row in read_list(output) if row["format"] == "nifti"]
    assert float(row["score"]) == round(alone.anomaly.peak_score, 6)
    assert int(row["findings"]) == len(alone.anomaly.findings) == 1
    assert float(row["largest_ml"]) == round(alone.anomaly.findings[0].volume_ml, 4)
    in_batch = (output / row["folder"] / "anomaly.nii.gz").read_bytes()
    assert gzip.decompress(in_batch) == gzip.decompress((tmp_path / "alone" / "anomaly.nii.gz").read_bytes())


def test_series_of_one_study_and_of_one_patient_are_told_as_such(finished):
    _, output, _, _, _ = finished
    rows = [row for row in read_list(output) if row["patient"]]
    mixed = [row for row in rows if sum(other["study"] == row["study"] for other in rows) == 3]
    assert len(mixed) == 3
    assert len({row["patient"] for row in mixed}) == 1


def test_nothing_written_names_anyone(finished):
    root, output, patients, _, _ = finished
    secrets = [value for patient in patients for value in patient.identifying()]
    secrets += ["Featherstonehaugh", "Szczepanski", "MRN-", "flair", str(root), root.name + "/", "IM0001"]
    found = [
        (path, secret)
        for path, content in everything_written(output).items()
        for secret in secrets
        if secret.encode() in content or secret.upper().encode() in content.upper()
    ]
    assert found == []


def test_the_same_search_finds_names_where_they_may_be(finished):
    """So that the test above is known to be able to fail."""
    _, output, patients, _, _ = finished
    private = b"".join(path.read_bytes() for path in (output / ".batch").glob("private.sqlite*"))
    assert patients[0].study_uid.encode() in private
    assert b"Featherstonehaugh" in private


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_what_is_private_belongs_to_the_owner_alone(finished):
    _, output, *_ = finished
    assert stat.S_IMODE((output / ".batch").stat().st_mode) == 0o700
    for name in ("key", "private.sqlite", "ledger.sqlite"):
        assert stat.S_IMODE((output / ".batch" / name).stat().st_mode) == 0o600, name


def test_the_three_lists_say_the_same(finished):
    parquet = pytest.importorskip("pyarrow.parquet")
    _, output, *_ = finished
    table = parquet.read_table(output / "triage.parquet").to_pylist()
    rows = read_list(output)
    assert [line["series"] for line in table] == [row["series"] for row in rows]
    assert [line["score"] for line in table] == [float(row["score"]) if row["score"] else None for row in rows]
    page = (output / "triage.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    at = data["columns"].index("series")
    assert [line[at] for line in data["rows"]] == [row["series"] for row in rows]


def test_each_result_folder_holds_a_picture_with_the_letters_of_its_sides(finished):
    from PIL import Image

    _, output, *_ = finished
    for row in read_list(output):
        if row["state"] == "done":
            with Image.open(output / row["folder"] / "thumbnail.webp") as picture:
                assert picture.format == "WEBP"
                assert max(picture.size) == 144


def test_a_second_run_does_nothing_and_says_the_same(finished):
    root, output, _, outcome, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (output / "studies").rglob("*")}
    watcher = Recorder()
    again = run_batch(settings(root, output), watcher, load=None)  # without a model: nothing may be scored
    assert again.counts == outcome.counts
    assert watcher.snapshots == []
    assert {path: path.stat().st_mtime_ns for path in (output / "studies").rglob("*")} == before


def test_other_settings_need_redo_or_another_folder(finished):
    root, output, *_ = finished
    other = settings(root, output, score=ScoreSettings(LIGHT, threshold=0.6))
    for run in (run_batch, look_at_archive):
        with pytest.raises(InputError) as caught:
            run(other, Recorder())
        assert facts(caught.value) == facts(
            f'the results in "{output}" were made with other settings (threshold unset, now 0.6); '
            "add --redo to score everything again, or name another output folder"
        )


def test_identify_adds_real_identifiers_to_the_lists_and_only_there(finished, tmp_path):
    root, output, patients, _, _ = finished
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    run_batch(settings(root, copy, identify=True), Recorder(), load=None)
    rows = read_list(copy)
    assert patients[0].patient_id in {row["patient_id"] for row in rows}
    assert patients[0].study_uid in {row["study_uid"] for row in rows}
    assert set(patients[0].uids) & {row["series_uid"] for row in rows}
    content = everything_written(copy)
    leaking = {path.name for path, text in content.items() if patients[0].patient_id.encode() in text}
    assert leaking == {"triage.csv", "triage.html", "triage.parquet"}


def test_status_reads_the_ledger_and_changes_nothing(finished):
    _, output, _, outcome, _ = finished
    status = read_status(output)
    assert status.counts == outcome.counts
    assert (status.is_running, status.outcome) == (False, "done")
    assert [count for _, count in status.failures] == [1]
    with pytest.raises(InputError) as caught:
        read_status(output / "studies")
    assert facts(caught.value) == facts(
        f'"{output / "studies"}" holds no batch; name the --output folder of "moeclip-med batch"'
    )


def test_status_of_a_batch_that_ended_before_its_first_entry(tmp_path):
    (tmp_path / PRIVATE_NAME).mkdir()
    (tmp_path / PRIVATE_NAME / LEDGER_NAME).touch()
    with pytest.raises(InputError) as caught:
        read_status(tmp_path)
    assert facts(caught.value) == facts(
        f'"{tmp_path}" holds a batch that ended before its first entry, on a full disk for example; '
        'run "moeclip-med batch" with it again'
    )


def test_dry_run_tells_what_would_happen_and_writes_nothing(hospital, tmp_path):
    root, _ = hospital
    output = tmp_path / "never"
    look = look_at_archive(settings(root, output, filters=(SeriesFilter.parse("modality!=CT"),)), Recorder())
    assert not output.exists()
    assert sorted(line.reason for line in look.series) == ["", "", "", "", "a scout (localizer)",
                                                           "excluded by --filter on modality"]  # fmt: skip
    assert (look.studies, look.done_before) == (5, 0)
    assert sorted(path.name for path, _ in look.problems) == ["Featherstonehaugh_broken.nii.gz", "empty.dcm"]


def test_dry_run_knows_what_was_done_before(finished):
    root, output, *_ = finished
    look = look_at_archive(settings(root, output), Recorder())
    assert (look.studies, look.done_before) == (0, 5)
    assert look_at_archive(settings(root, output, redo=True), Recorder()).studies == 5


def test_a_filter_leaves_out_and_a_wider_one_takes_up_what_was_left_out(tmp_path, without_processes):
    root, output = tmp_path / "archive", tmp_path / "out"
    write_nifti(root / "thin.nii.gz", shape=(20, 22, 8))
    write_nifti(root / "thick.nii.gz", shape=(20, 22, 3))
    narrow = settings(root, output, filters=(SeriesFilter.parse("slices>=5"),))
    run_batch(narrow, Recorder(), load=LoadFake())
    rows = read_list(output)
    assert [(row["state"], row["reason"]) for row in rows] == [
        ("done", ""),
        ("skipped", "excluded by --filter on slices"),
    ]
    kept = output / rows[0]["folder"] / "record.json"
    written = kept.stat().st_mtime_ns
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    assert [row["state"] for row in read_list(output)] == ["done", "done"]
    assert kept.stat().st_mtime_ns == written


def test_a_study_that_grew_is_scored_again_and_the_others_are_not(tmp_path, without_processes):
    root, output = tmp_path / "archive", tmp_path / "out"
    patient, other = Patient(), Patient()
    write_series(root / "a", patient)
    write_series(root / "b", other)
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    before = {path: path.stat().st_mtime_ns for path in output.rglob("record.json")}
    write_series(root / "a", patient, suffix=".late", seed=5)
    outcome = run_batch(settings(root, output), Recorder(), load=LoadFake())
    assert outcome.counts.studies[StudyState.DONE] == 2
    assert sum(row["state"] == "done" for row in read_list(output)) == 3
    unchanged = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert len(unchanged) == 1


def test_another_release_with_the_same_schema_scores_nothing_again(tmp_path, without_processes, monkeypatch):
    root, output = tmp_path / "archive", tmp_path / "out"
    write_nifti(root / "one.nii.gz")
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    (record,) = output.rglob("record.json")
    before = record.stat().st_mtime_ns
    monkeypatch.setattr("moeclip_med.batch.driver.__version__", "99.0")
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    assert record.stat().st_mtime_ns == before
    assert read_status(output).version == "99.0"


def test_redo_scores_again_with_the_new_settings(tmp_path, without_processes):
    root, output = tmp_path / "archive", tmp_path / "out"
    write_nifti(root / "one.nii.gz")
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    other = settings(root, output, redo=True, score=ScoreSettings(LIGHT, threshold=0.72))
    run_batch(other, Recorder(), load=LoadFake())
    assert [row["threshold"] for row in read_list(output)] == ["0.72"]


def test_another_model_needs_redo_or_another_folder(tmp_path, without_processes):
    root, output = tmp_path / "archive", tmp_path / "out"
    write_nifti(root / "one.nii.gz")
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    write_nifti(root / "two.nii.gz")
    with pytest.raises(InputError) as caught:
        run_batch(settings(root, output), Recorder(), load=LoadFake(identity="e" * 64))
    assert facts(caught.value) == facts(
        f'the results in "{output}" were made with another model (SHA-256 ffffffffffff…, now eeeeeeeeeeee…); '
        "add --redo to score everything again, or name another output folder"
    )


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    root = tmp_path / "archive"
    root.mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    for output, message in {
        "file": f'--output "{tmp_path / "file"}" is a file; name a folder',
        "full": f'--output "{tmp_path / "full"}" is not empty and holds no earlier batch; name another folder',
    }.items():
        for run in (run_batch, look_at_archive):
            with pytest.raises(InputError) as caught:
                run(settings(root, tmp_path / output), Recorder())
            assert str(caught.value) == message
    with pytest.raises(InputError) as caught:
        run_batch(settings(tmp_path / "nowhere", tmp_path / "out"), Recorder(), load=LoadFake())
    assert facts(caught.value) == facts(f'"{tmp_path / "nowhere"}" does not exist; check the path, or mount it')
    assert not (tmp_path / "out").exists()


def test_an_empty_archive_is_done_at_once(tmp_path):
    (tmp_path / "archive").mkdir()
    outcome = run_batch(settings(tmp_path / "archive", tmp_path / "out"), Recorder(), load=None)
    assert outcome.counts.total == 0
    assert not outcome.has_failures


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores, of which one is not to be used")
@pytest.mark.slow
def test_a_worker_uses_no_more_threads_than_it_was_given():
    """Each of two workers on two cores is to use one, not both: OpenVINO takes all unless told."""
    pytest.importorskip("openvino")
    assert ", 1 threads" in ModelChoice(engine="openvino", threads=1)().engine.description


@pytest.mark.parametrize("name", [field.name for field in fields(ScoreSettings) if field.name != "batch_size"])
def test_every_choice_that_changes_a_result_is_one_that_matters(tmp_path, name):
    chosen = settings(tmp_path, tmp_path / "out")
    other = replace(chosen, score=replace(chosen.score, **{name: OTHERS[name]}))
    assert settings_that_matter(other) != settings_that_matter(chosen)


def test_another_meaning_of_a_finding_site_matters(tmp_path):
    chosen = settings(tmp_path, tmp_path / "out")
    sites = [DicomOptions.of(SegmentationKind.BINARY, f"{scheme}:1:Lung") for scheme in ("SCT", "99LAB")]
    one, other = (replace(chosen, score=replace(chosen.score, dicom=site)) for site in sites)
    assert settings_that_matter(one) != settings_that_matter(other)
