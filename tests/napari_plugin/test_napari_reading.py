"""Studies opened in a real viewer."""

import nibabel as nib
import numpy as np
import pytest
from moeclip_transforms import read_volume
from napari_helpers import SHAPE, make_affine, make_head
from napari_moeclip.layers import origin_of
from napari_moeclip.series_dialog import SeriesDialog
from qtpy.QtCore import Qt

from moeclip_med.demo import write_dicom_series

pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture
def dicom_folder(tmp_path):
    folder = tmp_path / "study"
    write_dicom_series(folder, make_head().astype(np.int16), make_affine(axes=(0, 1, 2)), "SIMULATED head")
    return folder


def texts(viewer):
    overlays = viewer.canvas.overlays
    return [overlays[f"moeclip_{edge}"].text for edge in ("left", "right", "top", "bottom")]


def test_dicom_folder_opens_with_spacing_and_letters(make_napari_viewer, dicom_folder):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(dicom_folder), plugin="moeclip-med")
    assert layer.name == "MR SIMULATED head"
    np.testing.assert_allclose(sorted(layer.scale), [1.5, 2.0, 4.0])
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    volume = read_volume(dicom_folder)
    origin = origin_of(layer)
    np.testing.assert_array_equal(origin.placement.hide(layer.data), volume.array[0])
    assert texts(viewer) == ["R", "L", "A", "P"]
    viewer.dims.order = (1, 0, 2)
    assert texts(viewer) == ["R", "L", "S", "I"]
    viewer.dims.order = (2, 0, 1)
    assert texts(viewer) == ["A", "P", "S", "I"]
    viewer.scene.camera.orientation2d = ("up", "left")
    assert texts(viewer) == ["P", "A", "I", "S"]
    viewer.dims.ndisplay = 3
    assert not viewer.canvas.overlays["moeclip_left"].visible


def test_a_map_that_was_written_before_opens_though_it_is_not_scored(make_napari_viewer, tmp_path):
    image = nib.Nifti1Image(make_head(), make_affine(axes=(0, 1, 2)))
    image.header["descrip"] = b"MoECLIP-Med anomaly score, 0 to 1"
    nib.save(image, tmp_path / "anomaly.nii.gz")
    (layer,) = make_napari_viewer().open(str(tmp_path / "anomaly.nii.gz"), plugin="moeclip-med")
    assert layer.name == "anomaly"


def test_sagittal_series_opens_in_its_own_plane(make_napari_viewer, tmp_path):
    affine = make_affine(axes=(1, 2, 0))  # x runs to the front, y to the head, slices to the right
    image = nib.Nifti1Image(make_head(), affine)
    image.header.set_dim_info(slice=2)
    nib.save(image, tmp_path / "sagittal.nii.gz")
    viewer = make_napari_viewer()
    viewer.open(str(tmp_path / "sagittal.nii.gz"), plugin="moeclip-med")
    assert texts(viewer) == ["A", "P", "S", "I"]
    assert viewer.canvas.overlays["moeclip_slice"].text == "sagittal\n15 of 30\n(slider: 15)"


def test_letters_go_with_the_image(make_napari_viewer, head_file):
    viewer = make_napari_viewer()
    viewer.open(str(head_file), plugin="moeclip-med")
    assert texts(viewer) == ["R", "L", "A", "P"]
    viewer.layers.clear()
    viewer.add_image(np.zeros((5, 5)))
    assert texts(viewer) == [""] * 4


def test_unreadable_files_become_one_sentence_and_no_layer(make_napari_viewer, tmp_path, errors):
    (tmp_path / "broken.nii").write_bytes(b"no NIfTI")
    viewer = make_napari_viewer()
    viewer.open(str(tmp_path / "broken.nii"), plugin="moeclip-med")
    assert len(viewer.layers) == 0
    (record,) = errors
    assert record.message.startswith('"broken.nii" is not a readable NIfTI file')
    assert "Traceback" not in record.message


def test_four_dimensional_files_ask_for_a_time_point(make_napari_viewer, tmp_path, monkeypatch):
    frames = np.stack([make_head(), make_head() * 2, make_head() * 3], axis=-1)
    nib.save(nib.Nifti1Image(frames, make_affine()), tmp_path / "times.nii.gz")

    def choose(dialog):
        dialog.table.cellWidget(0, 3).setValue(2)
        return True

    monkeypatch.setattr(SeriesDialog, "exec", choose)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "times.nii.gz"), plugin="moeclip-med")
    assert layer.name == "times, time 2"
    assert layer.data.max() == 3000.0


def test_a_study_with_two_series_asks_which(make_napari_viewer, dicom_folder, monkeypatch):
    write_dicom_series(dicom_folder / "b", make_head().astype(np.int16), make_affine(), "SIMULATED other")
    offered = []

    def choose(dialog):
        offered.extend(dialog.table.item(row, 0).text() for row in range(dialog.table.rowCount()))
        dialog.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
        dialog.table.item(1, 0).setCheckState(Qt.CheckState.Checked)
        return True

    monkeypatch.setattr(SeriesDialog, "exec", choose)
    viewer = make_napari_viewer()
    viewer.open(str(dicom_folder), plugin="moeclip-med")
    assert sorted(offered) == ["SIMULATED head", "SIMULATED other"]
    assert [layer.name for layer in viewer.layers] == [f"MR {offered[1]}"]


def test_samples_are_simulated_and_say_so(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("moeclip-med", "simulated_brain")
    viewer.open_sample("moeclip-med", "simulated_endoscopy")
    brain, clip = viewer.layers
    assert brain.name == "simulated brain"
    assert brain.data.shape == (189, 233, 197)
    assert clip.name == "simulated endoscopy"
    assert clip.rgb
    assert clip.data.shape == (24, 256, 256, 3)
    assert clip.data.dtype == np.uint8


def test_saved_map_is_nifti_on_the_grid_of_the_input(make_napari_viewer, head_file, tmp_path):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(head_file), plugin="moeclip-med")
    (path,) = layer.save(str(tmp_path / "copy.nii.gz"), plugin="moeclip-med")
    saved, source = nib.load(path), nib.load(head_file)
    assert saved.shape == SHAPE
    np.testing.assert_allclose(saved.affine, source.affine, atol=1e-5)
    np.testing.assert_allclose(saved.get_fdata(), source.get_fdata(), atol=1e-4)
