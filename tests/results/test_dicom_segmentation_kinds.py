"""Segmentations as label maps and as fractions, and the finding site."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documents use
from moeclip_transforms.errors import InputError
from result_cases import Blob, clip_volume, dicom_volume, score

from moeclip_med.results import DicomOptions, SegmentationKind, write_results
from moeclip_med.results.formats import CodedTerm
from moeclip_med.scoring.review import FindingReview, Site

LUNG = CodedTerm("39607008", "SCT", "Lung")


def write(anomaly, folder, kind, formats=("seg", "sr")):
    return write_results(anomaly, folder, formats, DicomOptions(kind)).files


def test_a_label_map_holds_the_rank_at_each_voxel(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("oblique")
    paths = write(anomaly, tmp_path / "out", SegmentationKind.LABELMAP)
    dataset = pydicom.dcmread(paths["seg"])
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert dataset.SegmentationType == "LABELMAP"
    volume = hd.seg.segread(paths["seg"]).get_volume(combine_segments=True).array
    ranks = np.zeros(anomaly.labels.shape, int)
    for finding in anomaly.findings:
        ranks[anomaly.labels == finding.label] = finding.rank
    found = volume.transpose(2, 1, 0)
    assert any(np.array_equal(found[:, :, order], ranks) for order in (slice(None), slice(None, None, -1)))
    (study,) = pydicom.dcmread(paths["sr"]).CurrentRequestedProcedureEvidenceSequence
    evidence = {item.ReferencedSOPSequence[0].ReferencedSOPClassUID for item in study.ReferencedSeriesSequence}
    assert dataset.SOPClassUID in evidence


@pytest.mark.parametrize("source", ["axial", "clip"])
def test_fractions_are_the_scores_inside_each_finding(dicom_anomaly, tmp_path, source):
    if source == "clip":
        anomaly = score(clip_volume(tmp_path), (Blob((150, 100, 2), 20, 0.8),))
    else:
        anomaly = dicom_anomaly(source)
    dataset = pydicom.dcmread(write(anomaly, tmp_path / "out", SegmentationKind.FRACTIONAL, ["seg"])["seg"])
    assert (dataset.SegmentationType, dataset.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    slices = {
        (frame.sop_instance_uid, frame.frame + 1 if source == "clip" else None): z
        for z, frame in enumerate(anomaly.volume.frames)
    }
    shared = dataset.SharedFunctionalGroupsSequence[0]
    seen = 0
    for values, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        identified = groups if "SegmentIdentificationSequence" in groups else shared
        rank = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        cited = groups.DerivationImageSequence[0].SourceImageSequence[0]
        z = slices[cited.ReferencedSOPInstanceUID, cited.get("ReferencedFrameNumber")]
        inside = anomaly.findings[rank - 1].label == anomaly.labels[:, :, z].T
        np.testing.assert_array_equal(values > 0, inside)
        np.testing.assert_allclose(values[inside] / 255, anomaly.scores[:, :, z].T[inside], atol=0.5 / 255 + 1e-6)
        seen += int(inside.sum())
    assert seen == sum(finding.voxel_count for finding in anomaly.findings)


@pytest.mark.skipif(shutil.which("segimage2itkimage") is None, reason="dcmqi is not installed (pip install dcmqi)")
@pytest.mark.parametrize("kind", SegmentationKind)
def test_dcmqi_finds_the_same_voxels_at_the_same_place(tmp_path, kind):
    source, images = tmp_path / "in", tmp_path / "images"
    source.mkdir()
    images.mkdir()
    blobs = (Blob((12, 20, 5), 5, 0.92), Blob((28, 14, 8), 4, 0.7))
    anomaly = score(dicom_volume(source, "oblique", (40, 36, 12)), blobs)
    path = write(anomaly, tmp_path / "out", kind, ["seg"])["seg"]
    command = ["segimage2itkimage", "--inputDICOM", path, "--outputDirectory", images, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    for finding in anomaly.findings:
        is_map = kind is SegmentationKind.LABELMAP
        image = sitk.ReadImage(str(images / f"{1 if is_map else finding.rank}.nrrd"))
        values = sitk.GetArrayFromImage(image).T
        inside = values == finding.rank if is_map else values > 0
        np.testing.assert_array_equal(inside, anomaly.labels == finding.label)
        np.testing.assert_allclose(image.GetOrigin(), anomaly.volume.frame_geometry[0].position, atol=1e-3)


def test_the_kinds_are_series_of_their_own(small_anomaly, tmp_path):
    written = [
        pydicom.dcmread(write(small_anomaly, tmp_path / kind, kind, ["seg"])["seg"]) for kind in SegmentationKind
    ]
    assert len({dataset.SeriesInstanceUID for dataset in written}) == len(written)
    assert len({dataset.SOPInstanceUID for dataset in written}) == len(written)


def test_fractions_say_that_scores_are_no_probabilities(small_anomaly, tmp_path):
    paths = write(small_anomaly, tmp_path / "out", SegmentationKind.FRACTIONAL, ["seg", "json"])
    assert "PROBABILITY" in paths["json"].read_text()


def test_the_finding_site_is_in_segments_and_report(small_anomaly, tmp_path):
    options = DicomOptions(finding_site=LUNG)
    paths = write_results(small_anomaly, tmp_path / "out", ["seg", "sr"], options).files
    (segment,) = pydicom.dcmread(paths["seg"]).SegmentSequence
    assert segment.AnatomicRegionSequence[0].CodeValue == "39607008"
    (group,) = hd.sr.srread(paths["sr"]).content.get_volumetric_roi_measurement_groups()
    (site,) = group.finding_sites
    assert (site.value.value, site.value.scheme_designator, site.value.meaning) == ("39607008", "SCT", "Lung")


def test_the_finding_site_is_in_tables_and_page_unless_a_reader_said_another(small_anomaly, tmp_path):
    (found,) = small_anomaly.findings
    site = Site("Heart", "80891009", "SCT")
    placed = replace(small_anomaly, findings=(replace(found, review=FindingReview(found.peak_voxel, site=site)),))
    for anomaly, meaning, code in ((small_anomaly, "Lung", "39607008"), (placed, "Heart", "80891009")):
        options = DicomOptions(finding_site=LUNG)
        paths = write_results(anomaly, tmp_path / meaning, ["csv", "json", "report", "sr"], options).files
        (row,) = csv.DictReader(paths["csv"].read_text().splitlines())
        assert (row["site"], row["site_code"], row["decision"]) == (meaning, f"SCT:{code}", "open")
        (record,) = json.loads(paths["json"].read_text())["findings"]
        assert record["review"]["site"] == {"meaning": meaning, "code": code, "scheme": "SCT"}
        assert meaning in paths["report"].read_text()
        (group,) = hd.sr.srread(paths["sr"]).content.get_volumetric_roi_measurement_groups()
        assert group.finding_sites[0].value.value == code


def test_a_code_is_read_from_text():
    assert CodedTerm.parse("SCT:39607008: Lung") == LUNG


@pytest.mark.parametrize(
    "text", ["Lung", "SCT:39607008", "SCT::Lung", "SCT:39607008:Lünge", "SCT:1:" + "x" * 65, "a\\b:1:c"]
)
def test_what_is_no_code_is_refused(text):
    with pytest.raises(InputError, match="expected"):
        CodedTerm.parse(text)
