"""Damage that fuzzing found, kept as tests."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from moeclip_transforms import ImageType, InputError, fit_window, read_volume
from moeclip_transforms.codestream import StreamSize, compressed_frames, declared_size
from moeclip_transforms.dicom_file import BoundedFile
from pydicom.data import get_testdata_file
from sentences import facts


def message_of(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "JPGExtended.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "color3d_jpeg_baseline.dcm",
        "693_J2KR.dcm",
    ],
)
def test_size_in_the_stream_is_the_size_in_the_header(name):
    dataset = pydicom.dcmread(get_testdata_file(name))
    count = int(dataset.get("NumberOfFrames", 1))
    expected = StreamSize(dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    assert [declared_size(frame) for frame in compressed_frames(dataset)] == [expected] * count


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\xff\x4f\xff\x51\x00", b"RLE data"])
def test_streams_that_do_not_say_their_size(stream):
    assert declared_size(stream) is None


@pytest.mark.parametrize("junk", [b"junk", b"\xff\xd8", b"\xff\xd8\xff\xd8\xff", bytes(5000)])
@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm"])
def test_the_size_is_found_behind_junk(name, junk):
    dataset = pydicom.dcmread(get_testdata_file(name))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert declared_size(junk + frame) == StreamSize(dataset.Rows, dataset.Columns, 1)


def test_the_size_of_jpeg_2000_is_found_behind_junk():
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert declared_size(b"junk" + frame) == StreamSize(dataset.Rows, dataset.Columns, 1)


def test_thousands_of_components_are_refused_before_they_are_decoded(tmp_path):
    """A small file that OpenJPEG takes gigabytes for."""
    from imagecodecs import jpeg2k_encode

    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    frame = bytearray(jpeg2k_encode(np.zeros((64, 64), np.uint16), codecformat="j2k"))
    n_more = 3999
    struct.pack_into(">H", frame, 4, struct.unpack_from(">H", frame, 4)[0] + 3 * n_more)
    struct.pack_into(">H", frame, 40, 1 + n_more)
    frame[45:45] = bytes(frame[42:45]) * n_more
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(frame)])
    dataset.save_as(tmp_path / "image")
    assert facts(message_of(tmp_path / "image")) == facts(
        'The compressed pixels of "image" (frame 1) have 4000 values each, but its header says 1; copy the file again.'
    )


def test_stream_that_declares_another_size_is_refused_before_it_is_decoded(tmp_path):
    content = bytearray(Path(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")).read_bytes())
    place = content.index(b"\xff\xf7")
    struct.pack_into(">HH", content, place + 5, 65000, 65000)
    (tmp_path / "image").write_bytes(content)
    assert facts(message_of(tmp_path / "image")) == facts(
        'The compressed pixels of "image" (frame 1) are 65000×65000, but its header says 64×64; copy the file again.'
    )


def test_a_damaged_length_does_not_claim_gigabytes(tmp_path, make_slice):
    path = tmp_path / "image"
    make_slice(StudyDescription="x").save_as(path)
    with BoundedFile(path) as file:
        assert len(file.read(2**62)) == path.stat().st_size
    content = path.read_bytes()
    place = content.index(b"\x08\x00\x30\x10LO")  # Study Description becomes an unknown VR of 4 GB
    path.write_bytes(content[:place] + b"\x08\x00\x30\x10UN\0\0\xf0\xff\xff\xff" + content[place + 8 :])
    assert facts(message_of(path)) == facts(
        '"image" is not read: its element (0008,1030) has 4294967280 bytes, where 65536 are expected at most; '
        "it is damaged: export it again."
    )


def test_rle_that_makes_its_decoder_panic_is_a_damaged_slice(tmp_path):
    content = bytearray(Path(get_testdata_file("MR_small_RLE.dcm")).read_bytes())
    dataset = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    start = content.index(frame)
    first_segment = struct.unpack_from("<I", frame, 4)[0]
    for k in range(first_segment, first_segment + 400, 2):  # long runs: more pixels than there are
        content[start + k : start + k + 2] = b"\x81\x00"
    (tmp_path / "image").write_bytes(content)
    assert message_of(tmp_path / "image").startswith('The pixels of "image" (frame 1) cannot be decoded (')


def test_narrow_range_far_from_zero_has_a_window(tmp_path):
    array = np.full((20, 20, 20), 16_777_216.0, dtype=np.float32)
    array[5:15, 5:15, 5:15] += 2
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    window = fit_window(volume, ImageType.MR)
    assert window.low < window.high


def test_a_damaged_qform_does_not_matter_beside_a_good_sform(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(8.0).reshape(2, 2, 2), np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", content, 252, 1)  # qform_code
    struct.pack_into("<fff", content, 256, 2.0, 2.0, 2.0)  # no unit quaternion
    (tmp_path / "a.nii").write_bytes(content)
    volume = read_volume(tmp_path / "a.nii")
    assert volume.notes == ()
    np.testing.assert_array_equal(volume.affine.matrix, np.eye(4))


def test_absurd_proportions_are_refused_before_a_frame_of_them_is_made(tmp_path, make_slice):
    make_slice(PixelSpacing=["1e38", "1e-38"]).save_as(tmp_path / "image")
    assert facts(message_of(tmp_path / "image")) == facts(
        '"image" has voxels of 1e-38 × 1e+38 × 2 mm; expected sides that differ by a factor of 1000 at most: '
        "correct the spacing in its header."
    )


def test_a_thick_single_slice_is_not_absurd(tmp_path, make_slice):
    make_slice(PixelSpacing=["0.01", "0.01"], SliceThickness="50").save_as(tmp_path / "image")
    assert read_volume(tmp_path / "image").shape[2] == 1


def test_damage_inside_a_deflated_file(tmp_path):
    content = bytearray(Path(get_testdata_file("image_dfl.dcm")).read_bytes())
    content[400:420] = bytes(20)
    (tmp_path / "image").write_bytes(content)
    message = message_of(tmp_path / "image")
    assert message.startswith('The DICOM header of "image" is damaged (Error -3 while decompressing data: ')


def test_a_damaged_xml_extension_of_a_nifti_file(tmp_path):
    image = nib.Nifti2Image(np.zeros((1, 1, 1, 1, 4, 4), np.float32), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(32, b"<CIFTI Version='2'><Matrix></CIFTI>"))
    image.header.set_intent(3006)
    nib.save(image, tmp_path / "image.nii")
    assert "1×1×1×1×4×4" in message_of(tmp_path / "image.nii")


def test_a_unit_of_length_that_does_not_exist_is_said(tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(0).normal(100, 9, (8, 8, 4)).astype(np.float32), np.eye(4))
    image.header["xyzt_units"] = 7
    nib.save(image, tmp_path / "image.nii")
    assert (
        "The unit of length (xyzt_units 7) does not exist; taken for mm." in read_volume(tmp_path / "image.nii").notes
    )


@pytest.mark.parametrize("code", [0, 1, 255])
def test_a_type_that_holds_no_numbers(tmp_path, code):
    nib.save(nib.Nifti1Image(np.arange(64.0).reshape(4, 4, 4), np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", content, 70, code)
    (tmp_path / "a.nii").write_bytes(content)
    assert f"its datatype {code} is none of numbers or colours" in message_of(tmp_path / "a.nii")
