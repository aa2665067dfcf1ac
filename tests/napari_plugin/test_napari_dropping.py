"""Studies dropped on the viewer, as files, folders, archives and directories."""

import gc
import shutil
import warnings
from itertools import product

import nibabel as nib
import numpy as np
import pydicom
import pytest
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from napari_helpers import make_affine, make_head, when_shown
from napari_moeclip.layers import origin_of
from napari_moeclip.navigation import describe_place, voxel_at
from pydicom.fileset import FileSet
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from moeclip_med.demo import write_dicom_series

pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The head as a folder of DICOM files, as a zip, under a DICOMDIR, and as NIfTI."""
    root = tmp_path_factory.mktemp("study")
    write_dicom_series(root / "folder", make_head().astype(np.int16), make_affine(), "SIMULATED head")
    shutil.make_archive(str(root / "zip"), "zip", root / "folder")
    disc = FileSet()
    for path in sorted((root / "folder").iterdir()):
        header = pydicom.dcmread(path)
        header.StudyDate, header.StudyTime, header.StudyID, header.SeriesNumber = "20260101", "120000", "1", 1
        disc.add(header)
    disc.write(root / "disc")
    with warnings.catch_warnings():  # a file set cleans up its temporary folder when it goes, and warns of that
        warnings.simplefilter("ignore", ResourceWarning)
        del disc
        gc.collect()
    nib.save(nib.Nifti1Image(make_head(), make_affine()), root / "head.nii.gz")
    return root


def drop(viewer, path):
    """Drop a path on the viewer; where napari asks for a reader, choose this plugin."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    modifier, button = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton

    def choose(dialog):
        next(item for item in dialog.reader_btn_group.buttons() if item.text() == "MoECLIP-Med").click()
        dialog.accept()

    target = viewer.window._qt_viewer
    enter = QDragEnterEvent(QPoint(50, 50), Qt.DropAction.CopyAction, mime, button, modifier)
    QApplication.sendEvent(target, enter)
    assert enter.isAccepted()
    with when_shown(QtReaderDialog, choose):
        leave = QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, mime, button, modifier)
        QApplication.sendEvent(target, leave)


@pytest.mark.parametrize("name", ["folder", "zip.zip", "disc/DICOMDIR", "head.nii.gz"])
def test_a_dropped_study_opens_as_one_volume_with_its_geometry(make_napari_viewer, study, name, errors):
    viewer = make_napari_viewer()
    drop(viewer, study / name)
    (layer,) = viewer.layers
    assert not [record for record in errors if record.severity.value == "error"]
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    np.testing.assert_allclose(layer.scale, (4.0, 1.5, 2.0))
    assert layer.data.shape == (30, 48, 40)
    x, y, z = 10, 33, 12
    ras = make_affine() @ [x, y, z, 1]
    index = np.round(layer.world_to_data((-ras[2], -ras[1], -ras[0]))).astype(int)
    assert layer.data[tuple(index)] == 1000.0


def test_one_dropped_slice_opens_alone(make_napari_viewer, study, tmp_path):
    shutil.copy(study / "folder" / "slice-010.dcm", tmp_path / "IM000010")
    viewer = make_napari_viewer()
    drop(viewer, tmp_path / "IM000010")
    (layer,) = viewer.layers
    assert layer.data.squeeze().shape == (48, 40)


def test_a_dropped_picture_is_left_to_others(make_napari_viewer, tmp_path):
    from PIL import Image as Picture

    Picture.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "photo.png")
    viewer = make_napari_viewer()
    drop(viewer, tmp_path / "photo.png")
    (layer,) = viewer.layers
    assert layer.source.reader_plugin == "napari"
    assert origin_of(layer) is None


def test_tilted_slices_at_uneven_gaps_lie_where_their_headers_say(make_napari_viewer, tmp_path):
    affine = make_affine()
    affine[1, 2] = affine[2, 2] * np.tan(np.radians(18))
    write_dicom_series(tmp_path, make_head().astype(np.int16), affine, "SIMULATED head")
    headers = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    step = np.subtract(headers[1].ImagePositionPatient, headers[0].ImagePositionPatient)
    for header in headers[20:]:  # a gap in the middle
        header.ImagePositionPatient = [*np.add(header.ImagePositionPatient, 0.5 * step)]
        header.save_as(header.filename)
    (layer,) = make_napari_viewer().open(str(tmp_path), plugin="moeclip-med")
    origin = origin_of(layer)
    random = np.random.default_rng(2)
    for number, row, column in random.integers(0, (30, 48, 40), size=(20, 3)):
        header = headers[number]
        along_row, along_column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        between_rows, between_columns = (float(value) for value in header.PixelSpacing)
        lps = np.array(header.ImagePositionPatient, dtype=float)
        lps += column * between_columns * along_row + row * between_rows * along_column
        voxel = next(
            found
            for found in origin_voxels(layer, origin, header.pixel_array[row, column], row, column)
            if np.allclose(place_of(found, origin), lps, atol=0.1)
        )
        assert origin.volume.voxels[0][voxel] == header.pixel_array[row, column]


def origin_voxels(layer, origin, value, row, column):
    """Voxels of that row and column (in either direction) with that value, found as the mouse finds them."""
    for index in product(range(30), (row, 47 - row), (column, 39 - column)):
        if layer.data[index] == value:
            yield voxel_at(layer.data_to_world(index), layer, origin)


def place_of(voxel, origin):
    """What hover says, as numbers: mm, LPS+."""
    words = describe_place(voxel, origin).replace("mm ", "").split()
    signs = {"L": 1, "R": -1, "P": 1, "A": -1, "S": 1, "I": -1}
    return [float(number) * signs[letter] for number, letter in zip(words[::2], words[1::2], strict=True)]
