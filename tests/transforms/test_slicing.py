import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moeclip_transforms import (
    Affine,
    EdgeLetters,
    FileFormat,
    ImageType,
    InputError,
    Plane,
    Series,
    Volume,
    slice_views,
)
from moeclip_transforms.volume import SourceRef
from scipy.spatial.transform import Rotation
from sentences import facts

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product([-1.0, 1.0], repeat=3)
]


def volume_of(array, affine=None, *, slice_axis=2, **details):
    x, y, z = array.shape[-3:]
    data = torch.as_tensor(np.asarray(array, dtype=np.float32)).reshape(-1, x, y, z)
    series = Series("1", FileFormat.NIFTI, (), "", ImageType.MR, "", (x, y, z, 1), 1)
    return Volume(data, affine or Affine(np.eye(4)), SourceRef(series, ""), slice_axis, **details)


def oriented(order, signs, angles=(0, 0, 0), spacing=(1, 1, 1)):
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    direction = rotation @ (np.eye(3)[:, list(order)] * signs)
    return Affine.from_axes(direction, spacing, [3, -7, 11])


def test_there_are_48_orientations():
    assert len({oriented(*each).axis_codes for each in ORIENTATIONS}) == 48


@settings(max_examples=150)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    plane=st.sampled_from(["axial", "coronal", "sagittal", "auto"]),
    as_torch=st.booleans(),
    data=st.data(),
)
def test_put_is_the_exact_inverse_of_take(orientation, angles, spacing, shape, plane, as_torch, data):
    array = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    affine = oriented(*orientation, angles, spacing)
    (view,) = slice_views(volume_of(array, affine), Plane(plane))
    indices = data.draw(st.permutations(range(view.n_slices)))
    source = torch.from_numpy(array) if as_torch else array
    slices = view.take(source, indices)
    assert tuple(slices.shape) == (view.n_slices, 2, view.rows, view.columns)
    into = torch.zeros(shape) if as_torch else np.zeros(shape, dtype=np.float32)
    half = len(indices) // 2
    for part in (slice(0, half), slice(half, None)):
        if indices[part]:
            view.put(slices[part, 1], indices[part], into)
    np.testing.assert_array_equal(np.asarray(into), array[1])


@settings(max_examples=100)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
)
def test_rows_and_columns_run_the_radiological_way(orientation, angles, plane):
    affine = oriented(*orientation, angles)
    (view,) = slice_views(volume_of(np.zeros((4, 5, 6)), affine), Plane(plane))
    to_world = affine.matrix @ view.to_volume()
    assert (
        Affine(to_world).axis_codes[1:]
        == {
            "axial": ("P", "L"),
            "coronal": ("I", "L"),
            "sagittal": ("I", "P"),
        }[plane]
    )
    assert view.spacing == pytest.approx(Affine(to_world).spacing)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_marker_at_the_patients_left_is_on_the_right_of_the_picture(orientation):
    affine = oriented(*orientation)
    shape = (9, 9, 9)
    corner = affine.to_world(np.array(shape) - 1.0) / 2 + affine.to_world([0, 0, 0]) / 2
    left_front_top = corner + np.array([-4, 4, 4])  # RAS+: left is negative x, front positive y, head positive z
    array = np.zeros(shape, dtype=np.float32)
    array[tuple(np.round(affine.to_voxel(left_front_top)).astype(int))] = 1
    volume = volume_of(array, affine)
    places = {}
    for view in slice_views(volume, Plane.ALL):
        slices = view.take(volume.tensor, range(view.n_slices))[:, 0]
        places[view.plane] = tuple(np.argwhere(np.asarray(slices))[0][1:])
    assert places == {"axial": (0, 8), "coronal": (0, 8), "sagittal": (0, 0)}


def test_letters_stand_where_the_patient_is():
    views = {view.plane: view for view in slice_views(volume_of(np.zeros((3, 4, 5))), Plane.ALL)}
    assert views["axial"].letters == EdgeLetters(left="R", right="L", top="A", bottom="P")
    assert views["coronal"].letters == EdgeLetters(left="R", right="L", top="S", bottom="I")
    assert views["sagittal"].letters == EdgeLetters(left="A", right="P", top="S", bottom="I")
    assert [(view.n_slices, view.rows, view.columns) for view in views.values()] == [(5, 4, 3), (4, 5, 3), (3, 5, 4)]


def test_auto_is_the_acquired_plane():
    volume = volume_of(np.zeros((3, 4, 5)), slice_axis=0)
    (view,) = slice_views(volume)
    assert view.plane == "sagittal"
    assert view.axes[0] == 0
    assert [view.volume_index(index) for index in range(3)] == [0, 1, 2]


def test_images_without_orientation_are_shown_as_stored():
    array = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    volume = volume_of(array, has_orientation=False)
    (view,) = slice_views(volume)
    assert (view.plane, view.letters) == ("image", None)
    np.testing.assert_array_equal(view.take(volume.tensor, [1])[0, 0].numpy(), array[:, :, 1].T)


@pytest.mark.parametrize(
    ("details", "plane", "message"),
    [
        (
            {"has_orientation": False},
            Plane.ALL,
            'This image has no patient orientation, so it has no three planes; use the plane "auto".',
        ),
        (
            {"is_regular": False},
            Plane.CORONAL,
            (
                "This volume's slices are unevenly spaced or tilted, so it has no coronal plane; "
                'use the plane "auto" (axial, as acquired).'
            ),
        ),
    ],
)
def test_planes_that_do_not_exist_are_refused(details, plane, message):
    with pytest.raises(InputError) as caught:
        slice_views(volume_of(np.zeros((3, 4, 5)), **details), plane)
    assert str(caught.value) == message


def test_a_single_slice_has_only_its_own_plane():
    volume = volume_of(np.zeros((3, 4, 1)))
    assert slice_views(volume, Plane.AXIAL)[0].plane == "axial"
    with pytest.raises(InputError) as caught:
        slice_views(volume, Plane.ALL)
    assert facts(caught.value) == facts(
        'This volume of 3×4×1 voxels is a single axial slice, so it has no three planes; use the plane "auto".'
    )
