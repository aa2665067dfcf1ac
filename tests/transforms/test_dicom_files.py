"""DICOM files as bytes: opened once, compressed as a whole, hostile to whoever reads them."""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
import shutil
import struct
import sys
import threading
import warnings
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from moeclip_transforms import InputError, dicom_file, open_source, read_volume
from moeclip_transforms.dicom_file import KeptFiles, opened
from moeclip_transforms.dicom_header import text
from moeclip_transforms.discovery import scan
from moeclip_transforms.library_warnings import quietly
from moeclip_transforms.source import read_series
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.fileset import FileSet
from pydicom.misc import warn_and_log
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

_opened: Counter[str] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open":
        _opened[str(arguments[0])] += 1


sys.addaudithook(_watch)


@pytest.fixture
def openings():
    """Count how often each file is opened."""
    global _opened  # noqa: PLW0603  an audit hook cannot be taken away again
    _opened = Counter()
    yield _opened
    _opened = None


def test_reading_a_small_series_opens_each_file_once(write_series, openings):
    folder = write_series([0, 1, 2])
    openings.clear()
    volume = read_volume(folder)
    volume.to_monai()
    assert [openings[str(path)] for path in folder.iterdir()] == [1, 1, 1]


def test_files_that_are_not_kept_are_opened_once_by_the_scan_and_once_by_reading(write_series, openings):
    folder = write_series([0, 1, 2])
    openings.clear()
    (series,) = scan(sorted(folder.iterdir())).series
    assert {openings[str(path)] for path in folder.iterdir()} == {1}
    volume = read_series(series)
    assert {openings[str(path)] for path in folder.iterdir()} == {2}
    assert volume == read_volume(folder)


def test_what_a_scan_keeps_is_bounded_and_given_away(write_series):
    folder = write_series([0, 1, 2])
    paths = sorted(folder.iterdir())
    size = paths[0].stat().st_size
    kept = KeptFiles(2 * size + 1)
    (series,) = scan(paths, kept=kept).series
    assert kept.bytes_left < size
    read_series(series, kept=kept)
    assert kept.bytes_left == 2 * size + 1


def test_source_holds_the_hash_of_the_files_and_headers_that_pydicom_reads(write_series):
    folder = write_series([0, 1])
    volume = read_volume(folder)
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir())
    assert volume.source.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    for header, frame in zip(volume.source.headers, volume.frames, strict=True):
        dataset = pydicom.dcmread(BytesIO(header))
        assert dataset.SOPInstanceUID == frame.sop_instance_uid
        assert dataset == pydicom.dcmread(frame.path, stop_before_pixels=True)


@pytest.mark.parametrize("name", ["image_dfl.dcm", "emri_small_RLE.dcm", "ExplVR_BigEnd.dcm"])
def test_headers_of_real_files_are_whole(name):
    path = Path(get_testdata_file(name))
    volume = read_volume(path)
    (header,) = volume.source.headers
    assert pydicom.dcmread(BytesIO(header)) == pydicom.dcmread(path, stop_before_pixels=True)


def test_a_header_without_prefix_gets_one(tmp_path, make_slice):
    make_slice().save_as(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "whole").write_bytes(content[content.index(b"\x08\x00\x16\x00UI") :])
    (header,) = read_volume(tmp_path / "whole").source.headers
    assert pydicom.dcmread(BytesIO(header)).PatientID == "secret-4711"


def test_gzipped_files_are_read_and_hashed_as_they_are(write_series):
    folder = write_series([0, 1, 2])
    plain = read_volume(folder)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = read_volume(folder)
    np.testing.assert_array_equal(packed.array, plain.array)
    assert packed.source.sha256 != plain.source.sha256
    assert packed.source.headers == plain.source.headers


def deflated(path: Path, dataset: pydicom.FileDataset, data_set: bytes) -> Path:
    """A file with a deflated data set of its own, behind proper file meta information."""
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 140)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[: 144 + length] + packer.compress(data_set) + packer.flush())
    return path


def test_a_deflated_file_unpacks_no_further_than_its_header_explains(tmp_path, make_slice):
    dataset = make_slice()
    element = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 2**30) + bytes(80 * 2**20)
    path = deflated(tmp_path / "image", dataset, element)
    assert path.stat().st_size < 2**17
    with pytest.raises(InputError, match="unpacks to more than"):
        read_volume(path)


def test_what_follows_the_pixels_of_a_deflated_file_is_not_unpacked(tmp_path, make_slice):
    dataset = make_slice()
    dataset.save_as(tmp_path / "plain", enforce_file_format=True)
    content = (tmp_path / "plain").read_bytes()
    (length,) = struct.unpack_from("<I", content, 140)
    path = deflated(tmp_path / "image", dataset, content[144 + length :] + bytes(200 * 2**20))
    with opened(path) as file:
        file.allow_pixels(96)
        assert file.stream.size < 2**20
    np.testing.assert_array_equal(read_volume(path).array, read_volume(tmp_path / "plain").array)


def with_items(path: Path, dataset: pydicom.FileDataset, count: int) -> Path:
    """A file with a sequence of so many empty items before Slice Thickness."""
    dataset.save_as(path)
    content = path.read_bytes()
    at = content.index(b"\x18\x00\x50\x00DS")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    sequence = struct.pack("<HH2sHI", 0x0018, 0x0012, b"SQ", 0, 0xFFFFFFFF)
    path.write_bytes(content[:at] + sequence + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + content[at:])
    return path


