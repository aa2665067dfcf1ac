"""What a reader says of findings: decisions, comments, corrected outlines; kept at once and written everywhere."""

import json

import nibabel as nib
import numpy as np
import pytest
from napari_helpers import (
    BLOB,
    canvas_of,
    make_affine,
    make_head,
    open_widget,
    press,
    read_rows,
    save,
    settled,
    wait_for_run,
    when_shown,
)
from napari_moeclip.export_dialog import ExportDialog
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from moeclip_med.demo import write_dicom_series

ENDS = 30_000
SECOND = (slice(25, 32), slice(10, 17), slice(20, 26))


@pytest.fixture
def reading(opened, qtbot):
    """A run with two findings, the first one chosen."""
    from napari_moeclip.layers import origin_of

    viewer, widget = opened
    origin_of(viewer.layers["head"]).volume.voxels[0][SECOND] = 1000
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    assert len(widget.results.table.findings) == 2
    return viewer, widget


def test_a_rejected_finding_leaves_outlines_and_totals_not_the_record(reading, qtbot, tmp_path):
    viewer, widget = reading
    review, table = widget.results.review, widget.results.table
    first = table.findings[0]
    press(qtbot, review.reject)
    settled(qtbot, widget)
    assert widget.results.headline.text().startswith("1 finding, ")
    assert widget.results.headline.text().endswith(", 1 rejected")
    assert [finding.label for finding in table.findings] == [1, 0]
    assert table.row == 1, "the rejected one is still chosen"
    assert review.reject.isChecked()
    assert viewer.layers["findings · head"].data.max() == 1
    save(qtbot, widget, tmp_path)
    document = json.loads((tmp_path / "findings.json").read_text())
    assert len(document["findings"]) == 1
    (rejected,) = document["rejected"]
    assert rejected["peak_voxel"] == list(first.peak_voxel)
    assert rejected["review"]["decision"] == "rejected"
    assert rejected["volume_ml"] == pytest.approx(first.volume_ml, abs=1e-3)
    rows = read_rows(tmp_path / "findings.csv")
    assert [row["decision"] for row in rows] == ["open", "rejected"]
    assert "rejected" in (tmp_path / "report.html").read_text()


def test_decisions_by_key_and_undo(reading, qtbot):
    viewer, widget = reading
    canvas_of(viewer).setFocus()
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_A)
    settled(qtbot, widget)
    assert widget.results.table.findings[0].review.decision == "accepted"
    assert widget.results.review.accept.isChecked()
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_R)
    settled(qtbot, widget)
    assert widget.results.table.findings[1].review.decision == "rejected"
    for _ in range(2):
        QTest.keyClick(canvas_of(viewer), Qt.Key.Key_U)
        settled(qtbot, widget)
    assert [finding.review for finding in widget.results.table.findings] == [None, None]
    assert not widget.results.review.accept.isChecked()


def test_keys_act_after_a_click_on_the_table(reading, qtbot):
    """Qt's tables keep letters, to search their rows for them."""
    viewer, widget = reading
    table = widget.results.table
    viewer.window._qt_window.activateWindow()
    table.selectRow(0)
    click_row(table, 1)
    for key, row in ((Qt.Key.Key_Comma, 0), (Qt.Key.Key_Period, 1)):
        QTest.keyClick(table, key)
        assert table.row == row
    QTest.keyClick(table, Qt.Key.Key_A)
    settled(qtbot, widget)
    assert table.findings[1].review.decision == "accepted"


def test_no_decision_on_a_run_that_has_no_findings_yet(reading, monkeypatch):
    """While another run is opened or scored, the table still shows the findings of the one before."""
    viewer, widget = reading
    session = widget.controller.session
    monkeypatch.setattr(session, "outcome", None)
    before = session.review
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_A)
    assert session.review == before


