"""A prior beside the run: scored or read back, aligned, linked, matched; put away without a trace."""

import nibabel as nib
import numpy as np
import pytest
from napari_helpers import BLOB, SHAPE, make_affine, make_head, press, read_rows, save, settled, wait_for_run

ENDS = 60_000


@pytest.fixture
def prior_file(tmp_path):
    """The same head, moved by 12 mm, with a blob that is half as long along x."""
    head = make_head()
    _, y, z = BLOB
    head[12:16, y, z] = 400
    affine = make_affine()
    affine[:3, 3] += (9, -6, 5)
    path = tmp_path / "earlier.nii.gz"
    nib.save(nib.Nifti1Image(head, affine), path)
    return path


@pytest.fixture
def compared(opened, prior_file, qtbot):
    viewer, widget = opened
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    widget.results.comparison.study.emit(str(prior_file))
    qtbot.waitUntil(lambda: widget.controller.comparing.view is not None and widget.is_idle, timeout=ENDS)
    return viewer, widget


def test_a_prior_is_aligned_linked_matched_and_put_away(compared, qtbot, tmp_path):
    viewer, widget = compared
    comparison, comparing = widget.results.comparison, widget.controller.comparing
    fit = comparing.opened.fit
    assert comparison.aligned.isChecked()
    assert fit.shift_mm == pytest.approx(np.linalg.norm((9, -6, 5)), abs=1.5)
    assert fit.correlation > 0.9
    assert "aligned: moved" in comparing.view.header.text()
    assert "mutual information" in comparing.view.header.text()

    (change,) = widget.controller.session.outcome.changes
    assert (change.current, change.prior) == ((1,), (1,))
    assert 60 < change.growth_percent < 150
    table = widget.results.table
    assert not table.isColumnHidden(3)
    assert table.model().index(0, 3).data() == f"{change.growth_percent:+.0f}"
    assert "1 matched, 0 new, 0 gone" in comparison.summary.text()

    view = comparing.view
    point = list(viewer.dims.point)
    assert np.allclose(view.models[0].dims.point, point)
    viewer.dims.set_point(0, point[0] + 8)
    assert view.models[0].dims.point[0] == pytest.approx(viewer.dims.point[0])
    view.models[0].dims.set_point(0, point[0])
    assert viewer.dims.point[0] == pytest.approx(point[0], abs=2.1)
    viewer.scene.camera.zoom *= 1.7
    assert view.models[0].scene.camera.zoom == pytest.approx(viewer.scene.camera.zoom)
    assert view.models[0].dims.order == viewer.dims.order
    low, high = viewer.layers["head"].contrast_limits
    assert view.image.contrast_limits == pytest.approx([low, high], rel=0.1), "the same grey means the same"
    viewer.layers["head"].contrast_limits = (low, (low + high) / 2)
    assert view.image.contrast_limits[1] == pytest.approx((low + high) / 2, rel=0.1)
    head = viewer.layers["head"].data
    inner = tuple(slice(5, -5) for _ in range(3))
    aligned = np.corrcoef(head[inner].ravel(), view.image.data[inner].ravel())[0, 1]

    comparison.aligned.click()
    qtbot.waitUntil(lambda: not comparing.opened.fit.is_registered and widget.is_idle, timeout=ENDS)
    assert "by its own patient coordinates" in view.header.text()
    stored = np.corrcoef(head[inner].ravel(), view.image.data[inner].ravel())[0, 1]
    assert stored < aligned - 0.1

    save(qtbot, widget, tmp_path / "out")
    (row,) = read_rows(tmp_path / "out" / "comparison.csv")
    assert row["is_registered"] == "false"
    assert float(row["growth_ml"]) == pytest.approx(float(row["volume_ml"]) - float(row["prior_volume_ml"]), abs=1e-3)

    press(qtbot, comparison.close_button)
    qtbot.waitUntil(lambda: table.isColumnHidden(3), timeout=ENDS)
    assert comparing.view is None
    assert not comparison.aligned.isVisibleTo(widget)
    save(qtbot, widget, tmp_path / "out")
    assert not (tmp_path / "out" / "comparison.csv").exists()


def test_the_prior_follows_the_threshold_and_ends_with_the_run(compared, qtbot):
    _, widget = compared
    comparing = widget.controller.comparing
    assert comparing.view.labels.data.any()
    widget.results.threshold.setValue(1.0)
    settled(qtbot, widget)
    assert not comparing.view.labels.data.any()
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    assert comparing.view is None
    assert widget.results.table.isColumnHidden(3)


def test_a_finished_run_is_a_prior_on_its_image(scored, qtbot, tmp_path):
    viewer, widget = scored
    save(qtbot, widget, tmp_path / "earlier")
    before = len(viewer.layers)
    comparing = widget.controller.comparing
    widget.results.comparison.run.emit(str(tmp_path / "earlier"))
    qtbot.waitUntil(lambda: comparing.view is not None and widget.is_idle, timeout=ENDS)
    assert comparing.opened.can_align, "its image is open in the viewer"
    (change,) = widget.controller.session.outcome.changes
    assert change.growth_ml == pytest.approx(0, abs=1e-6)
    assert len(viewer.layers) == before, "the prior stands beside, not among the layers"
    shown = comparing.view.image.data
    assert shown.shape == viewer.layers["head"].data.shape == SHAPE[::-1]
    viewer.window.remove_dock_widget(comparing.view)  # as the cross of the dock does
    qtbot.waitUntil(lambda: comparing.view is None, timeout=ENDS)


def test_a_finished_run_without_its_image_lies_by_its_coordinates_and_says_so(scored, qtbot, tmp_path, errors):
    _, widget = scored
    save(qtbot, widget, tmp_path / "earlier")
    path = tmp_path / "earlier" / "anomaly.nii.gz"
    moved = nib.load(path)
    affine = moved.affine.copy()
    affine[:3, 3] += 4
    nib.save(nib.Nifti1Image(moved.get_fdata(dtype=np.float32), affine, moved.header), path)
    comparing = widget.controller.comparing
    widget.results.comparison.run.emit(str(tmp_path / "earlier"))
    qtbot.waitUntil(lambda: comparing.view is not None and widget.is_idle, timeout=ENDS)
    assert not comparing.opened.can_align
    assert not widget.results.comparison.aligned.isEnabled()
    assert "⚠ The prior's image is not open" in comparing.view.header.text()
    assert comparing.view.image.contrast_limits == [0, 1]


def test_what_is_no_prior_is_said(scored, qtbot, tmp_path, errors):
    _, widget = scored
    widget.results.comparison.run.emit(str(tmp_path))
    qtbot.waitUntil(lambda: any("not a finished run" in record.message for record in errors), timeout=ENDS)
    assert widget.is_idle
    assert widget.results.table.findings
