import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from moeclip_transforms import Affine, InputError
from scipy.spatial.transform import Rotation

angles = st.floats(-180, 180, allow_subnormal=False)
lengths = st.floats(0.1, 10)
places = st.floats(-500, 500, allow_subnormal=False)


@st.composite
def affines(draw):
    rotation = Rotation.from_euler("xyz", [draw(angles) for _ in range(3)], degrees=True).as_matrix()
    order = draw(st.permutations([0, 1, 2]))
    signs = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    spacing = [draw(lengths) for _ in range(3)]
    return Affine.from_axes(rotation[:, order] * signs, spacing, [draw(places) for _ in range(3)])


@given(affines(), arrays(np.float64, 3, elements=st.floats(0, 300, allow_subnormal=False)))
def test_world_coordinates_agree_with_nibabel_and_simpleitk(affine, voxel):
    world = affine.to_world(voxel)
    np.testing.assert_allclose(world, nib.affines.apply_affine(affine.matrix, voxel), atol=1e-6)
    image = SimpleITK.Image(2, 2, 2, SimpleITK.sitkUInt8)
    lps = affine.to_lps()
    image.SetSpacing(affine.spacing)
    image.SetDirection((lps[:3, :3] / affine.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    itk_point = np.array(image.TransformContinuousIndexToPhysicalPoint(voxel.tolist()))
    np.testing.assert_allclose(world, itk_point * [-1, -1, 1], atol=1e-4)


@given(affines(), arrays(np.float64, (4, 3), elements=st.floats(-300, 300, allow_subnormal=False)))
def test_to_voxel_undoes_to_world(affine, voxels):
    np.testing.assert_allclose(affine.to_voxel(affine.to_world(voxels)), voxels, atol=1e-6)


@given(affines())
def test_lps_and_back_is_the_same(affine):
    assert Affine.from_lps(affine.to_lps()) == affine
    assert affine.is_orthogonal
    assert affine.tilt() == pytest.approx(0, abs=1e-4)


def test_parts_of_a_known_affine():
    affine = Affine.from_axes([[0, -1, 0], [0, 0, 1], [1, 0, 0]], [2, 3, 4], [10, 20, 30])
    assert affine.spacing == (2, 3, 4)
    assert affine.origin == (10, 20, 30)
    assert affine.axis_codes == ("S", "L", "A")
    assert affine.voxel_ml == pytest.approx(0.024)


def test_tilt_is_the_angle_between_slice_axis_and_normal():
    matrix = np.eye(4)
    matrix[:3, 2] = [0, np.sin(np.radians(18.5)), np.cos(np.radians(18.5))]
    affine = Affine(matrix)
    assert affine.tilt() == pytest.approx(18.5)
    assert not affine.is_orthogonal


def test_matrix_is_copied_and_frozen():
    matrix = np.eye(4)
    affine = Affine(matrix)
    matrix[0, 0] = 7
    assert affine.spacing == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        affine.matrix[0, 0] = 2
    assert hash(affine) == hash(Affine(np.eye(4)))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), "An affine has the shape (4, 4), but this one has (3, 3)."),
        (np.diag([1, np.nan, 1, 1]), "The affine holds values that are not finite; expected a 4x4 matrix in mm."),
        (np.diag([1.0, 0, 1, 1]), "The affine is singular: two voxel axes coincide or one has no length."),
        (
            np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "The affine is singular: two voxel axes coincide or one has no length.",
        ),
    ],
)
def test_useless_matrices_are_refused(matrix, message):
    with pytest.raises(InputError) as caught:
        Affine(matrix)
    assert str(caught.value) == message