def click_row(table, row):
    place = table.visualRect(table.model().index(row, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert table.row == row


def test_what_is_being_typed_stays_when_findings_are_listed_anew(reading, qtbot):
    _, widget = reading
    review = widget.results.review
    for field in (review.site_text, review.comment):
        field.setFocus()
        qtbot.keyClicks(field, "bra")
        widget.results.show_findings(widget.controller.session.outcome)
        assert field.text() == "bra"
        qtbot.keyClick(field, Qt.Key.Key_Return)
    press(qtbot, review.undo)
    settled(qtbot, widget)
    assert (review.site_text.text(), review.comment.text()) == ("bra", "")


def test_the_layer_that_was_active_is_so_again_after_an_outline_was_edited(reading, qtbot):
    viewer, widget = reading
    active = viewer.layers.selection.active
    assert active.name == "anomaly map · head"
    press(qtbot, widget.results.review.edit_button)
    assert viewer.layers.selection.active != active
    press(qtbot, widget.results.review.discard_button)
    assert viewer.layers.selection.active == active


def test_every_decision_is_kept_at_once_and_comes_back_with_the_run(reading, qtbot, home, make_napari_viewer):
    _, widget = reading
    review = widget.results.review
    press(qtbot, review.accept)
    review.site.setFocus()
    review.site_text.clear()
    qtbot.keyClicks(review.site_text, "Brain")
    qtbot.keyClick(review.site_text, Qt.Key.Key_Return)
    qtbot.keyClicks(review.comment, "stable since spring")
    qtbot.keyClick(review.comment, Qt.Key.Key_Return)
    (folder,) = (home / "moeclip-med-results").iterdir()
    said = json.loads((folder / "review.json").read_text())
    assert said["entries"][0]["comment"] == "stable since spring", "written before the event loop goes on"
    assert said["entries"][0]["site"] == {"meaning": "Brain", "code": "12738006", "scheme": "SCT"}
    assert said["reader"] == ""
    assert str(folder) in review.kept.text()
    settled(qtbot, widget)
    qtbot.waitUntil(lambda: (folder / "run.json").is_file(), timeout=ENDS)
    findings = widget.results.table.findings

    other = make_napari_viewer()
    again = open_widget(other)
    again.controller.files.open_run(str(folder))
    wait_for_run(qtbot, again)
    said = [finding.review for finding in again.results.table.findings]
    assert said == [finding.review for finding in findings]
    assert said[0].decision == "accepted"
    assert again.results.review.site.currentText() == "Brain"
    assert again.results.review.comment.text() == "stable since spring"
    assert str(folder) in again.results.review.kept.text()


def test_saving_elsewhere_moves_what_was_kept(reading, qtbot, home, tmp_path):
    _, widget = reading
    press(qtbot, widget.results.review.accept)
    settled(qtbot, widget)
    (kept,) = (home / "moeclip-med-results").iterdir()
    qtbot.waitUntil(lambda: (kept / "run.json").is_file(), timeout=ENDS)
    save(qtbot, widget, tmp_path / "mine")
    assert not kept.exists()
    assert widget.results.review.kept.text() == f"Kept in {tmp_path / 'mine'}"
    press(qtbot, widget.results.review.reject)
    said = json.loads((tmp_path / "mine" / "review.json").read_text())
    assert said["entries"][0]["decision"] == "rejected"
    assert not kept.exists()


def test_the_findings_layer_cannot_be_painted_by_accident(reading):
    viewer, _ = reading
    layer = viewer.layers["findings · head"]
    assert not layer.editable
    layer.mode = "paint"
    assert layer.mode == "pan_zoom"


def test_an_edited_outline_is_measured_kept_and_written(reading, qtbot, tmp_path):
    viewer, widget = reading
    results, review = widget.results, widget.results.review
    before = results.table.findings[0]
    press(qtbot, review.edit_button)
    layer = viewer.layers[-1]
    assert layer.name == f"outline of finding {before.rank} · head"
    assert np.count_nonzero(layer.data) == before.voxel_count
    assert layer.mode == "paint"
    assert review.done_button.isVisibleTo(review)
    corner = np.argwhere(layer.data)[0]
    layer.brush_size = 1
    layer.paint(tuple(corner - [0, 0, 2]), 1)  # what the brush does under the mouse
    press(qtbot, review.done_button)
    settled(qtbot, widget)
    after = results.table.findings[0]
    assert layer not in viewer.layers
    assert after.voxel_count > before.voxel_count
    assert after.review.is_edited
    assert after.volume_ml > before.volume_ml
    assert results.table.model().index(0, 1).data() == "✎"
    widget.results.threshold.setValue(0.999)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.999), timeout=ENDS)
    assert after.voxel_count in {finding.voxel_count for finding in results.table.findings}
    save(qtbot, widget, tmp_path)
    rows = read_rows(tmp_path / "findings.csv")
    edited = [row for row in rows if row["is_edited"] == "true"]
    assert [int(row["voxel_count"]) for row in edited] == [after.voxel_count]
    assert "outline edited" in (tmp_path / "report.html").read_text()


