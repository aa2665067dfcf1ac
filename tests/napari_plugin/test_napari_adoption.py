"""Layers are scored as they are on screen, whatever became of them after they were opened."""

import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from napari.layers import Image
from napari_helpers import BLOB, SHAPE, make_affine, open_widget, wait_for_run
from napari_moeclip.adoption import leading_index, volume_on_screen
from napari_moeclip.layers import METADATA_KEY, layer_transform, origin_of
from napari_moeclip.reader import read

ENDS = 30_000


@pytest.fixture
def head(head_file):
    data, attributes, _ = read(str(head_file))[0]
    return Image(data, **attributes)


def place_in_patient(volume, voxel):
    return (volume.affine.matrix @ [*voxel, 1])[:3]


def test_an_untouched_layer_keeps_its_volume(head):
    assert volume_on_screen(head) is origin_of(head)


def test_a_duplicate_is_the_same_volume(make_napari_viewer, shared, head_file):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(head_file), plugin="moeclip-med")
    copy = Image(layer.data.copy(), **layer.as_layer_data_tuple()[1])
    assert volume_on_screen(copy).volume.light == origin_of(layer).volume.light


def test_a_cropped_layer_keeps_its_place_in_the_patient(head):
    before = origin_of(head).volume.light
    cropped = head.data[4:20, 10:40, 5:35]
    start = np.asarray(head.data_to_world((4, 10, 5)))
    layer = Image(cropped, scale=head.scale, translate=start, metadata=head.metadata, name="cropped")
    origin = volume_on_screen(layer)
    volume = origin.volume.light
    assert volume.shape == (30, 30, 16)
    assert volume.has_orientation
    assert origin is not origin_of(head)
    np.testing.assert_array_equal(origin.placement.show(origin.volume.voxels[0]), cropped)
    for index in ((0, 0, 0), (3, 7, 11)):
        there = origin.placement.to_voxel(index, volume.shape)
        original = origin_of(head).placement.to_voxel(np.add(index, (4, 10, 5)), before.shape)
        np.testing.assert_allclose(place_in_patient(volume, there), place_in_patient(before, original), atol=1e-9)


def test_an_oblique_layer_that_was_moved_is_scored_where_it_is(tmp_path):
    import nibabel as nib
    from napari_helpers import make_head

    nib.save(nib.Nifti1Image(make_head(), make_affine(23)), tmp_path / "oblique.nii.gz")
    data, attributes, _ = read(str(tmp_path / "oblique.nii.gz"))[0]
    layer = Image(data, **attributes)
    before = origin_of(layer).volume.light
    layer.translate = np.add(layer.translate, (10.0, 0.0, 0.0))  # 10 mm along the layer's own first axis
    moved = volume_on_screen(layer).volume.light
    one = place_in_patient(before, origin_of(layer).placement.to_voxel((0, 0, 0), before.shape))
    other = place_in_patient(moved, volume_on_screen(layer).placement.to_voxel((0, 0, 0), moved.shape))
    assert np.linalg.norm(other - one) == pytest.approx(10.0)


def test_new_data_is_scored_and_not_the_old(head):
    new = np.full((5, 6, 7), 3.0, np.float32)
    head.data = new
    origin = volume_on_screen(head)
    assert origin.volume.light.shape == (7, 6, 5)
    assert set(np.unique(origin.volume.voxels)) == {3.0}
    assert "as it is on screen" in origin.volume.light.notes[0]


def test_a_projection_has_no_place_in_the_patient_any_more(head):
    layer = Image(head.data.max(axis=0), metadata=head.metadata, name="projected")
    origin = volume_on_screen(layer)
    assert origin.volume.light.shape == (SHAPE[0], SHAPE[1], 1)
    assert not origin.volume.light.has_orientation
    assert origin.placement.ends is None


def test_a_channel_that_was_split_off_is_grey(make_napari_viewer, shared):
    viewer = make_napari_viewer()
    (clip,) = viewer.open_sample("moeclip-med", "simulated_endoscopy")
    layer = Image(clip.data[..., 1], metadata=clip.metadata, name="green")
    origin = volume_on_screen(layer)
    assert origin.volume.voxels.shape[0] == 1
    assert origin.volume.light.series.channels == 1


