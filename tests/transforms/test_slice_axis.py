import nibabel as nib
import numpy as np
import pytest
from moeclip_transforms import Affine, InputError, read_volume, slice_views
from moeclip_transforms.slice_axis import likely_slice_axis

SLICE = np.random.default_rng(0).integers(0, 255, (96, 112)).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_cut_where_it_is_one_slice(tmp_path, axis):
    nib.save(nib.Nifti1Image(np.expand_dims(SLICE, axis), np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    (view,) = slice_views(volume)
    assert (view.n_slices, {view.rows, view.columns}) == (1, {96, 112})


@pytest.mark.parametrize("shape", [(163842, 1, 1), (2562, 1, 1), (1, 1, 300)])
def test_values_of_a_surface_are_no_image(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(shape, dtype=np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="a line and no image"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("shape", "spacing", "told", "expected"),
    [
        ((96, 112, 3), (1, 1, 1), None, 2),
        ((96, 3, 112), (1, 1, 1), None, 1),
        ((3, 96, 112), (1, 1.5, 1.5), None, 0),
        ((1, 96, 112), (1, 5, 1), None, 0),
        ((1, 96, 112), (1, 1, 1), 2, 0),
        ((96, 112, 24), (1, 1, 1), 0, 0),
        ((96, 112, 24), (1, 5, 1), None, 1),
        ((20, 96, 112), (1, 1, 1), None, 2),
    ],
)
def test_the_shape_decides_before_header_and_spacing(shape, spacing, told, expected):
    assert likely_slice_axis(Affine(np.diag([*spacing, 1.0])), shape, told=told) == expected


def test_without_orientation_the_spacing_still_decides(tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(1).normal(size=(30, 12, 32)).astype(np.float32), None)
    image.header.set_zooms((1.0, 5.0, 1.0))
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    (view,) = slice_views(volume)
    assert (volume.has_orientation, volume.has_spacing) == (False, True)
    assert (view.n_slices, view.rows, view.columns, view.letters) == (12, 32, 30, None)
    assert view.spacing == (5.0, 1.0, 1.0)
