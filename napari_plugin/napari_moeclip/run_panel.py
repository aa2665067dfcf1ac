"""Run, Cancel and how far it is: the middle part of the widget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_moeclip.answers import Progress

_MINUTE = 60
_PAUSE_SECONDS = 1.0


class RunPanel(QWidget):
    """Two buttons and a progress bar.

    Signals:
        run: Run was pressed.
        cancel: Cancel was pressed.
    """

    run = Signal()
    cancel = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.run_button = QPushButton("Run")
        self.run_button.setObjectName("moeclip_run")
        self.run_button.setToolTip("Score the image (the slice on screen first)")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop: what was scored is kept")
        self.cancel_button.hide()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self._shown_at = 0.0
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, stretch=3)
        buttons.addWidget(self.cancel_button, stretch=1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 4)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)
        self.bar.hide()
        self.text.hide()
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self._on_cancel)

    def begin(self, note: str, *, can_cancel: bool = False) -> None:
        """Show that something is under way that does not say how far it is.

        Args:
            note: What it is.
            can_cancel: Whether Cancel has an effect.
        """
        self.run_button.setEnabled(False)
        self.cancel_button.setVisible(can_cancel)
        self.cancel_button.setEnabled(can_cancel)
        self.bar.setRange(0, 1)  # not 0 to 0: Qt would move it back and forth, and draw the whole window each time
        self.bar.setValue(0)
        self.bar.show()
        self.say(note)

    def show_progress(self, heard: Progress) -> None:
        """Show how far scoring is, once a second at most: each time the whole window is redrawn."""
        now = time.monotonic()
        if now - self._shown_at < _PAUSE_SECONDS and heard.done < heard.total:
            return
        self._shown_at = now
        self.bar.setRange(0, heard.total)
        self.bar.setValue(heard.done)
        left = (heard.total - heard.done) / max(heard.slices_per_second, 1e-6)
        self.say(
            f"{heard.done} of {heard.total} slices · {_speed(heard.slices_per_second)} slices/s · "
            f"{format_seconds(left)} left"
        )

    def end(self, note: str) -> None:
        """Show that nothing is under way any more, and what came of it."""
        self.run_button.setEnabled(True)
        self.cancel_button.hide()
        self.bar.hide()
        self.say(note)

    def say(self, note: str) -> None:
        """Show one line."""
        self.text.setText(note)
        self.text.setVisible(bool(note))

    def _on_cancel(self) -> None:
        self.cancel_button.setEnabled(False)
        self.say("Stopping …")
        self.cancel.emit()


def format_seconds(seconds: float) -> str:
    """Write a duration as a person would say it."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE)
    return f"{minutes} min {rest:02d} s" if minutes < _MINUTE else f"{minutes // _MINUTE} h {minutes % _MINUTE:02d} min"


def _speed(slices_per_second: float) -> str:
    return f"{slices_per_second:.1f}" if slices_per_second < 10 else f"{slices_per_second:.0f}"  # noqa: PLR2004