@pytest.mark.slow
def test_a_header_of_millions_of_empty_items_is_refused(tmp_path, make_slice, monkeypatch):
    monkeypatch.setattr(dicom_file, "_MAX_SECONDS", math.inf)  # the number of parts ends it, on a slow machine too
    with pytest.raises(InputError, match="has more than .* parts"):
        read_volume(with_items(tmp_path / "image", make_slice(), 2_100_000))


def test_a_header_takes_no_longer_than_its_time(tmp_path, make_slice, monkeypatch):
    monkeypatch.setattr(dicom_file, "_MAX_SECONDS", 0.001)
    with pytest.raises(InputError, match=r"^\"image\" is not read: its header takes longer than 0\.001 s"):
        read_volume(with_items(tmp_path / "image", make_slice(), 10_000))


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        ((0x0008, 0x0005), b"UT", b"A\\" * 1000),  # pydicom looks each character set up
        ((0x0010, 0x0020), b"UT", b"1\x1b" * 40_000),
        ((0x0020, 0x0032), b"UN", b"1\\" * 600_000),
    ],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_text_longer_than_any_is_refused_before_it_is_looked_at(tmp_path, make_slice, tag, vr, value, is_nested):
    element = struct.pack("<HH2sHI", *tag, vr, 0, len(value)) + value
    if is_nested:
        items = struct.pack("<HHI", 0xFFFE, 0xE000, len(element)) + element
        element = struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF) + items
        element += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    dataset = make_slice()
    del dataset.PatientID, dataset.PatientName
    dataset.save_as(tmp_path / "plain", enforce_file_format=True)
    content = (tmp_path / "plain").read_bytes()
    (length,) = struct.unpack_from("<I", content, 140)
    path = deflated(tmp_path / "image", dataset, element + content[144 + length :])
    with pytest.raises(InputError, match=r"its element \(00.* bytes, where \d+ are expected at most"):
        read_volume(path)


def test_a_text_that_changes_its_character_set_again_and_again_counts_as_missing(make_slice):
    dataset = make_slice()
    dataset._dict[Tag("StationName")] = RawDataElement(
        Tag("StationName"), "SH", 4000, b"1\x1b" * 2000, 0, is_implicit_VR=False, is_little_endian=True
    )
    assert text(dataset, "StationName") == ""


@pytest.mark.parametrize("how", ["lower", "suffix", "both"])
def test_a_dicomdir_finds_files_whose_names_were_changed_by_copying(tmp_path, write_series, how):
    files = FileSet()
    needed = {"StudyDate": "20240101", "StudyTime": "10", "StudyID": "1", "AccessionNumber": "", "SeriesNumber": 1}
    for path in write_series([0, 1, 2], **needed).iterdir():
        files.add(path)
    medium = tmp_path / "medium"
    files.write(medium)
    for path in sorted(medium.rglob("*"), reverse=True):
        if path.name == "DICOMDIR":
            continue
        name = path.name.lower() if how != "suffix" else path.name
        path.rename(path.with_name(f"{name}.dcm" if path.is_file() and how != "lower" else name))
    assert read_volume(medium / "DICOMDIR").shape == (8, 6, 3)


def test_a_directory_of_another_name_is_excluded_with_the_reason(tmp_path, write_series):
    folder = write_series([0, 1])
    shutil.copy(get_testdata_file("DICOMDIR"), folder / "DIRFILE")
    with open_source(folder) as source:
        assert [path.name for path, _ in source.excluded] == ["DIRFILE"]
        assert "DICOMDIR" in source.excluded[0][1]
        assert source.unreadable == ()
        assert source.read(source.series[0]).shape == (8, 6, 2)


def test_quiet_threads_do_not_touch_each_other_or_anyone_else(caplog):
    """One is quiet while the other is not; both end in the order in which they began."""
    steps = [threading.Event() for _ in range(3)]
    heard = []

    def quiet() -> None:
        with quietly():
            steps[0].set()
            steps[1].wait(10)
            warn_and_log("Doe^Jane of the quiet one")
        steps[2].set()

    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quietly():
            pass
        thread = threading.Thread(target=quiet)
        thread.start()
        steps[0].wait(10)
        with caplog.at_level(logging.WARNING, logger="pydicom"):
            warn_and_log("of the loud one")
            with quietly():
                steps[1].set()
                steps[2].wait(10)
                warn_and_log("Doe^Jane of the second quiet one")
            warn_and_log("of the loud one again")
        thread.join()
        heard = [str(one.message) for one in caught]
    assert heard == ["of the loud one", "of the loud one again"]
    assert [record.getMessage() for record in caplog.records] == heard
    assert [entry for entry in warnings.filters if entry in before] == before


def test_a_file_that_cannot_be_opened_any_more_is_told(write_series):
    folder = write_series([0, 1, 2])
    (series,) = scan(sorted(folder.iterdir())).series
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        read_series(series)


def test_a_file_is_unpacked_only_as_far_as_it_is_read(tmp_path):
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(os.urandom(200_000)))
    with opened(path) as file:
        assert len(file.stream.read(132)) == 132
        assert file.stream.seek(100_000) == file.stream.tell() == 100_000
        assert len(file.stream.read(-1)) == 100_000
        assert file.stream.size == 200_000
