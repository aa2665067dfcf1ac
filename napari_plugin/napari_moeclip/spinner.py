"""The spinner beside napari's activity button, slowed down while the processor is needed.

For each of its pictures Qt puts the whole window together again, which takes 0.4 cores where there is no graphics card.
"""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QLabel, QMainWindow

CALM_PERCENT, USUAL_PERCENT = 10, 100


def turn_spinners(percent: int) -> None:
    """Set the speed of the spinners of all napari windows, in per cent of the usual."""
    for window in QApplication.topLevelWidgets():
        labels = window.statusBar().findChildren(QLabel) if isinstance(window, QMainWindow) else []
        for movie in (label.movie() for label in labels):
            if movie is not None:
                movie.setSpeed(percent)
