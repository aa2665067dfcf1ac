"""The spinner beside napari's activity button, slowed down while the processor is needed.

For each of its pictures Qt puts the whole window together again, which takes 0.4 cores where there is no graphics card.
"""

from __future__ import annotations

from weakref import WeakSet

from qtpy.QtWidgets import QApplication, QLabel, QMainWindow

_CALM_PERCENT, _USUAL_PERCENT = 3, 100
_reasons: WeakSet[object] = WeakSet()
"""Weak: a panel that is closed in the middle of a run is no reason any more."""


def calm_spinners(reason: object) -> None:
    """Slow down the spinners of all napari windows until every reason has been let go."""
    _reasons.add(reason)
    _set_speed(_CALM_PERCENT)


def let_spinners_go(reason: object) -> None:
    """Give them back their usual speed, unless there is another reason."""
    _reasons.discard(reason)
    if not _reasons:
        _set_speed(_USUAL_PERCENT)


def _set_speed(percent: int) -> None:
    for window in QApplication.topLevelWidgets():
        labels = window.statusBar().findChildren(QLabel) if isinstance(window, QMainWindow) else []
        for movie in (label.movie() for label in labels):
            if movie is not None:
                movie.setSpeed(percent)
