import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moeclip_transforms import ImageType, InputError, open_source, read_volume, slice_views
from nibabel.testing import data_path
from sentences import facts, lacking

EXAMPLES = Path(data_path)


def save(path, array, affine=None, **header):
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        getattr(image.header, name)(*value)
    nib.save(image, path)
    return path


def message_of(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii"])
def test_real_files_agree_with_nibabel(name):
    expected = nib.load(EXAMPLES / name)
    with open_source(EXAMPLES / name) as source:
        (series,) = source.series
        last = series.shape[3] - 1
        volume = source.read(series, time_point=last)
    data = expected.get_fdata(dtype=np.float32)
    data = data[..., last] if data.ndim == 4 else data
    np.testing.assert_allclose(volume.tensor[0].numpy(), data, rtol=1e-6)
    np.testing.assert_array_equal(volume.affine.matrix, expected.affine)
    assert volume.series.image_type is ImageType.MR
    assert volume.has_orientation


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codes=st.permutations("RAS").flatmap(
        lambda axes: st.tuples(*[st.sampled_from([axis, {"R": "L", "A": "P", "S": "I"}[axis]]) for axis in axes])
    )
)
def test_every_orientation_keeps_its_own_grid(tmp_path, codes):
    ras = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1]))
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    turned = ras.as_reoriented(turn)
    nib.save(turned, tmp_path / "turned.nii")
    volume = read_volume(tmp_path / "turned.nii")
    np.testing.assert_array_equal(volume.tensor[0].numpy(), turned.get_fdata())
    np.testing.assert_allclose(volume.affine.matrix, turned.affine)
    (view,) = slice_views(volume)
    assert view.plane == "axial"  # the 3 mm axis
    shown = view.take(volume.tensor, [0, 1, 2, 3, 4])[:, 0].numpy()
    order = slice(None) if codes[volume.slice_axis] == "S" else slice(None, None, -1)
    expected = ras.get_fdata()[::-1, ::-1].transpose(2, 1, 0)  # rows to the back, columns to the left
    np.testing.assert_array_equal(shown[order], expected)


def test_scale_slope_and_intercept_are_applied(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2), 3, np.int16))
    content = bytearray(path.read_bytes())
    struct.pack_into("<ff", content, 112, 2.5, -1.0)  # scl_slope and scl_inter of NIfTI-1
    path.write_bytes(content)
    assert read_volume(path).tensor.unique().tolist() == [6.5]


@pytest.mark.parametrize(("slope", "is_told"), [(np.inf, True), (-np.inf, True), (np.nan, False), (0.0, False)])
def test_a_slope_that_is_none_leaves_values_as_stored(tmp_path, slope, is_told):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2), 3, np.int16))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 112, slope)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.tensor.unique().tolist() == [3.0]
    assert any("scl_slope" in note for note in volume.notes) == is_told


def test_slice_axis_from_the_header_or_the_coarsest_spacing(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    assert read_volume(save(tmp_path / "a.nii", array, np.diag([1, 1, 1, 1]))).slice_axis == 2
    assert read_volume(save(tmp_path / "b.nii", array, np.diag([1, 5, 1, 1]))).slice_axis == 1
    named = save(tmp_path / "c.nii", array, np.diag([1, 5, 1, 1]), set_dim_info=(None, None, 0))
    assert read_volume(named).slice_axis == 0


def test_isotropic_volume_is_cut_axially_whatever_its_axes(tmp_path):
    affine = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
    volume = read_volume(save(tmp_path / "a.nii", np.random.default_rng(0).normal(size=(4, 5, 6)), affine))
    assert slice_views(volume)[0].plane == "axial"


def test_header_without_orientation(tmp_path):
    image = nib.Nifti1Image(np.arange(8.0).reshape(2, 2, 2), None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert not volume.has_orientation
    assert volume.affine.matrix.diagonal().tolist() == [2, 3, 4, 1]
    (note,) = volume.notes
    assert not lacking(note, "no orientation", "sform", "qform")


def test_sform_wins_over_a_different_qform(tmp_path):
    image = nib.Nifti1Image(np.arange(64.0).reshape(4, 4, 4), np.eye(4))
    image.set_sform(np.eye(4), 2)
    image.set_qform(nib.affines.from_matvec(np.eye(3), [0, 0, 9]), 1)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.affine.matrix, np.eye(4))
    (note,) = volume.notes
    assert not lacking(note, "qform", "9.0 mm", "the sform is used")


def test_lengths_in_other_units_become_mm(tmp_path):
    path = save(tmp_path / "a.nii", np.arange(8.0).reshape(2, 2, 2), np.diag([1500, 1500, 1500, 1]))
    image = nib.load(path)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "b.nii")
    volume = read_volume(tmp_path / "b.nii")
    assert volume.affine.matrix.diagonal().tolist() == [1.5, 1.5, 1.5, 1]
    (note,) = volume.notes
    assert not lacking(note, "mm", "×0.001")


