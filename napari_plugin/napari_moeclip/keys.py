"""Tables that leave letters and signs to the viewer: Qt's own search their rows for what is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QTableView, QTableWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent


def _is_typed(event: QKeyEvent) -> bool:
    text = event.text()
    return bool(text.strip()) and text.isprintable()


class KeylessTableView(QTableView):
    """A table view, after a click on which the viewer's keys still act."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Ignore what is typed, so that it goes on to the viewer."""
        event.ignore() if _is_typed(event) else super().keyPressEvent(event)


class KeylessTableWidget(QTableWidget):
    """A table of items, after a click on which the viewer's keys still act."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Ignore what is typed, so that it goes on to the viewer."""
        event.ignore() if _is_typed(event) else super().keyPressEvent(event)
