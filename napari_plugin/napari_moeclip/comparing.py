"""An earlier study or finished run beside the current one: chosen, aligned, shown, put away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from qtpy.QtCore import QObject, Signal

from napari_moeclip import answers, layers, messages
from napari_moeclip.guard import Part, guarded
from napari_moeclip.prior_view import PriorView, describe_prior
from napari_moeclip.reader import layer_name, series_to_open
from napari_moeclip.series_dialog import ask_for_series
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import unstore

if TYPE_CHECKING:
    from napari import Viewer

    from napari_moeclip.controller import Controller
    from napari_moeclip.session import Session


class Comparing(Part, QObject):
    """The prior of a controller's run.

    Signals:
        changed: A prior came, moved or went: its facts, or None.

    Args:
        viewer: The viewer.
        controller: Whose run is compared.
    """

    changed = Signal(object)

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        QObject.__init__(self, controller)
        self._viewer = viewer
        self._controller: Controller = controller
        self.name = ""
        self.opened: answers.OpenedPrior | None = None
        self.view: PriorView | None = None

    @guarded
    def open_study(self, path: str) -> None:
        """Score an earlier study, and lay it beside the run."""
        self._check_idle()
        self._controller.ask_aside("Reading the prior …", messages.ScanRequest(path), partial(self._on_scan, path))

    @guarded
    def open_run(self, folder: str) -> None:
        """Lay a finished run beside the run."""
        self._check_idle()
        self._compare(folder, "", 0, Path(folder).name)

    @guarded
    def align(self, on: bool) -> None:  # noqa: FBT001 - a signal has no keywords
        """Register the prior with the image, or let it lie by its own patient coordinates."""
        session = self._controller.session
        if session is not None and self.opened is not None and on != self.opened.fit.is_registered:
            self._controller.ask_aside(
                "Aligning the prior …", messages.AlignRequest(session.run, on), partial(self._moved, session)
            )

    @guarded
    def drop(self) -> None:
        """Put the prior away."""
        session = self._controller.session
        if self.opened is not None and session is not None:
            self._controller.ask_aside("", messages.DropPriorRequest(session.run), partial(self._retake, session))
        self.let_go()

    def let_go(self) -> None:
        """Forget the prior, and hear no more from the viewer."""
        view, self.view = self.view, None
        was_there, self.opened = self.opened is not None, None
        if view is not None:
            view.let_go()
        if was_there and not self.is_closed:
            self.changed.emit(None)

    def refresh(self) -> None:
        """Show what was written into the prior's arrays since."""
        if self.view is not None:
            self.view.refresh()

    def _check_idle(self) -> None:
        if not self._controller.is_idle:
            raise InputError("A run is under way; choose a prior when it has ended.")

    def _on_scan(self, path: str, scan: answers.Scan) -> None:
        wanted = ask_for_series(series_to_open(path, scan))
        if not wanted:
            self._controller.end_aside("")
            return
        series, time_point = wanted[0]
        self._compare(path, series.uid, time_point, layer_name(series, path, time_point))

    def _compare(self, path: str, series: str, time_point: int, name: str) -> None:
        controller = self._controller
        session = controller.session
        if session is None or session.outcome is None:
            controller.fail("There is no finished run to compare; press Run first.")
            return
        images = layers.open_images(self._viewer)
        request = messages.PriorRequest(
            session.run, path, series, time_point, controller.load_request, session.storage, images
        )
        self._controller.ask_aside("Scoring the prior …", request, partial(self._opened, session, name))

    def _opened(self, session: Session, name: str, opened: answers.OpenedPrior) -> None:
        arrays = [SharedArray.adopt(reference).array for reference in (opened.voxels, opened.labels)]
        if session is not self._controller.session or not self._controller.layers.is_image_there:
            self._controller.end_aside("")
            return
        self.let_go()
        self.name, self.opened = name, opened
        values, labels = (session.show(unstore(array, session.storage)) for array in arrays)
        image = self._controller.layers.image
        if image is not None:
            self.view = PriorView(self._viewer, image, values, labels, opened.window)
            self.view.show_dock("Prior", self.drop)
        self._retake(session, opened.outcome)

    def _moved(self, session: Session, aligned: answers.AlignedPrior) -> None:
        if self.opened is not None:
            self.opened = replace(self.opened, fit=aligned.fit)
            self.refresh()
            self._retake(session, aligned.outcome)

    def _retake(self, session: Session, outcome: answers.RunOutcome) -> None:
        self._controller.end_aside("")
        if session is self._controller.session:
            session.take(outcome)
            self._controller.refound.emit(session.outcome)
        self.changed.emit(self.opened)
        if self.view is not None and self.opened is not None:
            self.view.header.setText(describe_prior(self.name, self.opened))
