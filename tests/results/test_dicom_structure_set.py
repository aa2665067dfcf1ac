"""The RT Structure Set: contours around exactly the voxels of each finding, in the acquired slices."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documents use
from result_cases import BLOBS, PLACED, Blob, dicom_volume, score
from skimage.measure import points_in_poly

from moeclip_med.results import write_results


def contours_of(dataset, number):
    item = next(item for item in dataset.ROIContourSequence if item.ReferencedROINumber == number)
    for contour in item.ContourSequence:
        yield contour, np.array(contour.ContourData, dtype=float).reshape(-1, 3)


@pytest.mark.parametrize("source", PLACED)
def test_contours_enclose_the_voxels_of_each_finding_and_no_other(written, source):
    result = written(source)
    anomaly, volume = result.anomaly, result.anomaly.volume
    dataset = result.read("rtstruct")
    slices = {frame.sop_instance_uid + f"#{frame.frame + 1}": z for z, frame in enumerate(volume.frames)}
    spacing_x, spacing_y, _ = volume.affine.spacing
    for finding in anomaly.findings:
        inside = np.zeros(volume.shape, dtype=int)
        for contour, points in contours_of(dataset, finding.rank):
            (image,) = contour.ContourImageSequence
            frame_number = image.get("ReferencedFrameNumber", 1)
            z = slices[f"{image.ReferencedSOPInstanceUID}#{frame_number}"]
            frame = volume.frame_geometry[z]
            offsets = points - frame.position
            normal = np.cross(frame.row_direction, frame.column_direction)
            np.testing.assert_allclose(offsets @ normal, 0, atol=1e-4)
            corners = np.stack([offsets @ frame.row_direction, offsets @ frame.column_direction], 1)
            corners /= (spacing_x, spacing_y)
            np.testing.assert_allclose(corners % 1, 0.5, atol=1e-3)
            assert contour.NumberOfContourPoints == len(points)
            grid = np.stack(np.meshgrid(*map(np.arange, volume.shape[:2]), indexing="ij"), -1).reshape(-1, 2)
            inside[:, :, z] += points_in_poly(grid, corners).reshape(volume.shape[:2])
        np.testing.assert_array_equal(inside, anomaly.labels == finding.label)


def test_regions_have_the_names_and_volumes_of_the_findings(written):
    result = written("axial")
    dataset = result.read("rtstruct")
    assert dataset.ApprovalStatus == "UNAPPROVED"
    for region, finding in zip(dataset.StructureSetROISequence, result.anomaly.findings, strict=True):
        assert (region.ROINumber, region.ROIName) == (finding.rank, f"Finding {finding.rank}")
        assert float(region.ROIVolume) == pytest.approx(finding.volume_ml)
        assert region.ROIGenerationAlgorithm == "AUTOMATIC"
        assert region.ReferencedFrameOfReferenceUID == result.headers[0].FrameOfReferenceUID
    (space,) = dataset.ReferencedFrameOfReferenceSequence
    (series,) = space.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == {
        frame.sop_instance_uid for frame in result.anomaly.volume.frames
    }


def test_without_a_finding_there_is_none_and_a_note_says_so(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("axial", tuple(Blob(blob.centre, blob.radius, 0.3) for blob in BLOBS))
    written = write_results(anomaly, tmp_path / "out", ["rtstruct", "json"])
    assert list(written.files) == ["json"]
    assert "No RT Structure Set was written" in written.files["json"].read_text()


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="plastimatch (Debian package plastimatch) is missing")
@pytest.mark.parametrize("orientation", ["axial", "sagittal", "oblique"])
def test_plastimatch_fills_the_contours_with_the_same_voxels(tmp_path, orientation):
    source = tmp_path / "in"
    source.mkdir()
    anomaly = score(
        dicom_volume(source, orientation, (40, 36, 12)), (Blob((12, 20, 5), 5, 0.92), Blob((28, 14, 8), 4, 0.7))
    )
    path = write_results(anomaly, tmp_path / "out", ["rtstruct"]).files["rtstruct"]
    subprocess.run(
        ["plastimatch", "convert", "--input", path, "--referenced-ct", source, "--output-prefix", tmp_path / "masks",
         "--prefix-format", "nrrd"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    for finding in anomaly.findings:
        image = sitk.ReadImage(str(tmp_path / "masks" / f"Finding {finding.rank}.nrrd"))
        mask = sitk.GetArrayFromImage(image).T > 0
        np.testing.assert_array_equal(mask, anomaly.labels == finding.label)
        np.testing.assert_allclose(image.GetOrigin(), anomaly.volume.frame_geometry[0].position, atol=1e-3)


def test_a_contour_of_more_than_64_kib_is_written_whole(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    volume = dicom_volume(source, "axial", (1600, 20, 1))
    anomaly = score(volume, (Blob((800, 10, 0), 4, 0.9),))
    labels = np.zeros(volume.shape, np.int32)
    labels[:, 10] = labels[::2, 9] = labels[::2, 11] = 1
    finding = replace(anomaly.findings[0], label=1, box_start=(0, 9, 0), box_stop=(1600, 12, 1))
    anomaly = replace(anomaly, labels=labels, findings=(finding,))
    path = write_results(anomaly, tmp_path / "out", ["rtstruct"]).files["rtstruct"]
    ((contour, points),) = contours_of(pydicom.dcmread(path), 1)
    assert sum(len(str(value)) + 1 for value in contour.ContourData) > 65536
    assert contour.NumberOfContourPoints == len(points)
    x, y, _ = points.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert area == pytest.approx((labels > 0).sum() * 2.6 * 2.5, rel=1e-6)