def test_shear_is_kept():
    layer = Image(
        np.zeros((4, 5, 6), np.float32), scale=(3, 2, 1), shear=(0.2, 0.1, 0.3), rotate=20, translate=(1, 2, 3)
    )
    origin = volume_on_screen(layer)
    overlay = Image(np.zeros((4, 5, 6)), **layer_transform(layer, origin.placement.leading))
    for index in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
        np.testing.assert_allclose(overlay.data_to_world(index), layer.data_to_world(index), atol=1e-9)


def test_a_time_slider_outside_the_layer_is_refused():
    layer = Image(np.zeros((3, 4, 5, 6), np.float32), name="times", translate=(10, 0, 0, 0))
    assert leading_index(layer, (11.0, 0, 0, 0)) == (1,)
    for outside in (8.0, 13.0):
        with pytest.raises(InputError, match=r'"times" has images 1 to 3'):
            leading_index(layer, (outside, 0, 0, 0))


def test_the_map_belongs_to_its_time_point(make_napari_viewer, shared, qtbot):
    viewer = make_napari_viewer()
    data = np.random.default_rng(0).integers(0, 60, (3, 6, 40, 50)).astype(np.uint8)
    data[2, :, 10:20, 30:40] = 255
    image = viewer.add_image(data, scale=(2, 5, 2, 2), affine=np.diag([3.0, 1, 1, 1, 1]))
    viewer.dims.set_point(0, image.data_to_world((2, 0, 0, 0))[0])
    widget = open_widget(viewer)
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    overlay = next(layer for layer in viewer.layers if "anomaly" in layer.name)
    assert overlay.data.shape == (1, 6, 40, 50)
    state = viewer.canvas.overlays["moeclip_state"]
    assert not state.visible
    viewer.dims.set_current_step(0, 0)
    assert state.visible
    assert state.text == "the map is of time point 3"
    viewer.dims.set_current_step(0, 2)
    assert not state.visible
    np.testing.assert_allclose(overlay.data_to_world((0, 1, 2, 3)), image.data_to_world((2, 1, 2, 3)))


class Unreadable:
    """An array on a drive that is gone when it is scored."""

    shape, ndim, dtype = (4, 30, 30), 3, np.dtype("float32")
    is_gone = False

    def __getitem__(self, index):
        if self.is_gone:
            raise OSError("no such image: Doe^Jane")
        return np.zeros(self.shape, self.dtype)[index]


def test_a_layer_that_cannot_be_read_leaves_the_widget_ready(make_napari_viewer, shared, qtbot, errors):
    viewer, data = make_napari_viewer(), Unreadable()
    viewer.add_image(data, name="remote", contrast_limits=(0, 1))
    widget = open_widget(viewer)
    data.is_gone = True
    widget.runner.run_button.click()
    qtbot.waitUntil(lambda: len(errors) > 0, timeout=ENDS)
    assert 'The layer "remote" cannot be scored: its data cannot be read (OSError)' in errors[0].message
    assert "Doe" not in errors[0].message
    assert widget.is_idle
    assert widget.runner.run_button.isEnabled()


def test_a_cropped_layer_is_scored_where_it_lies(opened, qtbot):
    viewer, widget = opened
    head = viewer.layers["head"]
    start = (12, 5, 20)
    layer = viewer.add_image(
        head.data[12:, 5:, 20:].copy(),
        scale=head.scale,
        translate=head.data_to_world(start),
        metadata=head.metadata,
        name="cropped",
        units=head.units,
    )
    viewer.layers.remove("head")
    assert widget.choices.layer.name == "cropped"
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    overlay = viewer.layers["anomaly map · cropped"]
    assert overlay.data.shape == layer.data.shape
    np.testing.assert_allclose(overlay.data_to_world((1, 2, 3)), layer.data_to_world((1, 2, 3)))
    assert METADATA_KEY in overlay.metadata
    np.testing.assert_array_equal(overlay.data >= 0.8, layer.data >= 900)
    assert np.count_nonzero(layer.data >= 900) <= np.prod([part.stop - part.start for part in BLOB])
