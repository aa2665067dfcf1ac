"""Ask the scoring process from where napari waits for an answer: readers and sample data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from moeclip_transforms.errors import InputError

from napari_moeclip.guard import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from moeclip_transforms import Series
    from qtpy.QtWidgets import QProgressDialog

    from napari_moeclip.tasks import Tasks

_SHOW_AFTER_MS = 2000
NO_LAYER: list[Any] = [(None,)]
"""What npe2 takes for "read, and there is no layer"."""


def or_say(make: Callable[[], list[Any]]) -> list[Any]:
    """Return what a function makes; in a viewer its errors become notifications, and there is no layer.

    Raises:
        InputError: Without a viewer.
    """
    if not _has_window():
        return make()
    from napari.utils.notifications import show_error

    try:
        return make()
    except InputError as error:
        show_error(str(error))
    except Exception as error:  # noqa: BLE001 - napari would show the error's own words
        show_error(internal_error(error))
    return NO_LAYER


class Asker:
    """Waits for answers: with a note on screen in a viewer, in this very process without one.

    Args:
        note: What to show while waiting.
    """

    def __init__(self, note: str) -> None:
        self._note = note
        self._dialog: QProgressDialog | None = None
        self._tasks: Tasks | None = None
        self._has_window = _has_window()

    def __enter__(self) -> Self:
        if self._has_window:
            self._dialog = _waiting_dialog(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._dialog is not None:
            self._dialog.close()
            self._dialog.deleteLater()
        if self._tasks is not None:
            self._tasks.close()

    def ask(self, request: object) -> Any:  # noqa: ANN401 - each request has its own answer
        """Send a request and wait for its answer.

        Raises:
            InputError: What there is to say against it.
        """
        if self._has_window:
            from napari_moeclip.backend import shared_backend

            return shared_backend().wait_for(request)
        from napari_moeclip.tasks import Tasks

        self._tasks = self._tasks or Tasks()
        return self._tasks.do(request, on_progress=lambda _: None, should_stop=lambda: False)

    def choose(self, series: Sequence[Series]) -> list[tuple[Series, int]]:
        """Let the user choose series and time points, where there is a choice and a user."""
        if not self._has_window:
            return [(one, 0) for one in series]
        from napari_moeclip.series_dialog import ask_for_series

        if self._dialog is not None:
            self._dialog.reset()
        return ask_for_series(series)


def _has_window() -> bool:
    """Whether there is a viewer to show things in."""
    try:
        from napari import current_viewer
        from qtpy.QtWidgets import QApplication
    except ImportError:
        return False
    return QApplication.instance() is not None and current_viewer() is not None


def _waiting_dialog(note: str) -> QProgressDialog:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QApplication, QProgressDialog

    dialog = QProgressDialog(note, "", 0, 0, QApplication.activeWindow())
    dialog.setWindowTitle("MoECLIP-Med")
    dialog.setCancelButton(None)
    dialog.setWindowModality(Qt.WindowModality.WindowModal)
    dialog.setMinimumDuration(_SHOW_AFTER_MS)
    dialog.setValue(0)
    return dialog