def test_nan_and_infinity_are_counted(tmp_path):
    array = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, -np.inf
    volume = read_volume(save(tmp_path / "a.nii", array))
    (note,) = volume.notes
    assert not lacking(note, "3 of 27", "NaN", "background")


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, np.nan), (np.float32, np.inf), (np.float64, 1e300)])
def test_values_that_no_image_has_are_refused(tmp_path, dtype, value):
    said = message_of(save(tmp_path / "a.nii", np.full((2, 2, 2), value, dtype)))
    assert all(words in said for words in ('"a.nii"', "NaN", "3.4e38", "scale"))


def test_colour_volume(tmp_path):
    stored = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    stored["R"], stored["G"], stored["B"] = 10, 20, 30
    volume = read_volume(save(tmp_path / "a.nii", stored))
    assert volume.tensor[:, 1, 2, 3].tolist() == [10, 20, 30]
    assert volume.series.image_type is ImageType.PLAIN


def test_two_dimensional_file(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii", np.arange(12.0).reshape(3, 4)))
    assert volume.shape == (3, 4, 1)


def test_time_point_that_does_not_exist():
    with pytest.raises(InputError) as caught:
        read_volume(EXAMPLES / "example4d.nii.gz", time_point=2)
    assert facts(caught.value) == facts('"example4d.nii.gz" has 2 time points, numbered 0 to 1; 2 is none of them.')


def test_five_dimensions_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2, 1, 3), np.float32))
    assert facts(message_of(path)) == facts(
        '"a.nii" has the shape 2×2×2×1×3; expected a volume of 2 to 4 dimensions, none of them 0.'
    )


def test_zero_size_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 0, 2), np.float32))
    assert facts(message_of(path)) == facts(
        '"a.nii" has the shape 2×0×2; expected a volume of 2 to 4 dimensions, none of them 0.'
    )


def test_flat_affine_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.arange(8.0).reshape(2, 2, 2))
    image = nib.load(path)
    image.header["srow_z"] = 0
    nib.save(nib.Nifti1Image(image.get_fdata(), None, image.header), tmp_path / "b.nii")
    assert facts(message_of(tmp_path / "b.nii")) == facts(
        '"b.nii" cannot be placed in space: The affine is singular: two voxel axes coincide or one has no length.'
    )


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_file(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", np.random.default_rng(0).normal(size=(20, 20, 20)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = message_of(path)
    assert message.startswith(f'The voxels of "a{suffix}" cannot be read (')
    assert message.endswith("); the file is truncated or damaged: copy it again.")


def test_a_header_without_its_voxels_says_which_file_is_missing(tmp_path):
    nib.save(nib.Nifti1Pair(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "a.img").unlink()
    assert facts(message_of(tmp_path / "a.hdr")) == facts(
        '"a.hdr" is only a header: its voxels belong in "a.img" beside it, which is missing; bring it.'
    )


def test_wrong_magic_number(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"this is text, not a volume" * 30)
    assert message_of(path).startswith('"a.nii" is not a readable NIfTI file (')


def test_gzip_of_something_else(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"rubbish" * 100))
    assert message_of(path).startswith('"a.nii.gz" is not a readable NIfTI file (')


def test_a_file_that_is_compressed_twice(tmp_path):
    once = gzip.compress(save(tmp_path / "a.nii", np.ones((4, 5, 6), np.int16)).read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(once))
    assert not lacking(message_of(tmp_path / "a.nii.gz"), '"a.nii.gz"', "compressed twice", "gunzip")


def test_header_without_its_image(tmp_path):
    nib.save(nib.Nifti1Pair(np.arange(8.0).reshape(2, 2, 2), np.eye(4)), tmp_path / "a.hdr")
    assert read_volume(tmp_path / "a.hdr").shape == (2, 2, 2)
    (tmp_path / "a.img").unlink()
    message = message_of(tmp_path / "a.hdr")
    assert '"a.hdr"' in message
    assert str(tmp_path) not in message


def test_files_of_one_name_have_their_own_identifiers(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "scan.nii", np.arange(8.0).reshape(2, 2, 2))
    with open_source(tmp_path) as source:
        first, second = (series.uid for series in source.series)
    assert second == f"{first}#2"
    with open_source(tmp_path / "b") as source:
        assert source.series[0].uid == first  # a name alone decides, wherever the file lies


def test_voxels_that_start_beyond_any_header_are_refused(tmp_path):
    """A compressed file would be unpacked that far."""
    content = bytearray(save(tmp_path / "a.nii", np.ones((4, 5, 6), np.int16)).read_bytes())
    content[108:112] = struct.pack("<f", 8e9)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    assert "byte 8e+09" in message_of(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("size", [0, 50])
def test_a_gzip_file_of_several_streams_of_which_the_first_holds_less_than_the_header(tmp_path, size):
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    content = save(tmp_path / "a.nii", values).read_bytes()
    parts = (content[:size], content[size : 2 * size], content[2 * size :])
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array[0], values)


def test_differences_that_32_bits_cannot_hold_are_told(tmp_path):
    values = np.arange(4 * 5 * 6, dtype=np.int32).reshape(4, 5, 6)
    fine, coarse = (read_volume(save(tmp_path / f"{start}.nii", values + start)) for start in (1000, 1_000_000_000))
    assert not any("32-bit" in note for note in fine.notes)
    assert any("steps of 64" in note for note in coarse.notes)
