"""Steps that change the window, each in a turn of the event loop of its own, so that the viewer never waits for all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget


class Turns(QObject):
    """Steps that wait for their turn: after each, the user is heard, then the window is drawn, then the next one comes.

    Args:
        widget: A widget of the window that the steps change; they are dropped with it.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._steps: deque[Callable[[], None]] = deque()
        self._is_under_way = False
        self._timer = _timer(self, self._take)

    def add(self, *steps: Callable[[], None]) -> None:
        """Let steps follow those that wait already."""
        self._steps.extend(steps)
        if not self._is_under_way:
            self._go_on()

    def _go_on(self) -> None:
        self._is_under_way = bool(self._steps)
        if self._steps:
            self._timer.start(0)

    def _take(self) -> None:
        step, window = self._steps.popleft(), self._widget.window()
        # The window's own timer: were this widget closed now, the window would never be drawn again.
        draw = _timer(window, lambda: window.setUpdatesEnabled(True))
        draw.timeout.connect(draw.deleteLater)
        draw.timeout.connect(self._go_on)
        window.setUpdatesEnabled(False)
        try:
            step()
        finally:
            draw.start(0)


def _timer(owner: QObject, act: Callable[[], None]) -> QTimer:
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.timeout.connect(act)
    return timer
