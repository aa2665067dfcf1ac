"""DICOM results that an input cannot have are refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import pydicom
import pytest
from moeclip_transforms.errors import InputError
from result_cases import with_edited_headers

from moeclip_med.results import ResultFormat, refusals, write_results


@pytest.mark.parametrize(
    ("fmt", "name"),
    [("seg", "Segmentation"), ("pm", "Parametric Map"), ("sr", "structured report"), ("sc", "Secondary Capture")],
)
def test_nifti_input(nifti_anomaly, tmp_path, fmt, name):
    with pytest.raises(InputError) as caught:
        write_results(nifti_anomaly, tmp_path / "out", [fmt, "json"])
    cited = "Segmentation" if fmt == "sr" else name  # a report brings the segmentation along
    left_out = "seg" if fmt == "sr" else fmt
    assert str(caught.value) == (
        f"Doe_Jane_flair.nii.gz: a DICOM {cited} cites DICOM source frames, but this input is NIfTI; "
        f'leave out "{left_out}" or score the DICOM series.'
    )
    assert not (tmp_path / "out").exists()


def test_a_photograph(photo_anomaly):
    reasons = refusals(photo_anomaly.volume, [ResultFormat.SC, ResultFormat.REPORT])
    assert list(reasons) == [ResultFormat.SC]
    assert "this input is a plain image" in reasons[ResultFormat.SC]


def test_a_clip_has_no_parametric_map(written):
    volume = written("clip").anomaly.volume
    assert list(refusals(volume, list(ResultFormat))) == [ResultFormat.PM]
    assert "needs a place in space for every frame (PS3.3, A.75)" in refusals(volume, ["pm"])["pm"]


def test_dicom_input_is_not_refused(dicom_anomaly):
    assert refusals(dicom_anomaly("tilted").volume, list(ResultFormat)) == {}


def test_source_files_that_are_gone_are_not_missed(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("axial")
    for frame in anomaly.volume.frames:
        frame.path.unlink()
    assert set(write_results(anomaly, tmp_path / "out", ["seg", "pm", "sr", "sc"])) == {"seg", "pm", "sr", "sc"}


def test_slices_in_several_multi_frame_files(written, tmp_path):
    anomaly = written("enhanced").anomaly
    other = tmp_path / "other.dcm"
    other.write_bytes(anomaly.volume.frames[0].path.read_bytes())
    frames = (replace(anomaly.volume.frames[0], path=other), *anomaly.volume.frames[1:])
    source = replace(anomaly.volume.source, frames=frames, headers=anomaly.volume.source.headers * 2)
    anomaly = replace(anomaly, volume=replace(anomaly.volume, source=source))
    with pytest.raises(InputError, match="the slices lie in 2 multi-frame files, but a DICOM result can cite frames"):
        write_results(anomaly, tmp_path / "out", ["pm"])


def test_headers_that_highdicom_refuses(dicom_anomaly, tmp_path):
    def edit(index, dataset):
        if index == 5:
            dataset.SeriesInstanceUID = pydicom.uid.generate_uid()

    anomaly = with_edited_headers(dicom_anomaly("axial"), edit)
    with pytest.raises(InputError, match=r"IM0000: this source cannot be cited in a DICOM result \(Source images must"):
        write_results(anomaly, tmp_path / "out", ["pm"])


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
    paths = write_results(anomaly, tmp_path / "out", ["seg", "pm", "sr", "sc"])
    dataset = pydicom.dcmread(paths["seg"])
    assert dataset.FrameOfReferenceUID == pydicom.dcmread(paths["pm"]).FrameOfReferenceUID
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(6.0)
