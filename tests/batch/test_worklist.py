"""A batch as a worklist: what there is to read, its image, and decisions in the lists, kept by the next run."""

import csv
import shutil

import pytest
from batch_fakes import LoadFake, Recorder, settings
from hospital_files import build_hospital
from moeclip_transforms.errors import InputError

from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.worklist import read_image, read_worklist, write_decisions
from moeclip_med.results.run_record import read_record
from moeclip_med.scoring.review import Decision, FindingReview, Review
from moeclip_med.scoring.review_file import write_review


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An archive that was scored once, and its output."""
    folder = tmp_path_factory.mktemp("worklist")
    root, _ = build_hospital(folder)
    run_batch(settings(root, folder / "out"), Recorder(), load=LoadFake())
    return root, folder / "out"


@pytest.fixture
def output(finished, tmp_path):
    """A copy of that output, to write into."""
    shutil.copytree(finished[1], tmp_path / "out")
    return tmp_path / "out"


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decide(output, item, *decisions):
    """Write a review as the viewer does; returns the ranks in the order of the decisions."""
    folder = output / item.folder
    rows = read(folder / "findings.csv")[: len(decisions)]
    voxels = [tuple(int(row[f"peak_voxel_{axis}"]) for axis in "xyz") for row in rows]
    entries = tuple(FindingReview(voxel, said) for voxel, said in zip(voxels, decisions, strict=True))
    write_review(Review(entries=entries), read_record(folder / "run.json").run_id, folder)


def with_findings(output):
    return next(item for item in read_worklist(output) if item.findings)


def test_a_worklist_has_what_was_scored_highest_first(finished):
    _, output = finished
    items = read_worklist(output)
    assert len(items) == 5
    assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)
    assert {item.decision for item in items} == {"open"}
    assert all((output / item.folder / "run.json").is_file() for item in items)


def test_the_image_behind_a_series_is_that_which_was_scored(finished):
    _, output = finished
    for item in read_worklist(output):
        with read_image(output, item) as volume:
            known = read_record(output / item.folder / "run.json").input
            assert (volume.shape, volume.source.sha256) == (known.shape, known.sha256)


def test_an_image_that_changed_since_is_refused(output):
    item = read_worklist(output)[0]
    path = output / item.folder / "run.json"
    path.write_text(path.read_text().replace(read_record(path).input.sha256, "0" * 64))
    with pytest.raises(InputError, match="changed since it was scored"), read_image(output, item):
        pass


def test_decisions_stand_in_both_lists_at_once(output):
    item = with_findings(output)
    decide(output, item, Decision.ACCEPTED, *[Decision.REJECTED] * (item.findings - 1))
    assert write_decisions(output, item) == "accepted"
    rows = read(output / "triage.csv")
    assert {row["decision"] for row in rows if row["series"] == item.series} == {"accepted"}
    assert "accepted" not in {row["decision"] for row in rows if row["series"] != item.series}
    mine = {row["rank"]: row["decision"] for row in read(output / "findings.csv") if row["series"] == item.series}
    assert mine["1"] == "accepted"
    assert next(one for one in read_worklist(output) if one.series == item.series).decision == "accepted"


def test_the_next_run_of_the_batch_keeps_them(finished, tmp_path):
    root, _ = finished
    output = tmp_path / "out"
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    item = with_findings(output)
    decide(output, item, *[Decision.REJECTED] * item.findings)
    run_batch(settings(root, output), Recorder(), load=LoadFake())
    (row,) = [row for row in read(output / "triage.csv") if row["series"] == item.series]
    assert row["decision"] == "rejected"
    found = [row for row in read(output / "findings.csv") if row["series"] == item.series]
    assert [row["decision"] for row in found] == ["rejected"] * item.findings
    assert "rejected" in (output / "triage.html").read_text()


def test_a_damaged_review_is_told_and_stops_nothing(output):
    item = with_findings(output)
    (output / item.folder / "review.json").write_text("{")
    assert write_decisions(output, item) == "unreadable"
    assert "unreadable" in {row["decision"] for row in read(output / "triage.csv")}


def test_what_is_missing_is_said(output, tmp_path):
    with pytest.raises(InputError, match="no output of a batch"):
        read_worklist(tmp_path)
    item = read_worklist(output)[0]
    shutil.rmtree(output / ".batch")
    with pytest.raises(InputError, match="open the image first"), read_image(output, item):
        pass
