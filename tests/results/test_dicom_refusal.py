"""DICOM results that an input cannot have are refused with the reason."""

from __future__ import annotations

import pydicom
import pytest
from moeclip_transforms.errors import InputError
from result_cases import with_edited_headers

from moeclip_med.results import ResultFormat, refusals, write_results


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        ("seg", "Segmentation"),
        ("pm", "Parametric Map"),
        ("sr", "structured report"),
        ("sc", "Secondary Capture"),
        ("rtstruct", "RT Structure Set"),
    ],
)
def test_nifti_input_has_no_dicom_results_and_keeps_the_others(nifti_anomaly, tmp_path, fmt, name):
    written = write_results(nifti_anomaly, tmp_path / "out", [fmt, "json"])
    assert list(written.files) == ["json"]
    reason = written.failed[ResultFormat(fmt)]
    assert reason.startswith(
        f"Doe_Jane_flair.nii.gz: a DICOM {name} cites DICOM source frames, but this input is NIfTI;"
    )
    assert f"omit {fmt} or" in reason


def test_where_nothing_can_be_written_the_reason_is_the_error(nifti_anomaly, tmp_path):
    with pytest.raises(InputError, match="this input is NIfTI"):
        write_results(nifti_anomaly, tmp_path / "out", ["pm"])
    assert not (tmp_path / "out").exists()


def test_a_photograph(photo_anomaly):
    reasons = refusals(photo_anomaly.volume, [ResultFormat.SC, ResultFormat.REPORT])
    assert list(reasons) == [ResultFormat.SC]
    assert "this input is a plain image" in reasons[ResultFormat.SC]


def test_a_clip_has_no_results_that_need_a_place_in_space(written):
    volume = written("clip").anomaly.volume
    reasons = refusals(volume, list(ResultFormat))
    assert set(reasons) == {ResultFormat.PM, ResultFormat.RTSTRUCT}
    assert "needs a place in space for every frame (PS3.3, A.75)" in reasons[ResultFormat.PM]
    assert "needs a place in space for every frame (PS3.3, A.19)" in reasons[ResultFormat.RTSTRUCT]


def test_dicom_input_is_not_refused(dicom_anomaly):
    assert refusals(dicom_anomaly("tilted").volume, list(ResultFormat)) == {}


def test_source_files_that_are_gone_are_not_missed(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("axial")
    for frame in anomaly.volume.frames:
        frame.path.unlink()
    assert set(write_results(anomaly, tmp_path / "out", ["seg", "pm", "sr", "sc"]).files) == {"seg", "pm", "sr", "sc"}


def test_no_patient_name_reaches_a_warning(dicom_anomaly, tmp_path, recwarn):
    def edit(_, dataset):
        dataset.PatientName = "Doe"  # one component: highdicom would quote it

    anomaly = with_edited_headers(dicom_anomaly("axial"), edit)
    write_results(anomaly, tmp_path / "out", ["seg", "pm", "sr", "sc"])
    assert not [warning for warning in recwarn if "Doe" in str(warning.message)]


def test_rounded_orientations_and_missing_attributes_are_no_obstacle(dicom_anomaly, tmp_path):
    def edit(index, dataset):
        dataset.ImageOrientationPatient = [1, index * 1e-6, 0, 0, 1, 0]
        for keyword in ("FrameOfReferenceUID", "StudyID", "PatientBirthDate", "SliceThickness", "AccessionNumber"):
            delattr(dataset, keyword)

    anomaly = with_edited_headers(dicom_anomaly("axial"), edit)
    paths = write_results(anomaly, tmp_path / "out", ["seg", "pm", "sr", "sc"]).files
    dataset = pydicom.dcmread(paths["seg"])
    assert dataset.FrameOfReferenceUID == pydicom.dcmread(paths["pm"]).FrameOfReferenceUID
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(6.0)
