"""The output of a batch, read study by study: image and run together, the next by key, decisions in the lists."""

import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import pytest
from napari_helpers import canvas_of, make_affine, make_head, press, read_rows, settled
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

sys.path.insert(0, str(Path(__file__).parents[1] / "batch"))

ENDS = 60_000


@pytest.fixture(scope="module")
def scored_archive(tmp_path_factory):
    """Two heads that a batch scored, with the detector of its own tests."""
    from batch_fakes import ExecutorWithoutProcesses, LoadFake, Recorder, settings

    from moeclip_med.batch import driver

    folder = tmp_path_factory.mktemp("archive")
    for number in (1, 2):
        (folder / "in" / str(number)).mkdir(parents=True)
        image = nib.Nifti1Image(make_head() + number, make_affine())
        nib.save(image, folder / "in" / str(number) / "head.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "make_executor", ExecutorWithoutProcesses)
        driver.run_batch(settings(folder / "in", folder / "out"), Recorder(), load=LoadFake())
    return folder


@pytest.fixture
def archive(scored_archive, tmp_path):
    shutil.copytree(scored_archive / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def reading(make_napari_viewer, shared, archive, qtbot):
    from napari_helpers import open_widget

    viewer = make_napari_viewer()
    widget = open_widget(viewer)
    widget.open_worklist(str(archive))
    shown(qtbot, widget, 0)
    return viewer, widget


def shown(qtbot, widget, place):
    """Wait until a study of the worklist is on screen."""

    def is_shown():
        work, session = widget.worklist, widget.controller.session
        if not widget.is_idle or work.place != place or session is None or session.outcome is None:
            return False
        return session.folder == work.folder / work.items[place].folder

    qtbot.waitUntil(is_shown, timeout=ENDS)


def decisions(path):
    return [row["decision"] for row in read_rows(path)]


def test_study_after_study_is_shown_on_its_image_and_decided_in_the_list(reading, archive, qtbot):
    viewer, widget = reading
    work = widget.worklist
    first = work.items[0]
    names = [layer.name for layer in viewer.layers]
    assert names[0] == first.series
    assert len(names) == 4, "image, map, findings and diameters"
    assert widget.results.table.findings
    assert widget.controller.session.measures[0].mean is not None, "measured on the image itself"
    canvas_of(viewer).setFocus()
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_A)
    settled(qtbot, widget)
    qtbot.waitUntil(lambda: "accepted" in decisions(archive / "triage.csv"), timeout=ENDS)
    assert decisions(archive / "triage.csv") == ["accepted", "open"]
    assert decisions(archive / "findings.csv").count("accepted") == 1
    qtbot.waitUntil(lambda: work.table.item(0, 3).text() == "✓ accepted", timeout=ENDS)
    assert work.title.text().endswith("1 of 2 decided")
    assert json.loads((archive / first.folder / "review.json").read_text())["entries"][0]["decision"] == "accepted"

    QTest.keyClick(work.table, Qt.Key.Key_N)  # where the focus is after a click on it
    shown(qtbot, widget, 1)
    assert viewer.layers[0].name == work.items[1].series
    assert len(viewer.layers) == 4, "nothing of the study before is left"
    assert widget.results.table.findings[0].review is None
    press(qtbot, work.previous)
    shown(qtbot, widget, 0)
    assert widget.results.table.findings[0].review.decision == "accepted", "it comes back"


def test_a_study_whose_image_is_gone_is_shown_by_its_map_and_says_so(reading, archive, qtbot, errors):
    viewer, widget = reading
    shutil.rmtree(archive / ".batch")
    press(qtbot, widget.worklist.next)
    shown(qtbot, widget, 1)
    assert any("open the image first" in record.message for record in errors)
    assert viewer.layers[0].name.endswith("(scores)")


def test_a_folder_that_is_no_batch_is_said(opened, qtbot, tmp_path, errors):
    _, widget = opened
    widget.open_worklist(str(tmp_path / "nothing"))
    qtbot.waitUntil(lambda: any("no output of a batch" in record.message for record in errors), timeout=ENDS)
    assert widget.is_idle
