"""Pseudonyms that say nothing, sentences without names."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from hospital_files import Patient, write_series
from hypothesis import given
from hypothesis import strategies as st

from moeclip_med.batch.printable import printable
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


@given(st.text(min_size=3, max_size=20).filter(lambda text: len(text.strip()) >= 3), st.text(max_size=20))
def test_a_named_value_never_survives(value, around):
    said = Redactor([value])(f"{around}{value}{around}")
    assert value.strip() not in said.replace("[…]", "\0") or value.strip() in "[…]"


@given(st.text(max_size=200))
def test_no_sentence_breaks_it(sentence):
    assert isinstance(Redactor(["Doe", "a|b", "(", "\\"])(sentence), str)


@pytest.mark.parametrize(
    ("name", "shown"), [("n\udce4me", r"n\xe4me"), ("n\xe4me", "n\xe4me"), ("\ud800", r"\ud800"), ("plain", "plain")]
)
def test_names_that_are_not_utf_8_are_shown_by_their_bytes(name, shown):
    assert printable(Path(name)) == shown
