"""Every control of the widget, moved as a user moves it."""

import sys
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pydicom
import pytest
from napari_helpers import make_affine, make_head, open_widget, wait_for_run, when_shown
from napari_moeclip.export_dialog import ExportDialog
from napari_moeclip.findings_table import NOTHING_FOUND
from pydicom.data import get_testdata_file
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog
from superqt import QCollapsible

from moeclip_med.demo import write_dicom_series

ENDS = 30_000

pytestmark = pytest.mark.usefixtures("shared")


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def pick(qtbot, combo, text):
    """Pick an entry by typing its first letters."""
    qtbot.keyClicks(combo.native, text)
    assert combo.native.currentText().startswith(text)


def test_every_choice_reaches_the_scoring_process(opened, qtbot, monkeypatch):
    _, widget = opened
    asked = []
    ask = widget.controller.backend.ask
    monkeypatch.setattr(widget.controller.backend, "ask", lambda request: asked.append(request) or ask(request))
    choices = widget.choices
    pick(qtbot, choices.image_type, "other")
    pick(qtbot, choices.plane, "sagittal")
    pick(qtbot, choices.device, "processor")
    pick(qtbot, choices.model, "ViT-L")
    qtbot.waitUntil(lambda: choices.prompt.enabled, timeout=ENDS)
    qtbot.keyClicks(choices.prompt.native, "brain MRI")
    press(qtbot, choices.findChild(QCollapsible).toggleButton())
    for box in (choices.every_slice.native, choices.keep_experts.native):
        qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    load, score = asked[-2:]
    assert (load.model, load.device, load.prompt) == ("vit-l-14-336", "cpu", "brain MRI")
    assert (score.image_type, score.plane, score.load) == ("plain", "sagittal", load)
    assert score.every_slice
    assert score.routing is not None
    assert widget.controller.session.outcome.slices_needed == 40


def test_every_model_of_the_package_is_offered(opened):
    from moeclip_med.weights.registry import PACKAGED

    assert set(PACKAGED) <= set(opened[1].choices.model.choices)


def test_a_folder_can_be_the_model(opened, qtbot, monkeypatch, tmp_path):
    _, widget = opened
    model = widget.choices.model
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    model.native.setCurrentIndex(model.native.count() - 1)
    assert model.value == str(tmp_path)
    qtbot.waitUntil(lambda: str(tmp_path) in widget.choices.model_detail.text(), timeout=ENDS)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    model.value = "lite"
    model.native.setCurrentIndex(model.native.count() - 1)
    assert model.value == "lite"
    assert model.native.count() == 5


def test_windows_are_offered_for_ct_and_say_nothing_else(opened, qtbot, tmp_path):
    viewer, widget = opened
    assert widget.choices.windows.isHidden()
    viewer.layers.clear()
    assert "Drop" in widget.choices.image_detail.text()
    (layer,) = viewer.open(get_testdata_file("CT_small.dcm"), plugin="moeclip-med")
    assert not widget.choices.windows.isHidden()
    scored_with = widget.choices.image_type.value
    for kind, limits in (("ct-lung", (-1350, 150)), ("ct-soft-tissue", (-160, 240)), ("ct-brain", (0, 80))):
        press(qtbot, widget.choices.windows.buttons[kind])
        assert tuple(layer.contrast_limits) == limits
    assert widget.choices.image_type.value == scored_with
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    viewer.layers.selection.active = viewer.layers[0]
    viewer.mouse_over_canvas = True
    viewer.cursor.position = layer.data_to_world((0, 64, 64))
    viewer.update_status_from_cursor()
    value = round(float(layer.data[0, 64, 64]))
    assert f"{value} HU" in viewer.status["coordinates"]


def test_the_threshold_moves_by_key(scored, qtbot):
    _, widget = scored
    slider = widget.results.threshold
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == pytest.approx(0.81)
    qtbot.keyClick(slider, Qt.Key.Key_PageUp)
    assert slider.value() == pytest.approx(0.91)
    assert widget.results.exact.value() == pytest.approx(slider.value(), abs=1e-3)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(slider.value()), timeout=ENDS)


@pytest.mark.usefixtures("screen")
@pytest.mark.usefixtures("screen")
def test_no_cell_of_the_list_is_cut(scored, qtbot):
    viewer, widget = scored
    viewer.window.resize(1066, 651)
    table = widget.results.table
    measures = [replace(one, mean=-1024.25, sd=0.05) for one in widget.controller.session.measures]
    table.show_findings(table.findings, measures)
    qtbot.wait(50)
    assert table.model().index(0, 5).data() == "-1024.25±0.05"
    for column in range(table.model().columnCount()):
        assert table.isColumnHidden(column) or table.columnWidth(column) >= table.sizeHintForColumn(column)


