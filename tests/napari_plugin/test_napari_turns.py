"""Steps that take turns with the event loop, and layers that come without being selected."""

import numpy as np
import pytest
from napari_moeclip.turns import Turns
from qtpy.QtCore import QCoreApplication, QTimer
from qtpy.QtWidgets import QWidget


@pytest.fixture
def widget(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    yield QWidget(window)
    window.close()  # and is kept until now


def test_steps_come_in_order_with_the_event_loop_between_them(widget, qtbot):
    done = []
    turns = Turns(widget)

    def first():
        done.append("first")
        QTimer.singleShot(0, lambda: done.append("a person"))
        turns.add(lambda: done.append("third"))
        QCoreApplication.processEvents()  # as napari does: must not take the next step inside this one
        done.append("first ended")

    turns.add(first, lambda: done.append("second"))
    assert done == []
    qtbot.waitUntil(lambda: len(done) == 5)
    assert done == ["first", "a person", "first ended", "second", "third"]
    turns.add(lambda: done.append("later"))
    qtbot.waitUntil(lambda: done[-1] == "later")


class Canvas(QWidget):
    """Remembers what had been done whenever it was drawn."""

    def __init__(self, parent, done):
        super().__init__(parent)
        self.drawn = set()
        self._done = done

    def paintEvent(self, _):  # noqa: N802 - Qt's name
        self.drawn.add(tuple(self._done))


def test_the_user_is_heard_after_each_step_and_then_the_window_is_drawn(widget, qtbot):
    done, heard = [], []
    canvas, turns = Canvas(widget.window(), done), Turns(widget)
    widget.window().show()
    qtbot.waitUntil(lambda: canvas.drawn == {()})
    canvas.drawn.clear()

    def take(name):
        def act():
            done.append(name)
            canvas.update()
            QCoreApplication.processEvents()
            QTimer.singleShot(0, lambda: heard.append(set(canvas.drawn)))

        return act

    turns.add(take("first"), take("second"))
    qtbot.waitUntil(lambda: len(heard) == 2 and len(canvas.drawn) == 2)
    assert canvas.drawn == {("first",), ("first", "second")}
    assert heard == [set(), {("first",)}]


def test_a_widget_that_is_closed_between_steps_leaves_a_window_that_is_drawn(widget, qtbot):
    window, done = widget.window(), []
    turns = Turns(widget)
    turns.add(lambda: widget.deleteLater() or done.append("first"), lambda: done.append("second"))
    qtbot.waitUntil(lambda: done == ["first"])
    qtbot.waitUntil(window.updatesEnabled)
    qtbot.wait(50)
    assert done == ["first"]


def test_a_step_that_fails_does_not_keep_the_others_from_their_turn(widget, qtbot):
    done = []
    turns = Turns(widget)

    def fail():
        raise ValueError("made up")

    with qtbot.capture_exceptions() as caught:
        turns.add(fail, lambda: done.append("second"))
        qtbot.waitUntil(lambda: done == ["second"])
    assert [str(error) for _, error, _ in caught] == ["made up"]
    qtbot.waitUntil(widget.window().updatesEnabled)


@pytest.mark.usefixtures("screen")
def test_after_a_run_the_map_is_the_active_layer_and_the_list_says_so(scored):
    viewer, _ = scored
    overlay = viewer.layers["anomaly map · head"]
    assert viewer.layers.selection.active is overlay
    assert set(viewer.layers.selection) == {overlay}
    view = viewer.window._qt_viewer.layers
    names = [view.model().data(index) for index in view.selectionModel().selectedIndexes()]
    assert names == ["anomaly map · head"]
    controls = viewer.window._qt_viewer.controls
    assert controls.currentWidget() is controls.widgets[overlay]


def test_what_a_user_selected_stays_selected_while_outlines_are_added(scored):
    viewer, widget = scored
    image, overlay = viewer.layers["head"], viewer.layers["anomaly map · head"]
    for selected in ({image}, {image, overlay}, set()):
        viewer.layers.remove("findings · head")
        viewer.layers.selection.clear()
        viewer.layers.selection.update(selected)
        widget.controller.layers.add_outlines(widget.controller.session)
        widget.controller.layers.show_outlines()
        assert set(viewer.layers.selection) == selected
        assert viewer.layers["findings · head"].visible


def test_outlines_of_any_label_are_drawn_and_the_chosen_one_stands_out():
    from napari.layers import Labels
    from napari_moeclip.layers import outline_colormap

    layer = Labels(np.array([[0, 1, 40_000]], np.uint16), colormap=outline_colormap(40_000))
    np.testing.assert_allclose(layer.get_color(1), (1, 1, 1, 0.75))
    np.testing.assert_allclose(layer.get_color(40_000), (0, 1, 1, 1))
    assert layer.get_color(0) is None or layer.get_color(0)[3] == 0
