"""Two viewers share one scoring process: nothing of one ever reaches the other."""

import json

import nibabel as nib
import numpy as np
import pytest
from napari_helpers import canvas_of, make_affine, make_head, open_widget, wait_for_run
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtTest import QTest

ENDS = 30_000
FORMATS = ("nifti", "csv", "json", "run")
SECOND_BLOB = (slice(24, 34), slice(10, 20), slice(12, 20))

pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture
def two(make_napari_viewer, head_file, tmp_path):
    """Two viewers with a head each: the second one's blob lies elsewhere."""
    other = make_head()
    other[other == 1000] = 400
    other[SECOND_BLOB] = 1000
    nib.save(nib.Nifti1Image(other, make_affine()), tmp_path / "other.nii.gz")
    pairs = []
    for path in (head_file, tmp_path / "other.nii.gz"):
        viewer = make_napari_viewer()
        viewer.open(str(path), plugin="moeclip-med")
        pairs.append((viewer, open_widget(viewer)))
    return pairs


def run_both(two, qtbot, model="lite"):
    for _, widget in two:
        if model != "lite":
            widget.choices.model.choices = [(model, model)]
        qtbot.mouseClick(widget.runner.run_button, Qt.MouseButton.LeftButton)
    for _, widget in two:
        wait_for_run(qtbot, widget)


def saved(widget, folder, qtbot):
    widget.save_to(str(folder), FORMATS, with_picture=False)
    qtbot.waitUntil(lambda: widget.runner.text.text().startswith("Saved"), timeout=ENDS)
    return nib.load(folder / "anomaly.nii.gz").get_fdata(), json.loads((folder / "run.json").read_text())


def test_each_viewer_saves_its_own_map_and_findings(two, qtbot, tmp_path):
    run_both(two, qtbot, "slow")
    records = []
    for number, (_, widget) in enumerate(two):
        scores, record = saved(widget, tmp_path / str(number), qtbot)
        np.testing.assert_allclose(scores, widget.controller.session.scores, atol=1e-6)
        records.append(record)
    (first, _), (second, _) = (
        json.loads((tmp_path / str(n) / "findings.json").read_text())["findings"] + [None] for n in (0, 1)
    )
    assert first["peak_voxel"] != second["peak_voxel"]
    assert SECOND_BLOB[0].start <= second["peak_voxel"][0] < SECOND_BLOB[0].stop
    assert records[0]["run_id"] != records[1]["run_id"]
    assert [record["run_id"] for record in records] == [widget.controller.session.run for _, widget in two]


def test_a_threshold_moves_the_findings_of_its_own_viewer(two, qtbot):
    run_both(two, qtbot)
    (_, first), (_, second) = two
    before = second.results.table.findings
    first.results.threshold.setValue(0.01)
    qtbot.waitUntil(lambda: first.controller.session.outcome.threshold == pytest.approx(0.01), timeout=ENDS)
    assert second.results.table.findings == before
    assert second.controller.session.labels.max() == 1
    assert first.results.table.findings[0].voxel_count > before[0].voxel_count


def test_closing_one_viewer_in_a_run_leaves_the_other_in_order(two, qtbot, tmp_path):
    (viewer, first), (_, second) = two
    for widget in (first, second):
        widget.choices.model.choices = [("slow", "slow")]
        widget.runner.run_button.click()
    heard = []
    first.controller.progressed.connect(heard.append)
    qtbot.waitUntil(lambda: bool(heard), timeout=ENDS)
    viewer.close()
    wait_for_run(qtbot, second)
    scores, _ = saved(second, tmp_path / "second", qtbot)
    assert scores[SECOND_BLOB].min() > 0.8


def test_a_new_run_is_not_disturbed_by_findings_that_were_asked_for_before(opened, qtbot):
    _, widget = opened
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    widget.results.threshold.setValue(0.01)
    widget.choices.model.choices = [("slow", "slow")]
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    outcome = widget.controller.session.outcome
    assert outcome.run == widget.controller.session.run
    assert outcome.threshold == pytest.approx(0.8)
    assert widget.results.threshold.value() == pytest.approx(0.8)


def test_closing_the_widget_alone_leaves_the_viewer_in_order(opened, qtbot):
    viewer, widget = opened
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    qtbot.mouseClick(widget.choices.planes, Qt.MouseButton.LeftButton)
    assert "Planes" in viewer.window.dock_widgets
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert "Planes" not in viewer.window.dock_widgets
    viewer.dims.set_current_step(0, 4)
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_Period)
    viewer.layers.clear()
    again = open_widget(viewer)
    assert again is not widget


def test_the_scoring_process_keeps_no_run_that_nobody_shows(two, qtbot, shared):
    from moeclip_transforms.errors import InputError
    from napari_moeclip import messages

    from moeclip_med.scoring.review import Review

    run_both(two, qtbot)
    (_, first), (_, second) = two
    old = first.controller.session.run
    first.runner.run_button.click()
    wait_for_run(qtbot, first)
    with pytest.raises(InputError, match="run"):
        shared.wait_for(messages.FindRequest(old, 0.5, Review()))
    kept = second.controller.session.run
    assert shared.wait_for(messages.FindRequest(kept, 0.8, Review())).run == kept