def test_a_rejected_finding_can_be_corrected_and_is_accepted_then(reading, qtbot):
    viewer, widget = reading
    results, review = widget.results, widget.results.review
    before = results.table.findings[0]
    press(qtbot, review.reject)
    settled(qtbot, widget)
    assert results.table.findings[results.table.row].label == 0
    press(qtbot, review.edit_button)
    layer = viewer.layers[-1]
    assert np.count_nonzero(layer.data) == before.voxel_count, "as it was found"
    corner = np.argwhere(layer.data)[0]
    layer.brush_size = 1
    layer.paint(tuple(corner - [0, 0, 2]), 1)
    press(qtbot, review.done_button)
    settled(qtbot, widget)
    after = results.table.findings[results.table.row]
    assert (after.key, after.review.decision) == (before.key, "accepted")
    assert after.voxel_count > before.voxel_count
    assert viewer.layers["findings · head"].data.max() == 2


def test_edited_outlines_come_back_from_dicom_and_with_the_run(make_napari_viewer, shared, qtbot, tmp_path):
    import highdicom as hd

    write_dicom_series(tmp_path / "in", make_head().astype(np.int16), make_affine(), "SIMULATED head")
    viewer = make_napari_viewer()
    viewer.open(str(tmp_path / "in"), plugin="moeclip-med")
    widget = open_widget(viewer)
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    press(qtbot, widget.results.review.edit_button)
    layer = viewer.layers[-1]
    layer.data[:, :, : layer.data.shape[2] // 4] = 1
    press(qtbot, widget.results.review.done_button)
    settled(qtbot, widget)
    (edited,) = widget.results.table.findings
    label = widget.controller.session.labels == edited.label

    def choose(dialog):
        for name in ("seg", "sr", "rtstruct"):
            dialog.boxes[name].click()
        dialog.folder.setText(str(tmp_path / "out"))
        dialog.picture.click()
        dialog.segmentation.setCurrentIndex(dialog.segmentation.findData("labelmap"))
        dialog.site.setText("SCT:12738006:Brain")
        dialog.show_notes(("The notes of the header.",))
        assert dialog.notes.isVisible()
        dialog.accept()

    widget.runner.text.clear()
    with when_shown(ExportDialog, choose):
        press(qtbot, widget.results.save_button)
        qtbot.waitUntil(lambda: widget.runner.text.text().startswith("Saved"), timeout=ENDS)
    segmentation = hd.seg.segread(tmp_path / "out" / "segmentation.dcm")
    assert segmentation.SegmentationType == "LABELMAP"
    assert segmentation.SegmentSequence[-1].SegmentAlgorithmType == "SEMIAUTOMATIC"
    voxels = np.asarray(segmentation.get_volume().array)
    assert np.count_nonzero(voxels) == np.count_nonzero(label) == edited.voxel_count
    report = hd.sr.srread(tmp_path / "out" / "measurements.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    volumes = [item.value for item in group.get_measurements() if item.name.meaning == "Volume"]
    assert volumes == [pytest.approx(edited.volume_ml, abs=1e-3)]
    assert [site.value.meaning for site in group.finding_sites] == ["Brain"]
    assert "PredecessorDocumentsSequence" in report

    widget.controller.files.open_run(str(tmp_path / "out"))
    wait_for_run(qtbot, widget)
    (again,) = widget.results.table.findings
    assert again.review.is_edited
    assert (widget.controller.session.labels == again.label).sum() == edited.voxel_count


def test_discarding_leaves_the_outline_as_it_was(reading, qtbot):
    viewer, widget = reading
    before = widget.results.table.findings
    press(qtbot, widget.results.review.edit_button)
    viewer.layers[-1].data[:] = 1
    press(qtbot, widget.results.review.discard_button)
    assert widget.results.table.findings == before
    assert not widget.controller.reading.editor.is_active
    press(qtbot, widget.results.review.edit_button)
    viewer.layers.remove(viewer.layers[-1])
    assert not widget.controller.reading.editor.is_active
    assert widget.results.review.edit_button.isVisibleTo(widget.results.review)


def test_a_new_finding_can_be_drawn(reading, qtbot, tmp_path):
    viewer, widget = reading
    press(qtbot, widget.results.review.draw_button)
    layer = viewer.layers[-1]
    layer.data[2:5, 2:6, 2:7] = 1
    press(qtbot, widget.results.review.done_button)
    settled(qtbot, widget)
    drawn = widget.results.table.findings[2]
    assert drawn.review.is_drawn
    assert drawn.voxel_count == 3 * 4 * 5
    assert drawn.volume_ml == pytest.approx(3 * 4 * 5 * 2.0 * 1.5 * 4.0 / 1000)
    save(qtbot, widget, tmp_path)
    document = json.loads((tmp_path / "findings.json").read_text())
    assert [finding["review"] and finding["review"]["is_drawn"] for finding in document["findings"]] == [
        None,
        None,
        True,
    ]


def test_nothing_painted_is_told_and_painting_goes_on(reading, qtbot, errors):
    _, widget = reading
    press(qtbot, widget.results.review.draw_button)
    press(qtbot, widget.results.review.done_button)
    assert [record.message for record in errors if record.severity.value == "error"] == [
        "The outline is empty; paint at least one voxel, or reject the finding instead."
    ]
    assert widget.controller.reading.editor.is_active


def test_diameters_are_drawn_and_listed(reading):
    viewer, widget = reading
    table = widget.results.table
    lines = viewer.layers["diameters · head"].data
    longest = widget.controller.session.measures[table.row].longest
    assert len(lines) == 2
    scale = np.asarray(viewer.layers["head"].scale)
    assert np.linalg.norm(lines[0, 1] * scale) == pytest.approx(longest.mm, abs=1e-6)
    assert table.model().index(table.row, 4).data().startswith(f"{longest.mm:.0f}×")
    blob = [part.stop - part.start for part in BLOB]
    assert np.hypot(blob[0] * 2.0, blob[1] * 1.5) >= longest.mm >= blob[0] * 2.0


def test_a_run_opened_without_its_image_measures_no_intensities(reading, qtbot, tmp_path, make_napari_viewer):
    _, widget = reading
    save(qtbot, widget, tmp_path)
    viewer = make_napari_viewer()
    again = open_widget(viewer)
    again.controller.files.open_run(str(tmp_path))
    wait_for_run(qtbot, again)
    assert [measures.mean for measures in again.controller.session.measures] == [None, None]
    assert again.controller.session.measures[0].longest == widget.controller.session.measures[0].longest
    assert nib.load(tmp_path / "anomaly.nii.gz").shape == again.controller.session.scores.shape
