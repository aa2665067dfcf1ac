"""Runs as files: saved, kept unasked, and opened again, on their image if it is in the viewer."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject

from moeclip_med.scoring.review import Review
from moeclip_med.scoring.review_file import write_review
from napari_moeclip import answers, layers, messages
from napari_moeclip.guard import Part, guarded
from napari_moeclip.session import Session, remove_autosave

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from moeclip_med.results.formats import DicomOptions
    from napari_moeclip.controller import Controller

_AUTOSAVE_FORMATS = ("nifti", "run")


class RunFiles(Part, QObject):
    """Writes and opens runs for a controller.

    Args:
        viewer: The viewer.
        controller: What shows the runs.
    """

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        QObject.__init__(self, controller)
        self._viewer = viewer
        self._controller: Controller = controller

    @guarded
    def save(self, folder: str, formats: tuple[str, ...], options: DicomOptions) -> None:
        """Write results of the run that is shown, and what the reader says of it."""
        controller, session = self._controller, self._controller.session
        if session is None or session.outcome is None:
            raise InputError("There is no finished run to save; press Run first.")
        controller.busy.emit("Saving …", False)  # noqa: FBT003 - a signal has no keywords
        request = messages.ExportRequest(session.run, folder, formats, session.review, options)
        controller.ask(request, partial(self._saved, session, Path(folder)))

    def keep(self, session: Session) -> None:
        """Write what a run needs to be opened again, into its folder."""
        request = messages.ExportRequest(session.run, str(session.folder), _AUTOSAVE_FORMATS, session.review)
        self._controller.ask(request, lambda _: None)

    @guarded
    def open_run(self, folder: str) -> None:
        """Show a finished run from its folder."""
        if not self._controller.is_idle:
            show_error("A run is under way; open another when it has ended.")
            return
        self._controller.start_preparing("Opening the run …")
        run = uuid.uuid4().hex
        request = messages.OpenRunRequest(run, folder, layers.open_images(self._viewer))
        self._controller.ask(request, partial(self._opened, run, Path(folder)))

    def _opened(self, run: str, folder: Path, opened: answers.OpenedRun) -> None:
        controller, session = self._controller, Session.reopen(run, opened, folder)
        image = layers.image_on_same_grid(self._viewer, session.origin.volume.light)
        if image is not None and (scored := layers.origin_of(image)) is not None:
            session.origin = scored
        controller.in_steps(
            lambda: controller.begin(self._image_of(session, image, folder.name), session, opened.outcome.threshold),
            controller.layers.activate_map,
            lambda: controller.on_outcome(session, opened.outcome),
        )

    def _image_of(self, session: Session, image: Image | None, name: str) -> Image:
        if image is not None and image in self._viewer.layers:
            return image
        data, attributes, _ = layers.image_layer_data(session.origin.volume, f"{name} (scores)", "scores")
        return self._viewer.add_image(data, **(attributes | {"contrast_limits": (0.0, 1.0)}))

    def _saved(self, session: Session, folder: Path, saved: answers.Saved) -> None:
        if session.folder is not None and session.is_autosaved and session.folder != folder:
            remove_autosave(session.folder)
        session.folder, session.is_autosaved = folder, False
        if session.review != Review():
            write_review(session.review, session.record_id, folder)
        self._controller.reading.tell_place()
        notes = "".join(f"\n{note}" for note in saved.header_notes)
        self._controller.ended.emit(f"Saved {len(saved.formats)} results to {folder}.{notes}")
        show_info(f"{len(saved.formats)} results saved to {folder}.")
        for name, reason in saved.failed.items():
            show_error(f"{name} was not written: {reason}")
