"""What the reader says of a run's findings: taken over, kept at once, undone; outlines corrected by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from moeclip_med.scoring.review import Review
from moeclip_med.scoring.review_file import write_review
from napari_moeclip.editing import OutlineEditor
from napari_moeclip.guard import Part, guarded
from napari_moeclip.session import autosave_folder

if TYPE_CHECKING:
    from napari import Viewer

    from moeclip_med.scoring.review import FindingReview
    from napari_moeclip.controller import Controller


class Reading(Part, QObject):
    """The reader's side of a controller.

    Signals:
        editing: An outline is being edited (True), or no longer.
        kept: The reader's decisions were written.
        placed: Where those of the run that is shown are kept; empty where there are none.

    Args:
        viewer: The viewer.
        controller: Whose run is read.
    """

    editing = Signal(bool)
    kept = Signal()
    placed = Signal(str)

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        QObject.__init__(self, controller)
        self._viewer = viewer
        self._controller: Controller = controller
        self.editor = OutlineEditor(viewer)
        viewer.layers.events.removed.connect(self._on_layer_removed)

    def disconnect_viewer(self) -> None:
        """Hear no more from the viewer, which outlives this."""
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)

    @guarded
    def say(self, said: FindingReview) -> None:
        """Take over what the reader says of a finding, and keep it at once."""
        session = self._controller.session
        if session is not None and session.outcome is not None:  # else the table shows the findings of the run before
            session.change(session.review.put(said))
            self._keep()

    @guarded
    def name_reader(self, name: str) -> None:
        """Take over the reader's name."""
        session = self._controller.session
        if session is not None and name != session.review.reader:
            session.change(replace(session.review, reader=name))
            self._keep()

    @guarded
    def undo(self) -> None:
        """Take the reader's last change back."""
        session = self._controller.session
        if session is not None and session.undo():
            self._keep()

    @guarded
    def edit(self, row: int) -> None:
        """Let the reader edit a copy of a finding's outline, or draw a new one where the row is -1."""
        session, layers = self._controller.session, self._controller.layers
        if session is None or layers.image is None or session.outcome is None or not layers.is_image_there:
            return
        finding = session.findings[row] if 0 <= row < len(session.findings) else None
        self.editor.begin(session, layers.image, finding)
        self.editing.emit(True)  # noqa: FBT003 - a signal has no keywords

    @guarded
    def end_editing(self, keep: bool) -> None:  # noqa: FBT001 - a signal has no keywords
        """Take the edited outline over, or discard it."""
        if keep:
            self.say(self.editor.outline())
        self.stop_editing()

    def stop_editing(self) -> None:
        """Take the layer that is edited away, if there is one."""
        if self.editor.is_active:
            self.editor.end()
            self.editing.emit(False)  # noqa: FBT003 - a signal has no keywords

    @guarded
    def _on_layer_removed(self, _: object = None) -> None:
        if self.editor.is_active and not self.editor.is_there:
            self.stop_editing()

    def tell_place(self) -> None:
        """Say where the decisions of the run that is shown are kept."""
        session = self._controller.session
        has_any = session is not None and session.folder is not None and session.review != Review()
        self.placed.emit(f"Kept in {session.folder}" if session is not None and has_any else "")

    def _keep(self) -> None:
        """Write what the reader says beside the run; a run that was not saved is kept first."""
        session = self._controller.session
        if session is None:
            return
        if session.folder is None:
            session.folder, session.is_autosaved = autosave_folder(session.record_id), True
            session.folder.mkdir(parents=True, exist_ok=True)
            self._controller.files.keep(session)
        write_review(session.review, session.record_id, session.folder)
        self.tell_place()
        self.kept.emit()
        self._controller.refinding.soon()