def test_an_empty_list_says_what_that_means(scored, qtbot):
    _, widget = scored
    table = widget.results.table
    before = table.grab().toImage()
    table.show_findings(())
    assert table.grab().toImage() != before
    assert "no proof" in NOTHING_FOUND
    widget.results.show_findings(widget.controller.session.outcome)


def test_napari_s_own_3d_button_and_ours_agree(scored):
    viewer, widget = scored
    outlines = viewer.layers["findings · head"]
    viewer.dims.ndisplay = 3
    assert widget.results.three_d.isChecked()
    assert (outlines.contour, outlines.opacity) == (0, 0.35)
    assert viewer.layers["head"].rendering == "attenuated_mip"
    viewer.dims.ndisplay = 2
    assert not widget.results.three_d.isChecked()
    assert (outlines.contour, outlines.opacity) == (2, 1.0)


def test_dicom_results_of_a_dicom_study_are_saved_by_the_dialog(make_napari_viewer, shared, qtbot, tmp_path, errors):
    write_dicom_series(tmp_path / "study", make_head().astype(np.int16), make_affine(), "SIMULATED head")
    viewer = make_napari_viewer()
    viewer.open(str(tmp_path / "study"), plugin="moeclip-med")
    widget = open_widget(viewer)
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)

    def fill_in(dialog):
        dialog.folder.setText(str(tmp_path / "results"))
        for name in ("seg", "sr", "pm", "sc"):
            dialog.boxes[name].click()
        dialog.picture.click()
        qtbot.mouseClick(
            dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Save), Qt.MouseButton.LeftButton
        )

    with when_shown(ExportDialog, fill_in):
        press(qtbot, widget.results.save_button)
    qtbot.waitUntil(lambda: widget.runner.text.text().startswith("Saved") or bool(errors), timeout=ENDS)
    assert [record.message for record in errors if record.severity.value == "error"] == []
    kinds = {pydicom.dcmread(path, stop_before_pixels=True).Modality for path in (tmp_path / "results").rglob("*.dcm")}
    assert {"SEG", "SR"} <= kinds
    assert widget.runner.text.text() == f"Saved 9 results to {tmp_path / 'results'}."


@pytest.mark.slow
def test_the_viewer_s_process_never_loads_torch(tmp_path):
    """It would cost a second and half a gigabyte, and crash where Mesa draws (see conftest)."""
    script = Path(__file__).with_name("viewer_without_torch.py")
    import subprocess

    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "loaded: none"


def test_no_qt_binding_is_forced_on_anyone():
    needed = [line for line in requires("moeclip-med") if "extra ==" not in line]
    assert not [line for line in needed if line.lower().startswith(("pyqt", "pyside"))]


def test_what_was_opened_or_clicked_last_is_what_run_scores(opened, qtbot):
    viewer, widget = opened
    choices = widget.choices
    first = viewer.layers[0]
    (second,) = viewer.open(get_testdata_file("CT_small.dcm"), plugin="moeclip-med")
    assert choices.layer == second
    assert choices.image_type.value == "ct-soft-tissue"
    viewer.layers.selection.active = first
    assert choices.layer == first
    viewer.add_points(np.zeros((1, 3)))
    assert choices.layer == first, "no image: the choice stays"
    choices.image.value = second
    assert viewer.layers.selection.active == second
    choices.image.value = first
    pick(qtbot, choices.image_type, "other")
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    assert widget.controller.layers.image == first
    assert viewer.layers.selection.active.name.startswith("anomaly map")
    assert choices.layer == first
    assert choices.image_type.value == "plain", "layers of the run change nothing that was chosen by hand"
    viewer.layers.remove(first)
    assert choices.layer == second
    assert choices.image_type.value == "ct-soft-tissue"


def test_an_image_opened_while_another_is_scored_is_chosen_next(opened, qtbot):
    viewer, widget = opened
    first = viewer.layers[0]
    press(qtbot, widget.runner.run_button)
    (second,) = viewer.open(get_testdata_file("CT_small.dcm"), plugin="moeclip-med")
    wait_for_run(qtbot, widget)
    assert widget.controller.layers.image == first
    assert widget.choices.layer == second
