"""Small heads in any orientation, for the plugin's tests."""

import csv
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

FAKE_SERVER = str(Path(__file__).with_name("fake_scoring_server.py"))
SHAPE = (40, 48, 30)
BLOB = (slice(8, 16), slice(30, 40), slice(10, 18))
SPACING = (2.0, 1.5, 4.0)


def make_head():
    """A soft ellipsoid with a bright blob: what the fake detector finds."""
    x, y, z = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    head = np.where(x**2 + y**2 + z**2 < 0.9, 400.0, 0.0)
    head += np.where(head > 0, 60 * np.sin(9 * x) * np.cos(7 * y), 0)
    head[BLOB] = 1000.0
    return head.astype(np.float32)


def make_affine(oblique_degrees=0.0, axes=(0, 1, 2), signs=(1, 1, 1)):
    """An affine whose voxel axes are the patient's in any order and direction, perhaps rotated a little."""
    angle = np.radians(oblique_degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = np.eye(4)
    for voxel_axis, (world_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        column = np.zeros(3)
        column[world_axis] = sign * SPACING[voxel_axis]
        matrix[:3, voxel_axis] = turn @ column
    matrix[:3, 3] = (-37.0, 12.5, -61.0)
    return matrix


def canvas_of(viewer):
    """The widget that takes mouse and keys."""
    return viewer.window._qt_viewer.canvas.native


def open_widget(viewer):
    """Open the widget as the Plugins menu does: napari gives it a proxy of the viewer that has public parts only."""
    _, widget = viewer.window.add_plugin_dock_widget("moeclip-med", "Find anomalies")
    return widget


def wait_for_run(qtbot, widget):
    """Wait until a run has ended, and see that it ended well."""
    qtbot.waitUntil(lambda: widget.is_idle, timeout=150_000)
    assert widget.results.isVisibleTo(widget), "the run failed: see napari's notification"


def settled(qtbot, widget):
    """Wait until the scoring process has put the last change of the review or threshold into effect."""
    qtbot.waitUntil(lambda: widget.controller.refinding.is_settled, timeout=30_000)


def press(qtbot, button):
    """Press a button with the mouse."""
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def save(qtbot, widget, folder, formats=("nifti", "csv", "json", "report", "run")):
    """Save results, and wait until they are written."""
    widget.runner.text.clear()
    widget.save_to(str(folder), formats, with_picture=False)
    qtbot.waitUntil(lambda: widget.runner.text.text().startswith("Saved"), timeout=60_000)


def read_rows(path):
    """Read a CSV file as one dictionary a line."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextmanager
def when_shown(kind, act):
    """Do something with a dialog as soon as it is shown, as a user would.

    Args:
        kind: The dialog's class.
        act: Called with it once.
    """

    def look():
        dialog = next(
            (one for one in QApplication.topLevelWidgets() if isinstance(one, kind) and one.isVisible()), None
        )
        if dialog is not None:
            timer.stop()
            act(dialog)

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(10)
    try:
        yield
    finally:
        timer.stop()
