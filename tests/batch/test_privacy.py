"""Pseudonyms that say nothing, sentences without names."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import unicodedata
import warnings
from pathlib import Path

import pydicom
import pytest
from hospital_files import Patient, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from moeclip_transforms.errors import InputError
from moeclip_transforms.modality import known_modality
from moeclip_transforms.printable import printable
from pydicom.multival import MultiValue

from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import FileStamp
from moeclip_med.batch.redaction import Redactor


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    first = Pseudonyms.kept_in(tmp_path / "key")
    second = Pseudonyms.kept_in(tmp_path / "key")
    assert first.key == second.key
    assert len(first.key) == 32
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_pseudonyms_are_stable_and_depend_on_the_key():
    one, other = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
    assert one.patient("MRN-1") == one.patient("MRN-1")
    assert one.patient("MRN-1") != other.patient("MRN-1")
    assert one.patient("MRN-1") != one.patient("MRN-2")
    assert one.patient("same")[8:] != one.study("same")[6:]
    assert one.series("study-a", "1.2") != one.series("study-b", "1.2")


def test_a_pseudonym_is_the_keyed_hash_of_the_identifier():
    import base64
    import hmac

    digest = hmac.digest(b"k" * 32, b"patient\0MRN-1", "sha256")
    assert Pseudonyms(b"k" * 32).patient("MRN-1") == "patient-" + base64.b32encode(digest).decode()[:12].lower()


def test_names_that_are_not_text_have_pseudonyms():
    assert Pseudonyms(b"k" * 32).study("M\udcfcller").startswith("study-")


@pytest.mark.parametrize(
    "after",
    [
        [FileStamp(Path("a"), 1, 1)],
        [FileStamp(Path("a"), 1, 1), FileStamp(Path("b"), 3, 2)],
        [FileStamp(Path("a"), 1, 1), FileStamp(Path("b"), 2, 3)],
        [FileStamp(Path("a"), 1, 1), FileStamp(Path("c"), 2, 2)],
        [FileStamp(Path("a"), 1, 1), FileStamp(Path("b"), 2, 2), FileStamp(Path("c"), 1, 1)],
    ],
    ids=["removed", "grown", "touched", "renamed", "added"],
)
def test_the_signature_notices_every_change(after):
    names = Pseudonyms(b"k" * 32)
    before = [FileStamp(Path("a"), 1, 1), FileStamp(Path("b"), 2, 2)]
    assert names.signature(before) == names.signature(reversed(before))
    assert names.signature(before) != names.signature(after)


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ('"Doe_Jane.dcm" holds no voxels: its size is 0×4.', "[…] holds no voxels: its size is 0×4."),
        ('"RescaleSlope" is "Doe"; expected a number.', '"RescaleSlope" is […]; expected a number.'),
        ("'/data/Doe^Jane/1.dcm' cannot be opened", "[…] cannot be opened"),
        ("cannot open /data/Doe/Jane/1.dcm now", "cannot open […] now"),
        ("cannot open C:\\scans\\Doe\\1.dcm now", "cannot open […] now"),
        ("series 1.2.826.0.1.3680043.8.498.1 has gaps", "series […] has gaps"),
        ("taken on 2024-02-29, not 20240229", "taken on […], not […]"),
        ("gaps of 4, 1.08 and 7 mm; 28 slices of 512×512", "gaps of 4, 1.08 and 7 mm; 28 slices of 512×512"),
    ],
)
def test_sentences_lose_what_identifies_and_keep_what_helps(sentence, kept):
    assert Redactor([])(sentence) == kept


def test_values_of_the_header_and_names_of_folders_go(tmp_path):
    patient = Patient()
    write_series(tmp_path / "Featherstonehaugh_W" / "s", patient, shape=(8, 8, 1))
    (path,) = (tmp_path / "Featherstonehaugh_W" / "s").iterdir()
    redact = Redactor.for_files([path])
    said = redact(
        f"{patient.name} {patient.description} {patient.patient_id} {path} {path.name} Featherstonehaugh_W ok"
    )
    assert not [value for value in [*patient.identifying(), path.name] if value in said]
    assert said.endswith("ok")


def test_a_patient_who_is_called_as_our_words_are_leaves_sentences_readable(tmp_path):
    patient = Patient(name="Series^Head", physician="Age^Ima", institution="slices", description="The")
    write_series(tmp_path / "images" / "s", patient, shape=(8, 8, 1))
    (path,) = (tmp_path / "images" / "s").iterdir()
    redact = Redactor.for_files([path])
    reason = "a series of 3 to 4 slices at the same position, and nothing in their headers says which images belong"
    assert redact(reason) == reason
    assert redact('"Head" is no number') == "[…] is no number"
    assert redact("Age_Ima wrote it, aged") == "[…]_[…] wrote it, aged"
    assert Redactor(["王小明"])("患者王小明的") == "患者[…]的"


HOSTILE = st.text(
    alphabet=st.sampled_from("ABCxyzÄßé\"'“”«»`´ \n\r\t\x1b\u202e\u2028[]()^=\\/.,:;-_%$<>&|*?0123456789"),
    min_size=3,
    max_size=24,
)
"""Names with whatever ends a quotation, a line or a pattern."""
TEMPLATES = (
    '"{}" is not a readable image; check it.',
    "'{}' cannot be opened",
    "“{}” has 3 slices",
    'PatientName is "{}", expected "RescaleSlope"; the next file "b.dcm" is whole.',
    "{}: no space left",
    "read {} and {} again",
)


def letters(text: str) -> list[str]:
    """The words of a text that could name someone."""
    return re.findall(r"[^\W\d_]{3,}", unicodedata.normalize("NFC", text))


@given(HOSTILE, st.sampled_from(TEMPLATES))
def test_a_value_that_is_known_never_survives_whatever_it_holds(value, template):
    said = Redactor([value])(template.replace("{}", value))
    fixed = template.replace("{}", " ")
    assert "\n" not in said
    for word in letters(value) if len(value.strip()) >= 3 else ():
        assert word not in said or word in fixed


@given(HOSTILE, st.sampled_from([template for template in TEMPLATES if template[0] in "\"'“"]))
def test_what_stands_in_quotation_marks_goes_even_where_nobody_knows_it(value, template):
    said = Redactor([])(template.replace("{}", value))
    for word in letters(value):
        assert word not in said or word in template or word in '"RescaleSlope"'


@settings(max_examples=60)
@given(HOSTILE, st.sampled_from(["PatientName", "Modality", "StudyDescription", "StationName"]))
def test_whatever_a_header_holds_never_reaches_a_sentence(value, keyword):
    if keyword == "Modality":
        value = value.encode("ascii", "ignore").decode()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "scan.dcm")
        dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"), stop_before_pixels=True)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset[keyword].value = value.replace("\x1b", "")  # starts another character set
        dataset.save_as(path)
        redact = Redactor.for_files([path])
        stored = pydicom.dcmread(path)[keyword].value
        texts = [str(text) for text in stored] if isinstance(stored, MultiValue) else [str(stored or "")]
        for text in texts:
            for shown in (text, text.upper(), text.replace(" ", "  ")):
                said = redact(f"the header says {shown} and no more")
                for word in letters(text) if len(text.strip()) >= 3 else ():
                    assert not re.search(rf"\b{re.escape(word)}\b", said), (said, word)


@pytest.mark.parametrize("text", ["SMITH", "Doe^Jane", "CT'; DROP", "", "ct "])
def test_only_modalities_that_dicom_defines_are_shown(text):
    assert known_modality(text) == ("CT" if text == "ct " else "")


@given(st.text(max_size=200))
def test_no_sentence_breaks_it(sentence):
    assert isinstance(Redactor(["Doe", "a|b", "(", "\\"])(sentence), str)


@pytest.mark.parametrize(
    ("name", "shown"), [("n\udce4me", r"n\xe4me"), ("n\xe4me", "n\xe4me"), ("\ud800", r"\ud800"), ("plain", "plain")]
)
def test_names_that_are_not_utf_8_are_shown_by_their_bytes(name, shown):
    assert printable(Path(name)) == shown


def test_what_rewrites_a_terminal_is_shown_by_its_code():
    assert printable("a\x1b[2Jb\nc\u202ed\x9b") == r"a\x1b[2Jb\x0ac\u202ed\x9b"
    assert printable("two\nlines", lines=True) == "two\nlines"
    assert printable("Zoë 胸部 نص") == "Zoë 胸部 نص"


@given(st.text())
def test_nothing_that_moves_the_cursor_is_left(text):
    shown = printable(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8")


@pytest.mark.parametrize("content", [b"", b"short", bytes(32)], ids=["a full disk's", "cut off", "zeros"])
def test_a_key_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match="restore it from a copy"):
        Pseudonyms.kept_in(tmp_path / "key")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_at_the_first_start_leaves_no_key(tmp_path, monkeypatch):
    real = os.open

    def on_a_full_disk(path, flags, *mode):
        return real("/dev/full", os.O_WRONLY) if ".key." in str(path) else real(path, flags, *mode)

    monkeypatch.setattr(os, "open", on_a_full_disk)
    with pytest.raises(InputError, match="No space left"):
        Pseudonyms.kept_in(tmp_path / "key")
    assert not (tmp_path / "key").exists()
