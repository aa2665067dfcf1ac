"""Sources as archives hold them: results are written and valid, what was changed is said, nobody is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from result_cases import with_edited_headers
from test_dicom_validity import errors, files_of
from uids import next_uid

from moeclip_med.results import ResultFormat, write_results
from moeclip_med.results.dicom import dicom_results
from moeclip_med.results.formats import DICOM_FORMATS

ALL = sorted(DICOM_FORMATS)
has_dciodvfy = shutil.which("dciodvfy") is not None


def raw(dataset, **values):
    """Put bytes into a header as a careless writer would."""
    for keyword, value in values.items():
        vr, tag = dictionary_VR(keyword), Tag(tag_for_keyword(keyword))
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)


def broken_subject(_, dataset):
    raw(
        dataset,
        PatientName=b"Zyxel John (Mr.)\\Jr",
        PatientID=b"ZYX" * 30,
        PatientBirthDate=b"00000000",
        PatientSex=b"m",
        PatientAge=b"56",
        PatientWeight=b"70,5",
        StudyDate=b"2024.01.02",
        StudyTime=b"10:20:30",
        AccessionNumber=b"ZYX-2024-01-02-0000012345",
        StudyID=b"S" * 30,
        ReferringPhysicianName=b"Dr. Zyxel, MD; Dr. Wilson / Oncology " * 3,
    )


def broken_identifiers(index, dataset):
    raw(
        dataset,
        StudyInstanceUID=b"1.2.826.0.1.3680043.8.971.00.378813",
        SeriesInstanceUID=b"series-4711",
        SOPInstanceUID=b"1.2.3.0%d" % (index + 1),
        FrameOfReferenceUID=b"",
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = ""


def missing_identifiers(_, dataset):
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"):
        delattr(dataset, keyword)


def broken_image(index, dataset):
    raw(
        dataset,
        SliceThickness=b"0",
        PositionReferenceIndicator=b"\0\0\0\0",
        ImagePositionPatient=b"-60.123456789012345\\-60.000000000000001\\%.15f" % (4.0 * index),
        InstanceNumber=b"%d.0" % (index + 1),
        Laterality=b"x",
    )
    dataset.LossyImageCompression = "01"


def several_values(_, dataset):
    raw(
        dataset,
        StudyInstanceUID=b"1.2.3\\1.2.4",
        SliceThickness=b"2.5\\3.5",
        PatientID=b"A\\B",
        LossyImageCompression=b"01\\01",
        LossyImageCompressionRatio=b"12.5",
        LossyImageCompressionMethod=b"iso_10918_1",
    )


def deidentified(_, dataset):
    raw(dataset, PatientIdentityRemoved=b"YES", DeidentificationMethod=b"")


def animal(_, dataset):
    raw(dataset, PatientSpeciesDescription=b"dog", PatientBirthDate=b"99991231")


def no_frames(_, dataset):
    raw(dataset, NumberOfFrames=b"0")


def two_series(index, dataset):
    if index > 1:
        dataset.SeriesInstanceUID = "1.2.3.4.5"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            broken_subject,
            ["PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "PatientID", "StudyID"],
        ),
        (broken_identifiers, ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"]),
        (missing_identifiers, ["StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID"]),
        (broken_image, ["SliceThickness", "Laterality"]),
        (animal, ["PatientBirthDate"]),
        (several_values, ["PatientID", "LossyImageCompression", "LossyImageCompressionMethod"]),
        (deidentified, []),
        (no_frames, []),
        (two_series, []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_results_are_written_and_valid_and_say_what_was_changed(small_anomaly, tmp_path, recwarn, edit, told):
    written = write_results(with_edited_headers(small_anomaly, edit), tmp_path / "out", ["nifti", "json", *ALL])
    assert written.failed == {}
    assert set(written.files) == {"nifti", "json", *ALL}
    notes = " ".join(written.header_notes)
    assert [keyword for keyword in told if keyword not in notes] == []
    assert bool(notes) == bool(told)
    for text in (notes, written.files["json"].read_text(), *(str(warning.message) for warning in recwarn)):
        assert "zyx" not in text.lower()
    if has_dciodvfy:
        for path in files_of({fmt: written.files[fmt] for fmt in ALL}):
            assert errors(path) == [], path.name


def test_what_can_be_rewritten_is_and_identifiers_are_never_cut(small_anomaly, tmp_path):
    written = write_results(with_edited_headers(small_anomaly, broken_subject), tmp_path / "out", ALL)
    for path in files_of(written.files):
        result = pydicom.dcmread(path)
        assert (result.StudyDate, result.StudyTime, result.PatientSex) == ("20240102", "102030", "M")
        assert (result.PatientID, result.AccessionNumber, result.StudyID) == ("", "", "")
        assert not result.PatientBirthDate
        assert result.PatientName == "Zyxel John (Mr.) Jr"


@pytest.mark.parametrize(("stored", "kept"), [(b"12\x0034", ""), (b"12\x0734", ""), (b"1234\r\n", "1234")])
def test_an_identifier_with_a_control_character_inside_is_left_out(small_anomaly, tmp_path, stored, kept):
    anomaly = with_edited_headers(small_anomaly, lambda _, dataset: raw(dataset, PatientID=stored))
    written = write_results(anomaly, tmp_path / "out", ["seg"])
    assert pydicom.dcmread(written.files["seg"]).PatientID == kept
    assert bool(written.header_notes)


def test_the_same_broken_source_gives_the_same_identifiers(small_anomaly, tmp_path):
    anomaly = with_edited_headers(small_anomaly, broken_identifiers)
    one, other = (pydicom.dcmread(write_results(anomaly, tmp_path / name, ["seg"]).files["seg"]) for name in "ab")
    assert one == other


def test_every_series_of_the_source_is_cited(small_anomaly, tmp_path):
    anomaly = with_edited_headers(small_anomaly, two_series)
    paths = write_results(anomaly, tmp_path / "out", ["seg", "sr", "rtstruct"]).files
    own = small_anomaly.volume.series.uid
    segmentation, document, contours = (pydicom.dcmread(paths[fmt]) for fmt in ("seg", "sr", "rtstruct"))
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (space,) = contours.ReferencedFrameOfReferenceSequence
    for items, others in (
        (segmentation.ReferencedSeriesSequence, set()),
        (study.ReferencedSeriesSequence, {segmentation.SeriesInstanceUID}),
        (space.RTReferencedStudySequence[0].RTReferencedSeriesSequence, set()),
    ):
        assert {item.SeriesInstanceUID for item in items} == {own, "1.2.3.4.5"} | others


@pytest.mark.parametrize(
    ("charset", "name", "encoded"),
    [
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", None),
        (["GB18030", "ISO IR 192"], "张^三", "gb18030"),
        (None, "Müller^Jörg", "utf8"),
    ],
)
def test_names_in_any_character_set_arrive_intact(small_anomaly, tmp_path, charset, name, encoded):
    def edit(_, dataset):
        if charset:
            raw(dataset, SpecificCharacterSet="\\".join(charset).encode())
        if encoded:
            raw(dataset, PatientName=name.encode(encoded))
            dataset.set_original_encoding(False, True, dataset._character_set)  # written as it is
        else:
            dataset.PatientName = name

    written = write_results(with_edited_headers(small_anomaly, edit), tmp_path / "out", ["seg", "sr", "rtstruct"])
    for path in written.files.values():
        result = pydicom.dcmread(path)
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert str(result.PatientName) == name
        if has_dciodvfy:
            assert errors(path) == []


def test_plain_names_need_no_character_set(small_anomaly, tmp_path):
    result = pydicom.dcmread(write_results(small_anomaly, tmp_path / "out", ["seg"]).files["seg"])
    assert "SpecificCharacterSet" not in result


def test_without_a_sop_class_the_other_results_are_kept(small_anomaly, tmp_path):
    def edit(_, dataset):
        del dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPClassUID = ""

    written = write_results(with_edited_headers(small_anomaly, edit), tmp_path / "out", ["nifti", "json", *ALL])
    assert set(written.files) == {"nifti", "json"}
    assert set(written.failed) == DICOM_FORMATS
    assert all("SOP Class UID (0008,0016)" in reason for reason in written.failed.values())
    assert any("(0008,0016)" in note for note in json.loads(written.files["json"].read_text())["notes"])


def test_a_private_sop_class_is_cited_as_it_is(small_anomaly, tmp_path):
    def edit(_, dataset):
        dataset.SOPClassUID = "1.3.12.2.1107.5.9.1"

    paths = write_results(with_edited_headers(small_anomaly, edit), tmp_path / "out", ALL).files
    assert set(paths) == set(ALL)
    (first, *_) = pydicom.dcmread(paths["seg"]).SourceImageSequence
    assert first.ReferencedSOPClassUID == "1.3.12.2.1107.5.9.1"


def test_headers_without_a_preamble_are_read(small_anomaly, tmp_path):
    source = small_anomaly.volume.source
    source = replace(source, headers=tuple(bare(header) for header in source.headers))
    anomaly = replace(small_anomaly, volume=replace(small_anomaly.volume, source=source))
    written = write_results(anomaly, tmp_path / "out", ALL)
    assert written.failed == {}


def bare(header):
    dataset, stream = pydicom.dcmread(BytesIO(header)), BytesIO()
    plain = pydicom.Dataset(dict(dataset.items()))
    plain.save_as(stream, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return stream.getvalue()


def test_slices_in_several_multi_frame_files(written, tmp_path):
    anomaly = written("enhanced").anomaly
    volume, encoded = anomaly.volume, anomaly.volume.source.headers[0]
    other, stream = pydicom.dcmread(BytesIO(encoded)), BytesIO()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = next_uid()
    other.save_as(stream)
    path = volume.frames[0].path.with_name("other.dcm")
    frames = tuple(replace(frame, path=path) if z % 2 else frame for z, frame in enumerate(volume.frames))
    source = replace(volume.source, frames=frames, headers=(encoded, stream.getvalue()))
    anomaly = replace(anomaly, volume=replace(volume, source=source))
    results = write_results(anomaly, tmp_path / "out", ALL)
    assert results.failed == {}
    dataset = pydicom.dcmread(results.files["pm"])
    groups = dataset.PerFrameFunctionalGroupsSequence
    cited = [item.DerivationImageSequence[0].SourceImageSequence[0] for item in groups]
    uids = (volume.frames[0].sop_instance_uid, other.SOPInstanceUID)
    expected = {(uids[z % 2], frame.frame + 1) for z, frame in enumerate(frames)}
    assert {(item.ReferencedSOPInstanceUID, item.ReferencedFrameNumber) for item in cited} == expected
    (series,) = dataset.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(uids)
    if has_dciodvfy:
        for path in files_of(results.files):
            assert errors(path) == [], path.name


def test_a_writer_that_breaks_costs_its_own_format(small_anomaly, tmp_path, monkeypatch):

    def broken(*_):
        message = "Doe^Jane 19700102"
        raise KeyError(message)

    monkeypatch.setattr(dicom_results, "make_parametric_map", broken)
    written = write_results(small_anomaly, tmp_path / "out", ["json", *ALL])
    assert set(written.files) == {"json", *ALL} - {"pm"}
    reason = written.failed[ResultFormat.PM]
    assert "Parametric Map" in reason
    assert "KeyError" in reason
    assert "Doe" not in reason
    assert reason in json.loads(written.files["json"].read_text())["notes"]


def test_a_report_without_its_segmentation_is_not_written(small_anomaly, tmp_path, monkeypatch):

    monkeypatch.setattr(dicom_results, "make_segmentation", lambda *_: 1 / 0)
    written = write_results(small_anomaly, tmp_path / "out", ["sr", "pm"])
    assert set(written.files) == {"pm"}
    assert "Segmentation" in written.failed[ResultFormat.SR]
