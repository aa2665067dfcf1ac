"""Weekly shares of studies with findings, and the table of findings."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from batch_fakes import FakeDetector, LoadFake, Recorder, settings
from hospital_files import write_nifti
from moeclip_transforms.errors import NoticeWarning
from scipy.stats import beta

from moeclip_med.batch.drift import CONFIDENCE, drift_warning, render_drift, weekly_shares
from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.headers import FileHeader, iso_week
from moeclip_med.batch.output import BatchOutput
from moeclip_med.batch.records import SeriesRecord, SeriesState, StudyReport, StudyState
from moeclip_med.batch.triage import write_triage
from moeclip_med.scoring.review import Decision, FindingReview, Review
from moeclip_med.scoring.review_file import write_review


def fill(
    output: BatchOutput, weeks: dict[str, tuple[int, int]], scanner: str = "scanner-a", *, calibrated=True
) -> None:
    """Enter studies: by week, how many, and how many of them with findings."""
    for week, (studies, with_findings) in weeks.items():
        for number in range(studies):
            name = f"study-{scanner}-{week}-{number}"
            output.catalogue.add_headers([FileHeader(Path("x"), name, "patient", name, scanner=scanner, week=week)])
            with output.ledger.transaction():
                output.ledger.add_study(name, "patient", "s", [])
            record = SeriesRecord(
                f"series-{name}", SeriesState.DONE, score=0.5, findings=int(number < with_findings),
                is_calibrated=calibrated,
            )  # fmt: skip
            output.ledger.finish(StudyReport(name, StudyState.DONE, series=(record,)))


@pytest.fixture
def output(tmp_path):
    with BatchOutput(tmp_path / "out") as opened:
        yield opened


STEADY = {f"2024-W{week:02d}": (20, 4) for week in range(1, 6)}


def test_the_interval_is_the_exact_one_of_clopper_and_pearson(output):
    fill(output, {"2024-W01": (25, 5)})
    (share,) = weekly_shares(output.ledger, output.catalogue)
    tail = (1 - CONFIDENCE) / 2
    assert share.low == pytest.approx(beta.ppf(tail, 5, 21), abs=1e-9)
    assert share.high == pytest.approx(beta.ppf(1 - tail, 6, 20), abs=1e-9)
    assert share.share_before is None


def test_a_change_is_marked_and_said_once_it_is_the_last_week(output):
    fill(output, STEADY)
    assert drift_warning(weekly_shares(output.ledger, output.catalogue)) == ""
    fill(output, {"2024-W06": (20, 15)})
    shares = weekly_shares(output.ledger, output.catalogue)
    assert [share.is_outside for share in shares] == [False] * 5 + [True]
    assert shares[-1].share_before == pytest.approx(0.2)
    assert "scanner-a, 2024-W06: 75% of 20 studies" in drift_warning(shares)


def test_small_weeks_are_not_shown_and_uncalibrated_studies_not_counted(output):
    fill(output, {"2024-W01": (9, 9)})
    fill(output, {"2024-W02": (30, 3)}, "scanner-b", calibrated=False)
    assert weekly_shares(output.ledger, output.catalogue) == []
    assert "drift.html" not in write_triage(output, (), identify=False)


def test_scanners_are_kept_apart_and_the_page_shows_each(output):
    fill(output, STEADY)
    fill(output, {"2024-W01": (20, 20)}, "scanner-<b>")
    files = write_triage(output, (), identify=False)
    page = files["drift.html"].read_text()
    assert page.count("<svg") == 2
    assert "scanner-&lt;b&gt;" in page
    assert "2024-01-01" in page
    assert render_drift([]).count("<svg") == 0
    with files["drift.csv"].open() as stream:
        assert [row["with_findings"] for row in csv.DictReader(stream)] == ["20"] + ["4"] * 5


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ("20240229", "2024-W09"),
        ("20241231", "2025-W01"),
        ("99999999", ""),
        ("22630101", "2263-W01"),
        ("", ""),
        ("x", ""),
    ],
)
def test_weeks_of_dates_and_of_what_is_none(day, week):
    assert iso_week(day) == week


@pytest.mark.usefixtures("without_processes")
def test_every_finding_is_in_one_table(tmp_path):
    for number in range(3):
        write_nifti(tmp_path / "archive" / f"{number}.nii.gz", shape=(30, 32, 6 + number))
    outcome = run_batch(settings(tmp_path / "archive", tmp_path / "out"), Recorder(), load=LoadFake())
    with outcome.files["findings.csv"].open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert all(float(row["volume_ml"]) > 0 and float(row["long_mm"]) >= float(row["short_mm"]) > 0 for row in rows)
    assert all(row["place"] and row["series"].startswith("series-") for row in rows)
    assert {float(row["value_mean"]) for row in rows} == {900.0}
    assert FakeDetector().metadata.threshold.value == float(rows[0]["threshold"])
    from pyarrow import parquet

    assert parquet.read_table(outcome.files["findings.parquet"]).num_rows == 3


@pytest.mark.usefixtures("without_processes")
def test_what_a_reader_decided_stands_in_the_table_of_findings(tmp_path):
    for number in range(2):
        write_nifti(tmp_path / "archive" / f"{number}.nii.gz", shape=(30, 32, 6 + number))
    chosen = settings(tmp_path / "archive", tmp_path / "out")
    outcome = run_batch(chosen, Recorder(), load=LoadFake())

    def decisions():
        with outcome.files["findings.csv"].open() as stream:
            return {row["series"]: row["decision"] for row in csv.DictReader(stream)}

    assert set(decisions().values()) == {""}
    folder = next((tmp_path / "out" / "studies").glob("*/*/run.json")).parent
    finding = json.loads((folder / "findings.json").read_text())["findings"][0]
    entry = FindingReview(tuple(finding["peak_voxel"]), Decision.REJECTED)
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    write_review(Review(entries=(entry,)), run_id, folder)
    run_batch(chosen, Recorder(), load=LoadFake())
    assert sorted(decisions().values()) == ["", "rejected"]
    assert decisions()[folder.name] == "rejected"

    write_review(Review(entries=(entry,)), "another run", folder)
    with pytest.warns(NoticeWarning, match="decisions are not listed: .* belongs to run another run"):
        run_batch(chosen, Recorder(), load=LoadFake())
    assert set(decisions().values()) == {""}

    run_batch(replace(chosen, redo=True), Recorder(), load=LoadFake())
    assert (folder / "review-of-earlier-results.json").is_file()
    assert not (folder / "review.json").exists()
