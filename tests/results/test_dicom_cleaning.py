"""Broken header values are made valid or dropped, and what is said about them never holds a value."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import validate_value

from moeclip_med.results.dicom.attributes import SUBJECT_ATTRIBUTES
from moeclip_med.results.dicom.cleaning import HeaderCleaner, describe_changes, valid_uid


def header(*charset: str, **raw: bytes) -> Dataset:
    """A header as read from a file whose values are these bytes."""
    dataset = Dataset()
    if charset:
        raw = {"SpecificCharacterSet": "\\".join(charset).encode(), **raw}
    for keyword, value in raw.items():
        vr, tag = dictionary_VR(keyword), Tag(tag_for_keyword(keyword))
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)
    return dataset


def clean(keyword, value, *charset):
    attribute = next(each for each in SUBJECT_ATTRIBUTES if each.keyword == keyword)
    cleaner = HeaderCleaner(header(*charset, **{keyword: value}))
    return cleaner.value(keyword, can_be_cut=attribute.can_be_cut), describe_changes(cleaner.changes)


@pytest.mark.parametrize(
    ("keyword", "value", "cleaned"),
    [
        ("PatientBirthDate", b"19700102", "19700102"),
        ("PatientBirthDate", b"1970.01.02", "19700102"),
        ("PatientBirthDate", b"00000000", None),
        ("PatientBirthDate", b"Unknown", None),
        ("PatientBirthDate", b"19701301", None),
        ("StudyTime", b"10:20:30", "102030"),
        ("StudyTime", b"102030.5", "102030.5"),
        ("StudyTime", b"10", "10"),
        ("StudyTime", b"256000", None),
        ("PatientSex", b"m", "M"),
        ("PatientSex", b"female", "F"),
        ("PatientSex", b"unknown", None),
        ("PatientAge", b"056Y", "056Y"),
        ("PatientAge", b"56", None),
        ("PatientWeight", b"70.5", "70.5"),
        ("PatientWeight", b"70,5", None),
        ("AccessionNumber", b"ACC-2024-01-02-0000012345", None),
        ("AccessionNumber", b"A1\\B2", "A1"),
        ("PatientID", b"X" * 80, None),
        ("PatientID", b"\0\0\0\0", None),
        ("StudyDescription", b"D" * 70, "D" * 64),
        ("PatientName", b"Doe John (Mr.)\\Jr", "Doe John (Mr.) Jr"),
        ("PatientName", b"A^B^C^D^E^F", "A^B^C^D^E F"),
        ("PatientName", b"N" * 70, "N" * 64),
        ("PatientName", b"Doe^Jane", "Doe^Jane"),
        ("PatientIdentityRemoved", b"yes", "YES"),
    ],
)
def test_single_values(keyword, value, cleaned):
    result, notes = clean(keyword, value)
    assert result == cleaned
    assert bool(notes) == (value.decode().strip("\0") != (cleaned or ""))
    assert all(keyword in note for note in notes)


@pytest.mark.parametrize(
    ("charset", "name", "encoded"),
    [
        (("", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동", None),
        (("", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎=やまだ^たろう", None),
        (("GB18030",), "张^三", "gb18030"),
        (("GB18030", "ISO IR 192"), "张^三", "gb18030"),
        (("ISO_IR 144",), "Люкceмбypг", "iso8859_5"),
        (("ISO_IR 192",), "Müller^Jörg", "utf8"),
        (("ISO IR 192",), "Müller^Jörg", "utf8"),
        (("ISO-IR 100",), "Müller^Jörg", "latin1"),
        ((), "Müller^Jörg", "utf8"),
        (("ISO 2022 IR 6, IS",), "Müller^Jörg", "utf8"),
        (("NONSENSE",), "Ivanov", "ascii"),
    ],
)
def test_names_in_any_character_set(charset, name, encoded):
    if encoded is None:
        dataset = Dataset()
        dataset.SpecificCharacterSet, dataset.PatientName = list(charset), name
        stream = BytesIO()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(stream)
        cleaner = HeaderCleaner(pydicom.dcmread(stream, force=True))
        assert cleaner.changes == []
    else:
        cleaner = HeaderCleaner(header(*charset, PatientName=name.encode(encoded)))
    assert cleaner.value("PatientName") == name


def test_a_text_that_no_character_set_holds_is_kept_as_far_as_it_can_be_read():
    cleaner = HeaderCleaner(header("ISO_IR 192", PatientName=b"M\xfcller"))
    assert cleaner.value("PatientName") == "M\ufffdller"
    assert "PatientName (not in its declared character set)" in describe_changes(cleaner.changes)[0]


def test_incomplete_codes_are_dropped():
    whole, half = Dataset(), Dataset()
    whole.CodeValue, whole.CodingSchemeDesignator, whole.CodeMeaning = "113100", "DCM", "Basic Profile"
    half.CodeValue, half.CodeMeaning = "1", ""
    dataset = Dataset()
    dataset.DeidentificationMethodCodeSequence = [whole, half]
    cleaner = HeaderCleaner(dataset)
    (code,) = cleaner.value("DeidentificationMethodCodeSequence")
    assert (code.CodeValue, code.CodeMeaning) == ("113100", "Basic Profile")
    assert "incomplete codes" in describe_changes(cleaner.changes)[0]


@settings(max_examples=200, deadline=None)
@given(
    attribute=st.sampled_from([each for each in SUBJECT_ATTRIBUTES if not each.keyword.endswith("Sequence")]),
    value=st.binary(max_size=90) | st.text(max_size=90).map(lambda text: text.encode()),
    charset=st.sampled_from([(), ("ISO_IR 100",), ("ISO_IR 192",), ("GB18030",), ("", "ISO 2022 IR 87"), ("x",)]),
)
def test_whatever_the_bytes_the_value_is_valid_and_no_note_holds_it(attribute, value, charset):
    secret = b"Zyx" + value
    for raw in (value, secret):
        cleaned, notes = clean(attribute.keyword, raw, *charset)
        for one in cleaned if isinstance(cleaned, list) else [cleaned]:
            validate_value(dictionary_VR(attribute.keyword), one, pydicom.config.RAISE)
            assert "\\" not in (one or "")
        assert not any("Zyx" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1", "1.2.840.10008.1"),
        ("1.2.3\0", "1.2.3"),
        ("1.2.3\\1.2.4", "1.2.3"),
        ("1.2.03", ""),
        ("study-4711", ""),
        ("", ""),
        ("1", ""),
        ("1." + "2" * 63, ""),
    ],
)
def test_unique_identifiers(text, valid):
    assert valid_uid(text) == valid
