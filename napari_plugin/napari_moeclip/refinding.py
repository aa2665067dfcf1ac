"""Findings anew: listed at another threshold or under another review, a moment after the last change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_moeclip import messages
from napari_moeclip.guard import Part, guarded

if TYPE_CHECKING:
    from napari_moeclip.answers import RunOutcome
    from napari_moeclip.controller import Controller
    from napari_moeclip.session import Session

_WAIT_MS = 80


class Refinding(Part, QObject):
    """Asks for the findings of the run that is shown; one request at a time.

    Args:
        controller: Whose run it is.
    """

    def __init__(self, controller: Controller) -> None:
        QObject.__init__(self, controller)
        self._controller: Controller = controller
        self._threshold = 0.5
        self._asked: tuple[object, ...] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._find)

    @property
    def is_settled(self) -> bool:
        """Whether the last change of threshold or review is in effect."""
        return not self._timer.isActive() and self._asked is None

    def begin(self, threshold: float) -> None:
        """Turn to another run; what was asked of the one before is out of date."""
        self._timer.stop()
        self._threshold = threshold
        self.forget()

    def forget(self) -> None:
        """Wait for no answer any more."""
        self._asked = None

    def move(self, threshold: float) -> None:
        """List the findings of another threshold soon."""
        self._threshold = threshold
        self.soon()

    def soon(self) -> None:
        """List the findings anew, a moment after the last change."""
        session = self._controller.session
        if session is not None and session.outcome is not None:
            self._timer.start(_WAIT_MS)

    @guarded
    def _find(self) -> None:
        session = self._controller.session
        if self._asked is not None or session is None or session.outcome is None:
            return
        self._asked = (session.run, self._threshold, session.review)
        request = messages.FindRequest(session.run, self._threshold, session.review)
        self._controller.ask(request, partial(self._show, session, self._asked), partial(self._fail_for, session))

    def _fail_for(self, session: Session, sentence: str) -> None:
        if session is self._controller.session:
            self.fail(sentence)

    def _show(self, session: Session, asked: tuple[object, ...], outcome: RunOutcome) -> None:
        controller = self._controller
        if session is not controller.session or session.outcome is None:
            return
        self._asked = None
        if asked[2] is not session.review:  # the reader said more meanwhile: what came is out of date
            self._find()
            return
        session.take(outcome)
        controller.layers.colour_outlines(None)
        controller.layers.refresh("findings")
        controller.comparing.refresh()
        controller.refound.emit(session.outcome)
        if asked != (session.run, self._threshold, session.review):
            self.soon()
