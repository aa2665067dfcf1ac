"""A reader's decisions in DICOM: a second report that cites the first, and how each outline came about."""

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest

from moeclip_med.results import write_results
from moeclip_med.scoring.findings import find_findings
from moeclip_med.scoring.review import (
    Decision,
    FindingReview,
    Outline,
    Review,
    Site,
    apply_review,
)

FORMATS = ["seg", "sr", "rtstruct"]
COMMENT = "größer als zuvor"
FIRST = ("segmentation_as_found.dcm", "measurements_as_found.dcm")


@pytest.fixture
def found(dicom_anomaly):
    """A run as `find_findings` lists it."""
    anomaly = dicom_anomaly("oblique")
    listed = find_findings(anomaly.scores, anomaly.volume, anomaly.threshold)
    return replace(anomaly, labels=listed.labels, findings=listed.findings)


def drawn(anomaly, at):
    mask = np.zeros(anomaly.scores.shape, bool)
    mask[tuple(slice(a, a + 3) for a in at)] = True
    return FindingReview(tuple(at), decision=Decision.ACCEPTED, outline=Outline.of(mask), is_drawn=True)


def reviewed(found, *entries, reader=""):
    return apply_review(replace(found, labels=found.labels.copy()), Review(reader, entries))


def test_the_report_says_what_was_decided_and_cites_the_first(found, tmp_path):
    first, second = found.findings
    plain = write_results(found, tmp_path / "plain", FORMATS).files
    run = reviewed(
        found,
        FindingReview(first.peak_voxel, Decision.ACCEPTED, COMMENT, Site("Brain", "12738006", "SCT")),
        FindingReview(second.peak_voxel, Decision.REJECTED, site=Site("behind the eye")),
        reader="Müller",
    )
    results = write_results(run, tmp_path / "read", FORMATS)
    assert not results.failed
    files = results.files
    report = hd.sr.srread(files["sr"])
    kept_first = [tmp_path / "read" / name for name in FIRST]
    (cited,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    before = pydicom.dcmread(kept_first[1])
    assert cited.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert before.SOPInstanceUID == pydicom.dcmread(plain["sr"]).SOPInstanceUID, "the report of the unread run"
    assert kept_first[0].read_bytes() == plain["seg"].read_bytes()
    assert kept_first[1].read_bytes() == plain["sr"].read_bytes()
    assert report.SOPInstanceUID != before.SOPInstanceUID
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "PARTIAL")

    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert said(group) == ["Accepted"]
    assert [site.value.meaning for site in group.finding_sites] == ["Brain"]
    (rejected,) = [
        one for one in report.content.get_image_measurement_groups() if one.tracking_identifier == "Finding 2"
    ]
    assert said(rejected) == ["Rejected"]
    texts = texts_of(report)
    assert COMMENT in texts
    assert "Site: behind the eye" in texts
    assert "Müller" in str(report)


def test_what_a_review_changed_carries_the_time_of_the_review(found, tmp_path):
    entry = FindingReview(found.findings[0].peak_voxel, Decision.ACCEPTED)
    review = Review(entries=(entry,), changed="2031-05-06T07:08:09+00:00")
    run = apply_review(replace(found, labels=found.labels.copy()), review)
    files = write_results(run, tmp_path, FORMATS).files
    run_time = time_of(found.record.created)
    assert run_time != time_of(review.changed)
    for name in ("sr", "seg"):
        dataset = pydicom.dcmread(files[name])
        assert dataset.ContentDate + dataset.ContentTime == time_of(review.changed)
        assert dataset.InstanceCreationDate + dataset.InstanceCreationTime == time_of(review.changed)
        assert dataset.ContributingEquipmentSequence[0].ContributionDateTime == run_time, "when the program worked"
    structures = pydicom.dcmread(files["rtstruct"])
    assert structures.StructureSetDate + structures.StructureSetTime == time_of(review.changed)
    for name in FIRST:
        dataset = pydicom.dcmread(tmp_path / name)
        assert dataset.ContentDate + dataset.ContentTime == run_time
        assert dataset.InstanceCreationDate + dataset.InstanceCreationTime == run_time


