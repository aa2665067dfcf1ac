"""What napari is told about the plugin, and that its reader leaves other files alone."""

import sys
import time
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from napari_moeclip.reader import get_reader
from npe2 import PluginManager, PluginManifest
from PIL import Image as Picture
from pydicom.data import get_testdata_file
from qtpy.QtWidgets import QLabel


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("moeclip-med")


def test_manifest_is_valid_and_every_command_can_be_imported(manifest):
    manifest.validate_imports()
    assert manifest.name == "moeclip-med"
    titles = {widget.display_name for widget in manifest.contributions.widgets}
    assert titles == {"Find anomalies"}
    assert {sample.key for sample in manifest.contributions.sample_data} == {
        "simulated_brain",
        "simulated_endoscopy",
    }


@pytest.mark.parametrize("name", ["DICOMDIR", "IM000001", "I10", "1.2.840.113619.2.5.17", "a.nii.gz", "a.DCM", "a.zip"])
def test_napari_offers_medical_names_to_this_plugin(name, tmp_path, manifest):
    path = tmp_path / name
    path.touch()
    manager = PluginManager()
    manager.register(manifest)
    assert [reader.plugin_name for reader in manager.iter_compatible_readers(str(path))] == ["moeclip-med"]


@pytest.mark.parametrize("name", ["photo.png", "IM000001.png", "stack.tif", "table.csv", "scan.npy", "movie.mp4"])
def test_napari_never_asks_this_plugin_about_other_names(name, manifest):
    patterns = [pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns]
    assert not [pattern for pattern in patterns if fnmatch(name, pattern.lower())]


def test_reader_knows_dicom_by_content_and_leaves_the_rest(tmp_path):
    dicom = get_testdata_file("CT_small.dcm", read=False)
    bare = tmp_path / "IM1"
    bare.write_bytes(Path(dicom).read_bytes())
    text = tmp_path / "README"
    text.write_text("nothing")
    other = tmp_path / "docs.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "nothing")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK no")
    study = tmp_path / "study.zip"
    with zipfile.ZipFile(study, "w") as archive:
        archive.write(dicom, "series/IM1")
    Picture.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    assert get_reader(str(bare)) is not None
    assert get_reader(str(study)) is not None
    assert get_reader([str(bare), str(study)]) is not None
    for path in (text, other, damaged, tmp_path / "a.png", tmp_path / "missing"):
        assert get_reader(str(path)) is None
    assert get_reader([str(bare), str(text)]) is None
    assert get_reader([]) is None


@pytest.mark.timed
def test_reader_knows_a_study_folder_from_a_folder_of_pictures_without_walking_it(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(500):
        (pictures / f"{index}.png").touch()
    study = tmp_path / "study" / "series"
    study.mkdir(parents=True)
    (study / "IM1").write_bytes(Path(get_testdata_file("CT_small.dcm", read=False)).read_bytes())
    start = time.perf_counter()
    assert get_reader(str(pictures)) is None
    assert time.perf_counter() - start < 0.1
    assert get_reader(str(study.parent)) is not None


def test_the_qt_binding_takes_no_reference_to_none(qtbot):
    """Python before 3.12 counts references to None, and ends when a binding has given back too many."""
    label = QLabel()
    qtbot.addWidget(label)
    before = sys.getrefcount(None)
    for _ in range(2000):
        label.setToolTip("")
    assert sys.getrefcount(None) > before - 1000
