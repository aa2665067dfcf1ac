"""Layers lie where the patient's voxels lie: against nibabel, SimpleITK, and for every orientation."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms import Affine, read_volume
from napari.layers import Image, Labels
from napari_helpers import SHAPE, SPACING, make_affine, make_head
from napari_moeclip import messages
from napari_moeclip.layers import METADATA_KEY, anomaly_layer_attributes, origin_of
from napari_moeclip.navigation import describe_place, voxel_at
from napari_moeclip.placement import place
from napari_moeclip.reader import read
from napari_moeclip.volumes import VolumeFacts

ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def light_volume(affine, shape=SHAPE, slice_axis=2):
    return VolumeFacts(tuple(shape), Affine(affine), source=None, slice_axis=slice_axis)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_world_axes_run_to_feet_back_and_left_whatever_the_file_order(axes, signs):
    affine = make_affine(axes=axes, signs=signs)
    placement = place(light_volume(affine))
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    layer = Image(placement.show(array), **placement.transform)
    rng = np.random.default_rng(3)
    for voxel in rng.integers(0, SHAPE, size=(5, 3)):
        right, anterior, superior = (affine @ [*voxel, 1])[:3]
        index = placement.to_index(voxel, SHAPE)
        assert layer.data[tuple(index.astype(int))] == array[tuple(voxel)]
        np.testing.assert_allclose(layer.data_to_world(index), [-superior, -anterior, -right], atol=1e-9)


@given(
    voxel=st.tuples(*(st.integers(0, size - 1) for size in SHAPE)),
    orientation=st.sampled_from(ORIENTATIONS),
    degrees=st.floats(-40, 40),
)
def test_index_and_voxel_are_inverse_and_distances_true_for_oblique_volumes(voxel, orientation, degrees):
    affine = make_affine(degrees, *orientation)
    placement = place(light_volume(affine))
    index = placement.to_index(voxel, SHAPE)
    np.testing.assert_allclose(placement.to_voxel(index, SHAPE), voxel, atol=1e-9)
    corner = placement.to_index((0, 0, 0), SHAPE)
    in_viewer = np.linalg.norm((index - corner) * placement.scale)
    in_patient = np.linalg.norm((affine @ [*voxel, 0])[:3])
    assert in_viewer == pytest.approx(in_patient, abs=1e-6)


def test_show_and_hide_are_inverse_and_copy_nothing():
    array = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    for axes, signs in ORIENTATIONS:
        placement = place(light_volume(make_affine(axes=axes, signs=signs)))
        shown = placement.show(array)
        assert np.shares_memory(shown, array)
        np.testing.assert_array_equal(placement.hide(shown), array)


def test_slices_are_shown_as_acquired():
    for axis, order in ((0, (2, 0, 1)), (1, (1, 0, 2)), (2, (0, 1, 2))):
        assert place(light_volume(make_affine(), slice_axis=axis)).dims_order == order


@pytest.mark.parametrize("degrees", [0.0, 23.0])
@pytest.mark.parametrize(("axes", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
def test_image_and_map_agree_with_nibabel_and_simpleitk_within_half_a_voxel(tmp_path, degrees, axes, signs):
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image(make_head(), make_affine(degrees, axes, signs)), path)
    data, attributes, _ = read(str(path))[0]
    image = Image(data, **attributes)
    origin = origin_of(image)
    overlay = Image(np.zeros_like(data), **anomaly_layer_attributes(image, origin, 0.5))
    by_nibabel = nib.load(path)
    by_itk = SimpleITK.ReadImage(str(path))
    for voxel in np.random.default_rng(1).integers(0, SHAPE, size=(20, 3)):
        index = origin.placement.to_index(voxel, SHAPE)
        assert data[tuple(index.astype(int))] == pytest.approx(by_nibabel.get_fdata()[tuple(voxel)], abs=1e-3)
        for layer in (image, overlay):
            world = layer.data_to_world(index)
            assert voxel_at(world, layer, origin) == tuple(voxel)
        ras = (by_nibabel.affine @ [*voxel, 1])[:3]
        lps = by_itk.TransformContinuousIndexToPhysicalPoint([float(value) for value in voxel])
        np.testing.assert_allclose(lps, ras * [-1, -1, 1], atol=1e-3)
        said = describe_place(tuple(voxel), origin)
        expected = [("L", "R")[lps[0] < 0], ("P", "A")[lps[1] < 0], ("S", "I")[lps[2] < 0]]
        numbers = [float(part) for part in said.split() if part.replace(".", "").isdigit()]
        np.testing.assert_allclose(numbers, np.abs(lps), atol=0.06)
        assert [part for part in said.split() if part in "LRPASI"] == expected


def test_reader_without_a_viewer_gives_the_same_voxels_as_reading_the_file(head_file):
    data, attributes, kind = read(str(head_file))[0]
    volume = read_volume(head_file)
    assert kind == "image"
    assert attributes["name"] == "head"
    origin = attributes["metadata"][METADATA_KEY]
    np.testing.assert_array_equal(origin.placement.hide(data), volume.array[0])
    assert sorted(attributes["scale"]) == sorted(SPACING)


def test_foreign_layers_keep_their_place(make_napari_viewer):
    from napari_moeclip.adoption import volume_on_screen

    viewer = make_napari_viewer()
    layer = viewer.add_image(
        np.random.default_rng(0).random((4, 9, 8)), scale=(3, 2, 1), translate=(5, 6, 7), rotate=30
    )
    origin = volume_on_screen(layer)
    overlay = Image(np.zeros((4, 9, 8)), **anomaly_layer_attributes(layer, origin, 0.5))
    np.testing.assert_allclose(overlay.data_to_world((1, 2, 3)), layer.data_to_world((1, 2, 3)))
    np.testing.assert_array_equal(origin.placement.show(origin.volume.voxels[0]), layer.data.astype(np.float32))


def test_foreign_layers_of_every_shape(make_napari_viewer):
    from napari_moeclip.adoption import volume_on_screen

    rng = np.random.default_rng(0)
    viewer = make_napari_viewer()
    flat = viewer.add_image(rng.integers(0, 255, (9, 8), dtype=np.uint8))
    colour = viewer.add_image(rng.integers(0, 255, (9, 8, 3), dtype=np.uint8), rgb=True)
    clip = viewer.add_image(rng.integers(0, 255, (5, 9, 8, 3), dtype=np.uint8), rgb=True)
    times = viewer.add_image(rng.random((6, 5, 9, 8)))
    origin = volume_on_screen(flat)
    assert origin.volume.light.shape == (8, 9, 1)
    assert origin.volume.light.display_range == (0.0, 255.0)
    np.testing.assert_array_equal(origin.placement.show(origin.volume.voxels[0]), flat.data)
    assert volume_on_screen(colour).volume.voxels.shape == (3, 8, 9, 1)
    origin = volume_on_screen(clip)
    assert origin.volume.light.series.is_cine
    np.testing.assert_array_equal(origin.volume.voxels[1, 3, 2, 4], clip.data[4, 2, 3, 1])
    origin = volume_on_screen(times, (2,))
    np.testing.assert_array_equal(origin.placement.show(origin.volume.voxels[0])[0], times.data[2].astype(np.float32))


def test_labels_take_the_same_transform(make_napari_viewer):
    from napari_moeclip.adoption import volume_on_screen
    from napari_moeclip.layers import findings_layer_attributes, outline_colormap

    viewer = make_napari_viewer()
    layer = viewer.add_image(np.zeros((2, 4, 9, 8)), scale=(1, 3, 2, 1), translate=(0, 5, 6, 7))
    labels = Labels(
        np.zeros((1, 4, 9, 8), int),
        **findings_layer_attributes(layer, volume_on_screen(layer, (1,)), outline_colormap(None)),
    )
    np.testing.assert_allclose(labels.data_to_world((0, 1, 2, 3)), layer.data_to_world((1, 1, 2, 3)))


def test_a_message_survives_the_pipe():
    request = messages.LoadRequest("lite", "cpu", "a\nb")
    line = messages.encode(messages.Envelope(3, "request", request))
    assert line.count(b"\n") == 1
    assert messages.decode(line) == messages.Envelope(3, "request", request)