def test_another_time_makes_another_instance(found, tmp_path):
    review = Review(entries=(FindingReview(found.findings[0].peak_voxel, Decision.ACCEPTED),))
    uids = set()
    for when in ("2031-05-06T07:08:09+00:00", "2031-05-06T07:08:10+00:00"):
        run = apply_review(replace(found, labels=found.labels.copy()), replace(review, changed=when))
        uids.add(pydicom.dcmread(write_results(run, tmp_path, FORMATS).files["sr"]).SOPInstanceUID)
    assert len(uids) == 2


def time_of(when):
    """A time as DICOM writes date and time, in the local zone."""
    return datetime.fromisoformat(when).astimezone().strftime("%Y%m%d%H%M%S")


def said(group):
    """What a group says of its finding, beside what it is."""
    values = [item.value.meaning for item in group.get_qualitative_evaluations()]
    return [value for value in values if value != "Morphologically Abnormal Structure"]


def texts_of(dataset):
    found = []
    dataset.walk(lambda _, element: found.append(element.value) if element.keyword == "TextValue" else None)
    return found


def test_nobody_is_named_who_did_not_type_a_name(found, tmp_path):
    run = reviewed(found, FindingReview(found.findings[0].peak_voxel, Decision.ACCEPTED))
    report = pydicom.dcmread(write_results(run, tmp_path / "read", FORMATS).files["sr"])
    observers = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Observer Type"
    ]
    assert observers == ["Device"]


def test_an_unread_run_has_one_report_without_predecessor(found, tmp_path):
    run = reviewed(found, FindingReview(found.findings[0].peak_voxel, Decision.ACCEPTED))
    write_results(run, tmp_path / "out", FORMATS)
    files = write_results(found, tmp_path / "out", FORMATS).files
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(files["sr"])
    assert not any((tmp_path / "out" / name).exists() for name in FIRST)


def test_segments_and_regions_say_how_their_outline_came_about(found, tmp_path):
    first, _ = found.findings
    mask = found.labels == first.label
    mask[first.peak_voxel[0] :] = False
    mask[first.peak_voxel] = True
    edited = FindingReview(first.peak_voxel, outline=Outline.of(mask))
    run = reviewed(found, edited, drawn(found, (4, 4, 2)))
    files = write_results(run, tmp_path / "out", FORMATS).files
    kinds = ["SEMIAUTOMATIC", "AUTOMATIC", "MANUAL"]
    segments = pydicom.dcmread(files["seg"]).SegmentSequence
    assert [segment.SegmentAlgorithmType for segment in segments] == kinds
    regions = pydicom.dcmread(files["rtstruct"]).StructureSetROISequence
    assert [region.ROIGenerationAlgorithm for region in regions] == kinds
    groups = hd.sr.srread(files["sr"]).content.get_volumetric_roi_measurement_groups()
    assert [said(group) for group in groups] == [
        ["Not decided", "Edited by the reader"],
        [],
        ["Accepted", "Drawn by the reader"],
    ]


@pytest.mark.parametrize("tool", ["dciodvfy", "dsrdump"])
def test_validators_have_nothing_to_say(found, tmp_path, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    first, second = found.findings
    run = reviewed(
        found,
        FindingReview(first.peak_voxel, Decision.ACCEPTED, COMMENT, Site("Brain", "12738006", "SCT")),
        FindingReview(second.peak_voxel, Decision.REJECTED, "artefact"),
        drawn(found, (4, 4, 2)),
        reader="Müller",
    )
    write_results(run, tmp_path / "out", FORMATS)
    for name in ("measurements.dcm", *FIRST) if tool == "dciodvfy" else ("measurements.dcm", FIRST[1]):
        path = tmp_path / "out" / name
        told = subprocess.run([tool, path], capture_output=True, text=True, check=False)
        faults = [line for line in told.stderr.splitlines() if line.startswith(("Error", "E:", "W:"))]
        assert not [line for line in faults if "VR checker does not support" not in line], "which is of DCMTK itself"
        if tool == "dsrdump":
            assert told.returncode == 0
    shown = subprocess.run(["dsrdump", "+U8", tmp_path / "out" / "measurements.dcm"], capture_output=True, check=False)
    if tool == "dsrdump":
        assert COMMENT in shown.stdout.decode()
