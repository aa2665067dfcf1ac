"""What a user does with a result: threshold, findings, hover, experts, 3-D, windows, saving, opening again."""

import json

import nibabel as nib
import numpy as np
import pytest
from napari_helpers import BLOB, SHAPE, canvas_of, wait_for_run
from napari_moeclip.export_dialog import ExportDialog, save_picture
from napari_moeclip.layers import origin_of
from PIL import Image as Picture
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

ENDS = 30_000


def point_on_canvas(viewer, world):
    """Where a world point of the displayed plane is on the canvas, in pixels."""
    canvas = canvas_of(viewer)
    centre = np.asarray(viewer.scene.camera.center)[-2:]
    row, column = (np.asarray(world)[list(viewer.dims.displayed)] - centre) * viewer.scene.camera.zoom
    return QPoint(round(canvas.width() / 2 + column), round(canvas.height() / 2 + row))


def test_threshold_moves_map_and_findings_at_once_without_scoring(scored, qtbot):
    viewer, widget = scored
    overlay = viewer.layers["anomaly map · head"]
    before = widget.controller.session.scores.copy()
    slider = widget.results.threshold
    slider.setValue(0.0)
    assert overlay.contrast_limits[0] == 0
    qtbot.waitUntil(lambda: widget.controller.session.labels[0, 0, 0] == 1, timeout=ENDS)
    slider.setValue(0.999)
    assert overlay.contrast_limits[0] == pytest.approx(0.999)
    qtbot.waitUntil(
        lambda: widget.results.threshold.value() == 0.999 and widget.controller.refinding.is_settled, timeout=ENDS
    )
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.999), timeout=ENDS)
    widget.results.exact.setValue(0.01)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.01), timeout=ENDS)
    assert widget.results.table.findings[0].voxel_count > np.prod([part.stop - part.start for part in BLOB])
    widget.results.reset.click()
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.8), timeout=ENDS)
    assert len(widget.results.table.findings) == 1
    assert "set by the user" not in widget.results.notes.text(), "it is the model's own again"
    np.testing.assert_array_equal(widget.controller.session.scores, before)


def test_map_is_transparent_below_the_threshold(scored):
    viewer, _ = scored
    colormap = viewer.layers["anomaly map · head"].colormap
    low, high = viewer.layers["anomaly map · head"].contrast_limits
    assert low == pytest.approx(0.8)
    below, above = colormap.map([(0.79 - low) / (high - low), (0.95 - low) / (high - low)])
    assert below[3] == 0
    assert above[3] == 1
    from skimage.color import rgb2lab

    lightness = rgb2lab(colormap.map(np.linspace(0.01, 1, 50))[None, :, :3])[0, :, 0]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.usefixtures("screen")
def test_a_click_on_a_finding_moves_all_planes_and_outlines_it(scored, qtbot):
    viewer, widget = scored
    viewer.dims.set_point(range(3), (0.0, 0.0, 0.0))
    table = widget.results.table
    table.clearSelection()
    table.setCurrentIndex(table.model().index(-1, -1))
    qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(table.model().index(0, 2)).center()
    )
    (finding,) = table.findings
    image = viewer.layers["head"]
    origin = origin_of(image)
    expected = image.data_to_world(origin.placement.to_index(widget.controller.session.voxel_to_show(0), SHAPE))
    np.testing.assert_allclose(viewer.dims.point, expected, atol=1.5)
    outlines = viewer.layers["findings · head"]
    np.testing.assert_allclose(outlines.colormap.map(finding.label), (0, 1, 1, 1))
    assert outlines.contour == 2


@pytest.mark.usefixtures("screen")
def test_keys_walk_through_the_findings(scored, qtbot):
    viewer, widget = scored
    image = viewer.layers["head"]
    origin_of(image).volume.voxels[0, 25:32, 10:17, 20:26] = 1000
    widget.runner.run_button.click()
    qtbot.waitUntil(lambda: widget.is_idle and len(widget.results.table.findings) == 2, timeout=ENDS)
    table = widget.results.table
    assert table.currentIndex().row() == 0
    canvas_of(viewer).setFocus()
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_Period)
    assert table.currentIndex().row() == 1
    second = viewer.dims.point
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_Period)
    assert table.currentIndex().row() == 0
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_Comma)
    assert table.currentIndex().row() == 1
    assert viewer.dims.point == second


