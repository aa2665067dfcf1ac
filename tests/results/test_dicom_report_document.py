"""Structured report: every finding with its numbers and its segment."""

from __future__ import annotations

import shutil
import subprocess

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes
from result_cases import BLOBS, SOURCES

from moeclip_med.results import result_notes, write_results


def numbers(group):
    """Measurements of a group by name and derivation."""
    return {
        (item.name.meaning, item.derivation.meaning if item.derivation else ""): item.value
        for item in group.get_measurements()
    }


def test_findings_come_with_diameters_and_attenuation(written):
    result = written("oblique")
    groups = hd.sr.srread(result.paths["sr"]).content.get_volumetric_roi_measurement_groups()
    for group, measures in zip(groups, result.anomaly.measures, strict=True):
        measured = numbers(group)
        assert measured["Long axis", ""] == pytest.approx(measures.longest.mm, abs=1e-3)
        assert measured["Short axis", ""] == pytest.approx(measures.perpendicular.mm, abs=1e-3)
        values = [measured["Attenuation Coefficient", name] for name in ("Mean", "Standard Deviation", "Maximum")]
        assert values == pytest.approx([measures.mean, measures.sd, measures.maximum], abs=1e-3)
        units = {item.unit.value for item in group.get_measurements() if item.name.meaning == "Attenuation Coefficient"}
        assert units == {"[hnsf'U]"}


@pytest.mark.parametrize("source", SOURCES)
def test_findings_come_back_with_their_numbers_and_segments(written, source):
    result = written(source)
    content = hd.sr.srread(result.paths["sr"]).content
    segmentation = result.read("seg")
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(result.anomaly.findings)
    for group, finding, segment in zip(groups, result.anomaly.findings, segmentation.SegmentSequence, strict=True):
        measured = numbers(group)
        assert measured["Anomaly score", "Maximum"] == pytest.approx(finding.peak_score, abs=1e-6)
        assert measured["Anomaly score", "Mean"] == pytest.approx(finding.mean_score, abs=1e-6)
        if finding.volume_ml is None:
            assert measured["Number of pixels", ""] == finding.voxel_count
        else:
            assert measured["Volume", ""] == pytest.approx(finding.volume_ml, abs=1e-4)
        assert group.tracking_uid == segment.TrackingUID
        (item,) = group.referenced_segment[0].ReferencedSOPSequence
        assert item.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert item.ReferencedSegmentNumber == segment.SegmentNumber


def test_the_volume_as_a_whole_comes_with_threshold_and_caveats(written):
    content = hd.sr.srread(written("axial").paths["sr"]).content
    (group,) = [g for g in content.get_image_measurement_groups() if g.tracking_identifier == "Whole volume"]
    assert numbers(group) == {
        ("Anomaly score", "Maximum"): pytest.approx(0.92, abs=1e-6),
        ("Threshold of the anomaly score", ""): 0.5,
        ("Number of findings", ""): 2,
    }
    caveats = [item.value.meaning for item in group.get_qualitative_evaluations()]
    assert caveats == ["Research use only. Not a medical device", "Uncalibrated"]


def test_without_findings_there_is_a_report_and_no_segmentation(dicom_anomaly, tmp_path):
    faint = tuple(type(blob)(blob.centre, blob.radius, 0.3) for blob in BLOBS)
    anomaly = dicom_anomaly("axial", faint)
    paths = write_results(anomaly, tmp_path / "out", ["seg", "sr"]).files
    assert list(paths) == ["sr"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["measurements.dcm"]
    content = hd.sr.srread(paths["sr"]).content
    assert content.get_volumetric_roi_measurement_groups() == []
    (group,) = content.get_image_measurement_groups()
    assert numbers(group)["Number of findings", ""] == 0
    assert "No DICOM segmentation was written: there is no finding" in result_notes(anomaly, ["seg", "sr"])[-1]


def test_a_report_alone_brings_the_segments_it_cites(dicom_anomaly, tmp_path):
    assert list(write_results(dicom_anomaly("axial"), tmp_path / "out", ["sr"]).files) == ["seg", "sr"]


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump (Debian package dcmtk) is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_dcmtk_reads_it(written, source):
    result = written(source)
    dumped = subprocess.run(["dsrdump", "+Pl", result.paths["sr"]], capture_output=True, text=True, check=False)
    assert dumped.returncode == 0
    assert dumped.stderr == ""
    assert "Comprehensive 3D SR Document" in dumped.stdout
    for finding in result.anomaly.findings:
        assert f'"{round(finding.peak_score, 6)}"' in dumped.stdout
        assert f"=(SG image,,{finding.rank})" in dumped.stdout


def test_it_claims_nothing(written):
    dataset = written("axial").read("sr")
    assert (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag) == (
        "PARTIAL",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    group = hd.sr.srread(written("axial").paths["sr"]).content.get_volumetric_roi_measurement_groups()[0]
    assert group.finding_type == codes.SCT.MorphologicallyAbnormalStructure
    assert np.isfinite(list(numbers(group).values())).all()
