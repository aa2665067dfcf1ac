"""Secondary captures: the acquired slices with the overlay burnt in."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from result_cases import SOURCES, with_edited_headers

from moeclip_med.results import write_results
from moeclip_med.results.dicom.secondary_capture import enlargement


def captures(result):
    return [pydicom.dcmread(path) for path in sorted(result.paths["sc"].iterdir())]


@pytest.mark.parametrize("source", SOURCES)
def test_one_colour_picture_per_slice_citing_its_frame(written, source):
    result = written(source)
    pictures = captures(result)
    frames = result.anomaly.volume.frames
    assert [int(picture.InstanceNumber) for picture in pictures] == list(range(1, len(frames) + 1))
    assert len({picture.SeriesInstanceUID for picture in pictures}) == 1
    for picture, frame in zip(pictures, frames, strict=True):
        assert (picture.PhotometricInterpretation, picture.SamplesPerPixel) == ("RGB", 3)
        (cited,) = picture.SourceImageSequence
        assert cited.ReferencedSOPInstanceUID == frame.sop_instance_uid
        assert cited.get("ReferencedFrameNumber") == (frame.frame + 1 if source in {"enhanced", "clip"} else None)
        assert "model_sha256=" + "ab" * 32 in picture.DerivationDescription


@pytest.mark.parametrize(
    ("source", "picture"), [("YES", "YES"), ("no", "NO"), (["NO", "YES"], "YES"), ("MAYBE", None), (None, None)]
)
def test_burned_in_annotation_is_the_sources_own(small_anomaly, tmp_path, source, picture):
    def edit(_, dataset):
        if source is not None:
            dataset.BurnedInAnnotation = source

    paths = write_results(with_edited_headers(small_anomaly, edit), tmp_path / "out", ["sc"]).files
    for path in paths["sc"].iterdir():
        assert pydicom.dcmread(path).get("BurnedInAnnotation") == picture


@pytest.mark.parametrize("source", ["axial", "sagittal", "oblique", "tilted", "enhanced"])
def test_the_brightest_overlay_lies_on_the_finding_in_mm(written, source):
    result = written(source)
    finding = result.anomaly.findings[0]
    picture = captures(result)[finding.peak_voxel[2]]
    red, _, blue = np.moveaxis(picture.pixel_array.astype(int), -1, 0)
    hot = red - blue > 60
    hot[-60:] = False  # the text below is orange too
    rows, columns = np.nonzero(hot)
    row, column = np.reshape(picture.ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = (float(value) for value in picture.PixelSpacing)
    lps = np.array(picture.ImagePositionPatient, dtype=float)
    lps = lps + row * columns.mean() * between_columns + column * rows.mean() * between_rows
    ras = result.anomaly.affine.matrix @ [*finding.peak_voxel, 1]
    np.testing.assert_allclose(lps, [-ras[0], -ras[1], ras[2]], atol=1.0)
    assert picture.FrameOfReferenceUID == result.headers[0].FrameOfReferenceUID


@pytest.mark.parametrize(
    ("rows", "columns", "factor"), [(512, 512, 1), (128, 128, 3), (64, 64, 6), (1, 16, 96), (16, 1, 96), (1, 3000, 32)]
)
def test_a_slice_is_enlarged_for_the_text_and_a_strip_no_more_than_needed(rows, columns, factor):
    assert enlargement(rows, columns) == factor


def test_small_slices_are_enlarged_and_their_corners_stay(written):
    result = written("axial")
    picture, header = captures(result)[0], result.headers[0]
    assert (picture.Rows, picture.Columns) == (72 * 6, 64 * 6)
    corner = np.array(picture.ImagePositionPatient, float)[:2] - np.array(picture.PixelSpacing, float)[::-1] / 2
    expected = np.array(header.ImagePositionPatient, float)[:2] - np.array(header.PixelSpacing, float)[::-1] / 2
    np.testing.assert_allclose(corner, expected, atol=1e-3)


def test_the_text_and_nothing_else_is_burnt_into_a_slice_without_findings(written):
    result = written("axial")
    pixels = captures(result)[0].pixel_array.astype(int)
    coloured = np.ptp(pixels, axis=-1) > 40
    assert coloured[-60:].sum() > 300
    assert coloured[:-60].sum() == 0


@pytest.mark.parametrize(("source", "letters"), [("axial", ["L", "P"]), ("sagittal", ["P", "F"]), ("clip", [])])
def test_patient_orientation(written, source, letters):
    assert list(captures(written(source))[0].PatientOrientation or []) == letters