@pytest.mark.usefixtures("screen")
def test_hover_says_score_finding_and_place_in_the_patient(scored, qtbot):
    viewer, widget = scored
    (finding,) = widget.results.table.findings
    image = viewer.layers["head"]
    world = image.data_to_world(origin_of(image).placement.to_index(finding.peak_voxel, SHAPE))
    viewer.dims.set_point(range(3), world)
    viewer.reset_view()
    canvas = canvas_of(viewer)
    target = point_on_canvas(viewer, world)

    def mouse_arrived():
        QTest.mouseMove(canvas, target + QPoint(1, 1))
        QTest.mouseMove(canvas, target)
        return bool(np.abs(np.asarray(viewer.cursor.position) - world).max() < 3)

    qtbot.waitUntil(mouse_arrived, timeout=ENDS)
    for layer in list(viewer.layers)[:3]:
        viewer.layers.selection.active = layer
        viewer.update_status_from_cursor()
        text = viewer.status["coordinates"]
        assert text.startswith(("score 1.000, finding 1 · ", "score 0.")), text
        ras = nib.load(image.source.path).affine @ [*finding.peak_voxel, 1]
        assert f"mm {'L' if ras[0] < 0 else 'R'} " in text
        numbers = [float(part) for part in text.split(" · ")[1].split() if part.replace(".", "").isdigit()]
        np.testing.assert_allclose(numbers, np.abs(ras[:3]), atol=3.0)


def test_experts_are_a_labels_layer_with_names_and_shares(scored):
    viewer, widget = scored
    levels = widget.results.levels
    assert levels.count() == 3
    levels.setCurrentIndex(1)
    levels.activated.emit(1)
    layer = viewer.layers["experts, level 1 · head"]
    names = list(layer.features["expert"])
    assert names[0] == "not seen"
    assert [name.split(" (")[0] for name in names[1:]] == ["expert 1", "expert 2", "expert 3", "expert 4"]
    shares = widget.controller.session.outcome.expert_shares[0]
    assert sum(shares) == pytest.approx(1)
    assert shares[3] == 0
    assert names[4] == "expert 4 (0%)"
    assert layer.data.max() == 3
    counts = np.bincount(layer.data.ravel(), minlength=5)[1:]
    np.testing.assert_allclose(shares, counts / counts.sum())
    assert f"({shares[0]:.0%})" in widget.results.experts.text()
    levels.activated.emit(0)
    assert "experts, level 1 · head" not in viewer.layers


def test_experts_that_were_not_kept_are_greyed_with_the_reason(opened, qtbot):
    _, widget = opened
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    assert not widget.results.levels.isEnabled()
    assert "under More options" in widget.results.levels.toolTip()


def test_what_to_look_for_is_greyed_with_the_reason_without_a_text_tower(opened, qtbot):
    _, widget = opened
    assert widget.choices.model.value == "lite"
    assert not widget.choices.prompt.enabled
    assert "no text tower" in widget.choices.prompt.native.placeholderText()
    assert "learned prompts" in widget.choices.prompt.tooltip
    widget.choices.model.value = "vit-l-14-336"
    qtbot.waitUntil(lambda: widget.choices.prompt.enabled, timeout=ENDS)
    widget.choices.prompt.value = "brain MRI"
    assert widget.choices.choices().load.prompt == "brain MRI"
    assert "vit-l-14-336" in widget.choices.model_detail.text()


@pytest.mark.usefixtures("screen")
def test_three_d_in_one_click_and_back(scored, qtbot):
    viewer, widget = scored
    viewer.dims.set_current_step(0, 5)
    viewer.scene.camera.zoom *= 2
    read = viewer.dims.current_step, viewer.scene.camera.zoom
    qtbot.mouseClick(widget.results.three_d, Qt.MouseButton.LeftButton)
    assert viewer.dims.ndisplay == 3
    picture = viewer.screenshot(canvas_only=True, flash=False)
    assert len(np.unique(picture[..., 0])) > 20
    qtbot.mouseClick(widget.results.three_d, Qt.MouseButton.LeftButton)
    assert viewer.dims.ndisplay == 2
    assert viewer.layers["findings · head"].contour == 2
    assert (viewer.dims.current_step, viewer.scene.camera.zoom) == read, "the slice that was read, as it was"


