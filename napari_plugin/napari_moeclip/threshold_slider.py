"""The slider of the threshold: superqt's slider of fractions, and the keys that every slider has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from superqt import QDoubleSlider

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

_STEP = 0.01
_PAGE = 0.1
_MOVES = {
    Qt.Key.Key_Right: _STEP,
    Qt.Key.Key_Up: _STEP,
    Qt.Key.Key_Left: -_STEP,
    Qt.Key.Key_Down: -_STEP,
    Qt.Key.Key_PageUp: _PAGE,
    Qt.Key.Key_PageDown: -_PAGE,
    Qt.Key.Key_Home: -1.0,
    Qt.Key.Key_End: 1.0,
}


class ThresholdSlider(QDoubleSlider):
    """A slider from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.setRange(0.0, 1.0)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip("Scores from here on count as found (arrow keys: 0.01, page keys: 0.1)")

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move by the keys of a slider, which superqt leaves out."""
        move = _MOVES.get(Qt.Key(event.key()))
        if move is None:
            event.ignore()
            return
        self.setValue(min(1.0, max(0.0, self.value() + move)))
