"""Three planes of one volume: linked point, window and overlay."""

import numpy as np
import pytest
from napari_helpers import SHAPE, canvas_of, wait_for_run
from napari_moeclip.layers import origin_of
from napari_moeclip.planes import CURSOR_LAYER, cross_lines, other_orders
from qtpy.QtCore import QCoreApplication, QEvent, QPoint, Qt
from qtpy.QtTest import QTest

ENDS = 30_000


@pytest.fixture
def planes(opened, qtbot):
    viewer, widget = opened
    qtbot.mouseClick(widget.choices.planes, Qt.MouseButton.LeftButton)
    assert widget.planes is not None
    return viewer, widget, widget.planes


@pytest.mark.parametrize(
    ("order", "others"),
    [
        ((0, 1, 2), [(1, 0, 2), (2, 0, 1)]),
        ((2, 0, 1), [(0, 1, 2), (1, 0, 2)]),
        ((0, 2, 1, 3), [(0, 1, 2, 3), (0, 3, 1, 2)]),
        ((0, 1), []),
    ],
)
def test_the_other_planes_are_those_that_are_not_shown(order, others):
    assert other_orders(order) == others


def test_lines_cross_at_the_voxel():
    lines = cross_lines((4, 5, 6), (0, 1, 2), (10, 20, 30))
    np.testing.assert_array_equal(lines[1, 0], (4, 1, 6))
    np.testing.assert_array_equal(lines[1, 1], (0, 19, 0))


def test_all_three_planes_show_the_same_point(planes):
    viewer, _, linked = planes
    viewer.dims.set_current_step((0, 1, 2), (7, 30, 12))
    for model in linked.models:
        assert model.dims.current_step == (7, 30, 12)
    linked.models[0].dims.set_current_step(1, 9)
    assert viewer.dims.current_step == (7, 9, 12)
    assert linked.models[1].dims.current_step == (7, 9, 12)
    cursor = viewer.layers[CURSOR_LAYER]
    start = viewer.layers["head"].world_to_data(cursor.data_to_world(cursor.data[0, 0]))
    np.testing.assert_allclose(start, (0, 9, 12), atol=1e-6)
    assert len(set(cursor.scale)) == 1, "as wide in every plane, though voxels are 4 x 2 x 1.5 mm"
    assert viewer.dims.nsteps == SHAPE[::-1]
    viewer.dims.order = (1, 0, 2)
    assert [model.dims.order for model in linked.models] == [(0, 1, 2), (2, 0, 1)]
    texts = {model.canvas.overlays["moeclip_slice"].text.split()[0] for model in linked.models}
    assert texts == {"axial", "sagittal"}


@pytest.mark.usefixtures("screen")
def test_a_small_window_keeps_its_size_and_pictures_their_content(opened, qtbot):
    viewer, widget = opened
    viewer.window.resize(1066, 651)
    qtbot.waitUntil(lambda: widget.height() > 500)
    window = widget.window()
    (height, width), zoom = viewer.canvas.size, viewer.scene.camera.zoom
    qtbot.mouseClick(widget.choices.planes, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: viewer.canvas.size[0] < 0.7 * height)
    assert (window.width(), window.height()) == (1066, 651)
    rows, columns = np.ptp(viewer.layers.extent.world, axis=0)[list(viewer.dims.displayed)]
    shown = min(height / rows, width / columns)
    less = min(viewer.canvas.size[0] / rows, viewer.canvas.size[1] / columns)
    assert viewer.scene.camera.zoom == pytest.approx(zoom * less / shown, rel=0.01)
    for model, view in zip(widget.planes.models, widget.planes.views, strict=True):
        assert view.height() >= 120
        spans = np.ptp(model.layers.extent.world, axis=0)[list(model.dims.displayed)]
        assert (spans * model.scene.camera.zoom <= np.array(model.canvas.size) + 1).all(), "the whole plane is seen"


@pytest.mark.usefixtures("screen")
def test_a_click_in_one_plane_moves_all(planes, qtbot):
    viewer, _, linked = planes
    linked.fit()
    qtbot.wait(200)
    model, canvas = linked.models[0], linked.views[0].canvas.native
    before = viewer.dims.current_step
    place = QPoint(canvas.width() // 2 + 30, canvas.height() // 2 + 20)
    QTest.mouseMove(canvas, place)
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    after = viewer.dims.current_step
    assert after != before
    hidden = model.dims.not_displayed[0]
    assert after[hidden] == before[hidden]
    centre, zoom = np.asarray(model.scene.camera.center)[-2:], model.scene.camera.zoom
    clicked = centre + np.array([20, 30]) / zoom
    index = np.round(viewer.layers["head"].world_to_data(viewer.dims.point))
    there = np.asarray(viewer.layers["head"].data_to_world(index))[list(model.dims.displayed)]
    np.testing.assert_allclose(there, clicked, atol=2.0)


@pytest.mark.usefixtures("screen")
def test_a_click_in_the_picture_moves_the_other_planes_and_a_drag_does_not(planes, qtbot):
    viewer, _, linked = planes
    canvas = canvas_of(viewer)
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    before = viewer.dims.current_step
    QTest.mouseMove(canvas, middle)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    QTest.mouseMove(canvas, middle + QPoint(25, 25))
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(25, 25))
    assert viewer.dims.current_step == before
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(40, 10))
    assert viewer.dims.current_step != before
    assert linked.models[0].dims.current_step == viewer.dims.current_step


@pytest.mark.slow
def test_map_outlines_window_and_threshold_are_those_of_the_viewer(planes, qtbot):
    viewer, widget, linked = planes
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    names = [layer.name for layer in viewer.layers]
    for model in linked.models:
        assert [layer.name for layer in model.layers] == names
        assert np.shares_memory(model.layers["anomaly map · head"].data, viewer.layers["anomaly map · head"].data)
    viewer.layers["head"].contrast_limits = (100, 500)
    widget.results.threshold.setValue(0.9)
    viewer.layers["findings · head"].visible = False
    for model in linked.models:
        assert model.layers["head"].contrast_limits == [100, 500]
        assert model.layers["anomaly map · head"].contrast_limits[0] == pytest.approx(0.9)
        assert not model.layers["findings · head"].visible
        assert model.layers["findings · head"].contour == 1
        assert viewer.layers["findings · head"].contour == 2
    viewer.layers.remove("findings · head")
    assert all("findings · head" not in model.layers for model in linked.models)


@pytest.mark.slow
def test_putting_them_away_leaves_the_viewer_as_it_was(planes, qtbot):
    viewer, widget, _ = planes
    qtbot.mouseClick(widget.choices.planes, Qt.MouseButton.LeftButton)
    assert widget.planes is None
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # what an event loop does by itself
    assert [layer.name for layer in viewer.layers] == ["head"]
    assert viewer.mouse_drag_callbacks == [] or all(
        "_go_where_clicked" not in repr(callback) for callback in viewer.mouse_drag_callbacks
    )
    viewer.dims.set_current_step(0, 3)
    qtbot.mouseClick(widget.choices.planes, Qt.MouseButton.LeftButton)
    assert widget.planes is not None
    assert origin_of(widget.planes.models[0].layers["head"]).volume.light.shape == SHAPE


@pytest.mark.slow
def test_closing_their_dock_is_the_same_as_putting_them_away(planes, qtbot):
    viewer, widget, linked = planes
    viewer.window.remove_dock_widget(linked)
    linked.close()
    linked.deleteLater()
    qtbot.waitUntil(lambda: widget.planes is None, timeout=ENDS)
    assert not widget.choices.planes.isChecked()
    viewer.dims.set_current_step(0, 5)
