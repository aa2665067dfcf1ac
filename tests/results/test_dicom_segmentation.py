"""Segmentation: the same voxels in the same place, whoever reads it."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
from result_cases import PLACED, SOURCES

from moeclip_med.results import notes, result_notes, write_results


def mask(anomaly, rank):
    finding = anomaly.findings[rank - 1]
    return anomaly.labels == finding.label


@pytest.mark.parametrize("source", PLACED)
def test_highdicom_reads_the_findings_back_frame_by_frame(written, source):
    result = written(source)
    frames = result.anomaly.volume.frames
    segmentation = hd.seg.segread(result.paths["seg"])
    if source == "enhanced":
        pixels = segmentation.get_pixels_by_source_frame(
            frames[0].sop_instance_uid, [frame.frame + 1 for frame in frames], segment_numbers=[1, 2]
        )
    else:
        uids = [frame.sop_instance_uid for frame in frames]
        pixels = segmentation.get_pixels_by_source_instance(uids, segment_numbers=[1, 2])
    for rank in (1, 2):
        np.testing.assert_array_equal(pixels[..., rank - 1].transpose(2, 1, 0), mask(result.anomaly, rank))


@pytest.mark.parametrize("source", SOURCES)
def test_pydicom_finds_each_frame_citing_its_own_source_frame(written, source):
    result = written(source)
    dataset = result.read("seg")
    pixels = dataset.pixel_array
    seen = set()
    for frame, item in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        groups = item if "SegmentIdentificationSequence" in item else dataset.SharedFunctionalGroupsSequence[0]
        rank = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        cited = item.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(cited.get("ReferencedFrameNumber") or 1)
        (z,) = [
            index
            for index, reference in enumerate(result.anomaly.volume.frames)
            if reference.sop_instance_uid == cited.ReferencedSOPInstanceUID and reference.frame + 1 == number
        ]
        np.testing.assert_array_equal(frame.astype(bool), mask(result.anomaly, rank)[:, :, z].T)
        seen.add((rank, z))
    ranks = len(result.anomaly.findings)
    assert len(seen) == len(pixels) == ranks * result.anomaly.volume.shape[2]  # empty frames are kept


@pytest.mark.parametrize("source", PLACED)
def test_the_centre_in_mm_is_where_the_finding_is(written, source):
    result = written(source)
    dataset = result.read("seg")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for frame, item in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:
            rows, columns = np.nonzero(frame)
            origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            points.append(origin + np.outer(columns, row) * between_columns + np.outer(rows, column) * between_rows)
    voxels = np.argwhere(mask(result.anomaly, 1)).mean(0)
    ras = result.anomaly.affine.matrix @ [*voxels, 1]
    np.testing.assert_allclose(np.concatenate(points).mean(0), [-ras[0], -ras[1], ras[2]], atol=0.01)


@pytest.mark.parametrize("source", SOURCES)
def test_study_patient_and_references_come_from_the_source(written, source):
    result = written(source)
    dataset, header = result.read("seg"), result.headers[0]
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert dataset.get(keyword) == header.get(keyword), keyword
    assert dataset.get("FrameOfReferenceUID") == (None if source == "clip" else header.FrameOfReferenceUID)
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == header.SeriesInstanceUID
    cited = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert cited == {frame.sop_instance_uid for frame in result.anomaly.volume.frames}


def test_segments_name_finding_and_algorithm(written):
    result = written("axial")
    dataset = result.read("seg")
    assert dataset.SegmentationType == "BINARY"
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == ["Finding 1", "Finding 2"]
    (algorithm,) = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "MoECLIP lite"
    assert algorithm.AlgorithmVersion == "1.0 (abababababab)"
    for parameter in ("model_sha256=" + "ab" * 32, "threshold=0.5", "calibrated=no", "prompts=none (learned"):
        assert parameter in algorithm.AlgorithmParameters


def test_a_very_large_segmentation_leaves_empty_frames_out_and_says_so(dicom_anomaly, tmp_path, monkeypatch):
    anomaly = dicom_anomaly("axial")
    assert not any("omits frames" in note for note in result_notes(anomaly, ["seg"]))
    monkeypatch.setattr(notes, "MOST_SEGMENT_BYTES", 2 * 64 * 72 * 24 / 8 - 1)
    assert any("omits frames without a finding" in note for note in result_notes(anomaly, ["seg"]))
    dataset = pydicom.dcmread(write_results(anomaly, tmp_path / "out", ["seg"]).files["seg"])
    filled = sum(finding.slice_range[1] - finding.slice_range[0] + 1 for finding in anomaly.findings)
    assert int(dataset.NumberOfFrames) == filled < 48


def test_frames_without_a_place_are_ordered_by_their_number_and_hold_no_stand_in(written):
    dataset = written("clip").read("seg")
    numbers = [
        int(item.FrameContentSequence[0].InStackPositionNumber) for item in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [1, 2, 3, 4, 5, 6]
    text = str(dataset)
    for name in ("Image Position", "Image Orientation", "Pixel Spacing", "Frame of Reference UID"):
        assert name not in text
