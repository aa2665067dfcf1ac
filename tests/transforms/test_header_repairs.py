"""NIfTI headers as other tools leave them: read, with a note that says what was repaired."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from moeclip_transforms import InputError, open_source, read_volume

VALUES = np.random.default_rng(3).integers(0, 900, (8, 9, 10)).astype(np.int16)
TILTED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([1, 2, 3]), [4, 5, 6])


@pytest.fixture
def stored(tmp_path):
    """The bytes of a file with sform and qform alike, and a place to write altered ones to."""
    image = nib.Nifti1Image(VALUES, TILTED)
    image.set_sform(TILTED, 1)
    image.set_qform(TILTED, 1)
    nib.save(image, tmp_path / "good.nii")
    return bytearray((tmp_path / "good.nii").read_bytes())


def read(path, content):
    path.write_bytes(content)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], VALUES)
    return volume


def test_a_good_file_needs_no_note(tmp_path, stored):
    volume = read(tmp_path / "a.nii", stored)
    assert volume.notes == ()
    np.testing.assert_allclose(volume.affine.matrix, TILTED, atol=1e-5)


def test_zero_sform_with_a_good_qform(tmp_path, stored):
    stored[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    volume = read(tmp_path / "a.nii", stored)
    np.testing.assert_allclose(volume.affine.matrix, TILTED, atol=1e-5)
    assert "the qform is used" in volume.notes[0]


@pytest.mark.parametrize("excess", [1e-6, 4e-6, 1e-4])
def test_quaternion_just_over_one(tmp_path, stored, excess):
    struct.pack_into("<hh", stored, 252, 1, 0)  # qform alone
    struct.pack_into("<fff", stored, 256, 0.0, 0.0, np.sqrt(1 + excess))
    volume = read(tmp_path / "a.nii", stored)
    np.testing.assert_allclose(volume.affine.matrix[:3, :3], np.diag([-1, -2, 3]), atol=1e-5)
    assert "quaternion" in volume.notes[0]


def test_quaternion_far_over_one_without_sform_is_refused(tmp_path, stored):
    struct.pack_into("<hh", stored, 252, 1, 0)
    struct.pack_into("<fff", stored, 256, 0.0, 0.9, 0.9)
    with pytest.raises(InputError, match=r'"a\.nii".*qform is damaged'):
        read(tmp_path / "a.nii", stored)


def test_trailing_singletons(tmp_path):
    nib.save(nib.Nifti1Image(VALUES[..., None, None, None], TILTED), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array[0], VALUES)
    assert "8×9×10×1×1×1" in volume.notes[0]


def test_voxels_that_start_inside_the_header(tmp_path, stored):
    struct.pack_into("<f", stored, 108, 0.0)  # vox_offset
    assert "byte 352" in read(tmp_path / "a.nii", stored).notes[0]


def test_no_voxel_size(tmp_path, stored):
    struct.pack_into("<ffff", stored, 76, 1.0, 0.0, 2.0, 3.0)  # pixdim
    struct.pack_into("<hh", stored, 252, 0, 0)
    volume = read(tmp_path / "a.nii", stored)
    assert volume.affine.spacing == (1.0, 2.0, 3.0)
    assert (volume.has_orientation, volume.has_spacing) == (False, False)
    assert any("pixdim 0" in note for note in volume.notes)


@pytest.mark.parametrize(("name", "is_packed"), [("a.nii.gz", False), ("a.nii", True)])
def test_a_suffix_that_lies_about_compression(tmp_path, stored, name, is_packed):
    volume = read(tmp_path / name, gzip.compress(stored) if is_packed else stored)
    assert "suffix" in volume.notes[0]


@pytest.mark.parametrize("given", ["a.hdr", "a.img"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_either_file_of_a_pair(tmp_path, given, packed):
    nib.save(nib.Nifti1Pair(VALUES, TILTED), tmp_path / f"a.img{packed}")
    volume = read_volume(tmp_path / f"{given}{packed}")
    np.testing.assert_array_equal(volume.array[0], VALUES)
    assert {path.name for path in volume.series.files} == {f"a.hdr{packed}", f"a.img{packed}"}


def test_a_pair_in_a_folder_is_one_series(tmp_path):
    nib.save(nib.Nifti1Pair(VALUES, TILTED), tmp_path / "a.img")
    with open_source(tmp_path) as source:
        assert len(source.series) == 1


def test_analyze_has_size_but_no_orientation(tmp_path):
    image = nib.analyze.AnalyzeImage(VALUES, np.diag([1.0, 2.0, 3.0, 1.0]))
    nib.save(image, tmp_path / "a.img")
    volume = read_volume(tmp_path / "a.hdr")
    np.testing.assert_array_equal(volume.array[0], VALUES)
    assert (volume.has_orientation, volume.has_spacing, volume.affine.spacing) == (False, True, (1.0, 2.0, 3.0))
    assert any("left from right" in note for note in volume.notes)


def test_damage_behind_the_first_time_point_is_found(tmp_path):
    series = np.random.default_rng(1).integers(0, 900, (8, 9, 10, 4)).astype(np.int16)
    nib.save(nib.Nifti1Image(series, TILTED), tmp_path / "a.nii.gz")
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[-30] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r'"a\.nii\.gz" cannot be read'):
        read_volume(tmp_path / "a.nii.gz")


def test_a_line_of_values_is_no_image(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((1638, 1, 1), np.float32), np.eye(4)), tmp_path / "lh.thickness.nii")
    with pytest.raises(InputError, match=r"1638×1×1"):
        read_volume(tmp_path / "lh.thickness.nii")
