"""Stored DICOM values: where their bits lie, how they are rescaled, and what is said where headers contradict."""

import numpy as np
import pytest
from moeclip_transforms import open_source, read_volume
from pydicom import config, dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, RLELossless

VALUES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80


def as_read(path):
    return read_volume(path).array[0, ..., 0].T


def bits(dataset, stored, high):
    dataset.BitsStored, dataset.HighBit = stored, high
    return dataset


@pytest.mark.parametrize("syntax", ["plain", "rle", "big endian"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_values_in_the_upper_bits(tmp_path, make_slice, syntax, is_signed):
    wanted = VALUES.astype(np.int16) - 2000 if is_signed else VALUES
    dataset = make_slice(pixels=wanted << 4)
    if syntax == "rle":
        dataset.compress(RLELossless)
    bits(dataset, 12, 15).save_as(tmp_path / "a.dcm")
    if syntax == "big endian":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = (wanted << 4).astype(wanted.dtype.newbyteorder(">")).tobytes()
        dcmwrite(tmp_path / "a.dcm", dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    np.testing.assert_array_equal(as_read(tmp_path / "a.dcm"), wanted)


@pytest.mark.parametrize("high", [3, 16, 40])
def test_an_impossible_high_bit_is_ignored(tmp_path, make_slice, high):
    bits(make_slice(pixels=VALUES), 12, high).save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(as_read(tmp_path / "a.dcm"), VALUES)


def test_values_beyond_bits_stored_are_told(tmp_path, make_slice):
    bits(make_slice(pixels=VALUES), 8, 7).save_as(tmp_path / "a.dcm")
    assert any(
        "more bits than Bits Stored (0028,0101) says (8)" in note for note in read_volume(tmp_path / "a.dcm").notes
    )


def test_signs_in_unused_bits_and_overlays_are_no_values(tmp_path, make_slice):
    signed = VALUES.astype(np.int16) - 2000
    bits(make_slice(pixels=signed), 12, 11).save_as(tmp_path / "extended.dcm")
    bits(make_slice(pixels=(signed & 0x0FFF).astype(np.int16)), 12, 11).save_as(tmp_path / "plain.dcm")
    overlaid = bits(make_slice(pixels=VALUES | 0x1000), 12, 11)
    overlaid.add_new(0x60000102, "US", 12)
    overlaid.save_as(tmp_path / "overlay.dcm")
    for name, wanted in {"extended": signed, "plain": signed, "overlay": VALUES}.items():
        volume = read_volume(tmp_path / f"{name}.dcm")
        np.testing.assert_array_equal(volume.array[0, ..., 0].T, wanted)
        assert not any("Bits Stored" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("keyword", "text", "note"),
    [
        ("RescaleIntercept", "-1024,5", "RescaleIntercept is no number; 0 is taken"),
        ("RescaleIntercept", "NaN", "RescaleIntercept is no number; 0 is taken"),
        ("RescaleSlope", "inf", "RescaleSlope is no number; 1 is taken"),
        ("RescaleSlope", "0", "RescaleSlope is 0"),
    ],
)
def test_damaged_rescaling_is_told(tmp_path, make_slice, monkeypatch, keyword, text, note):
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    dataset = make_slice(RescaleSlope="1", RescaleIntercept="0")
    dataset.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    tag = dataset[keyword].tag
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + b"DS"
    start = content.index(head) + len(head)
    value = text.encode() + b" " * (len(text) % 2)
    (tmp_path / "a.dcm").write_bytes(
        content[:start] + len(value).to_bytes(2, "little") + value + content[start + 2 + content[start] :]
    )
    volume = read_volume(tmp_path / "a.dcm")
    assert any(note in one for one in volume.notes)
    np.testing.assert_array_equal(volume.array[0, ..., 0].T, np.arange(48).reshape(6, 8))


def test_slices_without_rescaling_among_others_are_told(write_series):
    def change(index, dataset):
        if index != 2:
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024

    assert any("others have none" in note for note in read_volume(write_series(range(4), change=change)).notes)


@pytest.mark.parametrize(
    ("keyword", "values", "words"),
    [
        ("FrameOfReferenceUID", ("2.25.1", "2.25.2"), "2 frames of reference"),
        ("Modality", ("CT", "PT"), "2 modalities"),
        ("Units", ("BQML", "GML"), "2 units"),
    ],
)
def test_slices_of_different_kinds_in_one_series_are_told(write_series, keyword, values, words):
    def change(index, dataset):
        setattr(dataset, keyword, values[index // 2])

    told = read_volume(write_series(range(4), change=change)).notes
    assert any(words in note for note in told)

    def keep(_, dataset):
        setattr(dataset, keyword, values[0])

    assert not any(words[2:] in note for note in read_volume(write_series(range(4), change=keep)).notes)


def test_rescaling_that_changes_nothing_may_be_missing(write_series):
    def change(index, dataset):
        if index != 2:
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0

    assert not any("others have none" in note for note in read_volume(write_series(range(4), change=change)).notes)


def test_photometric_interpretation_in_small_letters(tmp_path, make_slice, monkeypatch):
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    make_slice(pixels=VALUES, PhotometricInterpretation="Monochrome1").save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(as_read(tmp_path / "a.dcm"), 65535.0 - VALUES)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.110"),
        ("1.2.840.113619.5.2", "1.2.840.113619.5.2"),
    ],
)
def test_a_transfer_syntax_that_is_not_decoded_is_named_by_the_scan(tmp_path, make_slice, syntax, name):
    dataset = make_slice()
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    old = b"1.2.840.10008.1.2.5\0"
    (tmp_path / "a.dcm").write_bytes(
        content.replace(len(old).to_bytes(2, "little") + old, len(value).to_bytes(2, "little") + value, 1)
    )
    assert dcmread(tmp_path / "a.dcm", stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    with open_source(tmp_path / "a.dcm") as source:
        assert source.series[0].skip_reason.startswith(f"stored as {name} (transfer syntax), which is not decoded")


def test_spacings_that_are_rounded_differently_are_one_series(write_series):
    def change(index, dataset):
        dataset.PixelSpacing = ["0.35151", "0.35151"] if index % 2 else ["0.35149", "0.35149"]

    with open_source(write_series(range(4), change=change)) as source:
        assert [series.shape for series in source.series] == [(8, 6, 4, 1)]
