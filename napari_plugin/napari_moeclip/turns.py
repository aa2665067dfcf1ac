"""Steps that change the window, each in a turn of the event loop of its own, so that the viewer never waits for all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable


class Turns(QObject):
    """Steps that wait for their turn; what the user does and what has to be drawn comes between them.

    Args:
        parent: What the steps belong to; they are dropped with it.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._take)

    def add(self, *steps: Callable[[], None]) -> None:
        """Let steps follow those that wait already."""
        self._steps.extend(steps)
        self._timer.start(0)

    def _take(self) -> None:
        step = self._steps.popleft()
        try:
            step()
        finally:
            if self._steps:  # only now: a step may let napari handle events, which must not take the next one
                self._timer.start(0)