@pytest.mark.usefixtures("screen")
def test_the_overlay_is_where_the_lesion_is_on_screen(scored):
    viewer, _ = scored
    viewer.layers["findings · head"].visible = False
    with_map = viewer.screenshot(canvas_only=True, flash=False).astype(int)
    viewer.layers["anomaly map · head"].visible = False
    without = viewer.screenshot(canvas_only=True, flash=False).astype(int)
    changed = np.abs(with_map - without).sum(axis=-1) > 60
    rows, columns = np.nonzero(changed)
    image = viewer.layers["head"]
    placement = origin_of(image).placement
    corners = [
        point_on_canvas(viewer, image.data_to_world(placement.to_index(corner, SHAPE)))
        for corner in ([part.start for part in BLOB], [part.stop - 1 for part in BLOB])
    ]
    scale = with_map.shape[1] / canvas_of(viewer).width()
    slack = 2 * viewer.scene.camera.zoom * max(placement.scale[1:])
    xs = sorted(corner.x() * scale for corner in corners)
    ys = sorted(corner.y() * scale for corner in corners)
    assert abs(columns.min() - xs[0]) < slack
    assert abs(columns.max() - xs[1]) < slack
    assert abs(rows.min() - ys[0]) < slack
    assert abs(rows.max() - ys[1]) < slack
    assert (with_map[changed][:, 0] > with_map[changed][:, 2]).mean() > 0.9  # warm colours over grey


def test_results_are_saved_and_open_again(scored, qtbot, tmp_path, errors):
    viewer, widget = scored
    folder = tmp_path / "results"
    widget.results.threshold.setValue(0.7)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.7), timeout=ENDS)
    widget.save_to(str(folder), ("nifti", "csv", "json", "report", "run"), with_picture=True)
    qtbot.waitUntil(lambda: (folder / "report.html").is_file(), timeout=ENDS)
    assert {path.name for path in folder.iterdir()} == {
        "anomaly.nii.gz",
        "findings.csv",
        "findings.json",
        "report.html",
        "run.json",
        "viewer.png",
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"]["threshold"] == pytest.approx(0.7)
    assert record["settings"]["threshold_source"] == "set by the user"
    saved = nib.load(folder / "anomaly.nii.gz")
    np.testing.assert_allclose(saved.get_fdata(), widget.controller.session.scores, atol=1e-6)
    findings = widget.results.table.findings

    widget.controller.files.open_run(str(folder))
    assert not widget.is_idle
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert not [record for record in errors if record.severity.value == "error"]
    assert [layer.name.split(" · ")[0] for layer in viewer.layers] == ["head", "anomaly map", "findings", "diameters"]
    assert widget.results.table.findings == findings
    viewer.layers.clear()
    widget.controller.files.open_run(str(folder))
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert viewer.layers[0].name == "results (scores)"
    assert viewer.layers.selection.active is viewer.layers["anomaly map · results (scores)"]
    assert widget.results.table.findings == findings
    widget.results.threshold.setValue(0.9)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.9), timeout=ENDS)
    assert not [record for record in errors if record.severity.value == "error"]


@pytest.mark.usefixtures("screen")
def test_the_picture_has_a_scale_bar_and_the_research_line(scored, tmp_path):
    viewer, _ = scored
    plain = viewer.screenshot(canvas_only=True, flash=False)
    save_picture(viewer, tmp_path / "a.png")
    with Picture.open(tmp_path / "a.png") as picture:
        saved = np.asarray(picture)
    assert saved.shape == plain.shape
    bottom = slice(int(0.9 * len(saved)), None)
    left, right = np.array_split(saved[bottom, :, 0].astype(int) - plain[bottom, :, 0], 2, axis=1)
    assert np.count_nonzero(left) > 100
    assert np.count_nonzero(right) > 20
    assert not viewer.canvas.overlays.scale_bar.visible
    assert "moeclip_notice" not in viewer.canvas.overlays


def test_dicom_results_are_offered_for_dicom_only(qtbot):
    dialog = ExportDialog(has_dicom_source=False)
    qtbot.addWidget(dialog)
    assert not dialog.boxes["seg"].isEnabled()
    assert "not DICOM" in dialog.boxes["seg"].toolTip()
    assert set(dialog.formats()) == {"nifti", "csv", "json", "report", "run"}
    dialog = ExportDialog(has_dicom_source=True)
    qtbot.addWidget(dialog)
    dialog.boxes["seg"].click()
    assert "seg" in dialog.formats()
