"""The dock widget: choose, run, look, save."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from moeclip_med.results.formats import DicomOptions
from moeclip_med.scoring.review import Decision
from napari_moeclip import messages
from napari_moeclip.backend import Backend, shared_backend
from napari_moeclip.choices_panel import ChoicesPanel
from napari_moeclip.controller import Controller
from napari_moeclip.export_dialog import RESEARCH_USE, ExportDialog, save_picture
from napari_moeclip.planes import LinkedPlanes
from napari_moeclip.result_panel import ResultPanel
from napari_moeclip.run_panel import RunPanel
from napari_moeclip.worklist_panel import Worklist

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.components import ViewerModel

    from napari_moeclip.answers import RunOutcome

_STYLE = """
#moeclip_banner { background: #f5c542; color: #1a1a1a; font-weight: 600; padding: 5px 8px; border-radius: 4px; }
#moeclip_run { background: #2f7de1; color: white; font-weight: 600; padding: 7px; border-radius: 4px; }
#moeclip_run:hover { background: #4690ee; }
#moeclip_run:disabled { background: #8a8f98; color: #e0e0e0; }
#moeclip_detail { font-size: 11px; }
#moeclip_headline { font-size: 15px; font-weight: 600; }
"""


class AnomalyWidget(QWidget):
    """Find anomalies: the widget of the plugin.

    Args:
        napari_viewer: The viewer, given by napari.
        backend: The scoring process; the application's own if None.
    """

    def __init__(self, napari_viewer: Viewer, backend: Backend | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._backend = backend or shared_backend()
        self._backend.users += 1
        self.controller = Controller(napari_viewer, self._backend, parent=self)
        self.choices = ChoicesPanel(napari_viewer)
        self.runner = RunPanel()
        self.results = ResultPanel()
        self.open_button = QPushButton("Open a finished run …")
        self.worklist_button = QPushButton("Open a worklist …")
        self.worklist_button.setToolTip("The output folder of moeclip-med batch: study by study, decisions in its list")
        self._arrange()
        self._connect()
        self.results.hide()
        self.controller.warm_up(self.choices.choices())

    def _arrange(self) -> None:
        banner = QLabel(RESEARCH_USE)
        banner.setObjectName("moeclip_banner")
        banner.setAlignment(Qt.AlignmentFlag.AlignCenter)
        banner.setWordWrap(True)
        content = QWidget()
        inner = QVBoxLayout(content)
        inner.setContentsMargins(2, 4, 2, 8)
        for widget in (self.choices, self.runner, self.results):
            inner.addWidget(widget)
        inner.addStretch()
        opening = QHBoxLayout()
        for button in (self.open_button, self.worklist_button):
            opening.addWidget(button)
        inner.addLayout(opening)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(banner)
        layout.addWidget(scroll)
        self.setStyleSheet(_STYLE)
        self.setMinimumWidth(342)

    def _connect(self) -> None:
        self.runner.run.connect(self.run)
        self.runner.cancel.connect(self.controller.cancel)
        self.choices.model_changed.connect(self.controller.describe)
        self.controller.described.connect(self.choices.describe_model)
        self.controller.busy.connect(lambda note, can_cancel: self.runner.begin(note, can_cancel=can_cancel))
        self.controller.progressed.connect(self.runner.show_progress)
        self.controller.ended.connect(self.runner.end)
        self.controller.found.connect(self._on_found)
        self.controller.refound.connect(self.results.show_findings)
        self.results.threshold_moved.connect(self.controller.move_threshold)
        self.results.finding_chosen.connect(self.controller.select)
        self.results.level_chosen.connect(lambda level: self.results.show_experts(self.controller.show_experts(level)))
        self.results.volume_view.connect(lambda on: self.controller.layers.show_volume(on=on))
        self.controller.volume_shown.connect(self.results.three_d.setChecked)
        self._connect_review()
        comparison, comparing = self.results.comparison, self.controller.comparing
        comparison.study.connect(comparing.open_study)
        comparison.run.connect(comparing.open_run)
        comparison.align.connect(comparing.align)
        comparison.drop.connect(comparing.drop)
        comparing.changed.connect(comparison.show_prior)
        self.results.save.connect(self.save)
        self.results.screenshot.connect(self.save_picture)
        self.open_button.clicked.connect(self.choose_run)
        self.worklist_button.clicked.connect(self.choose_worklist)
        self.choices.planes.toggled.connect(self.show_planes)
        self._bind_keys(self._viewer)
        self.destroyed.connect(partial(_close, self._viewer, tuple(self._keys()), self.choices, self.controller))

    def _connect_review(self) -> None:
        review, reading = self.results.review, self.controller.reading
        review.changed.connect(reading.say)
        review.reader_named.connect(reading.name_reader)
        review.undone.connect(reading.undo)
        review.edit.connect(lambda: reading.edit(self.results.table.row))
        review.draw.connect(lambda: reading.edit(-1))
        review.done.connect(reading.end_editing)
        reading.editing.connect(lambda is_on: review.show_editing(is_on=is_on))
        reading.placed.connect(review.kept.setText)

    def _keys(self) -> dict[str, Callable[[], None]]:
        """Return what each key does while the picture has the focus."""
        review = self.results.review
        return {
            ".": partial(self.results.table.step, 1),
            ",": partial(self.results.table.step, -1),
            "a": partial(review.decide, Decision.ACCEPTED),
            "r": partial(review.decide, Decision.REJECTED),
            "u": self.controller.reading.undo,
            "n": partial(self._step_worklist, 1),
            "p": partial(self._step_worklist, -1),
        }

    def _bind_keys(self, viewer: Viewer | ViewerModel) -> None:
        for key, act in self._keys().items():
            viewer.bind_key(key, lambda _, act=act: act(), overwrite=True)

    @property
    def planes(self) -> LinkedPlanes | None:
        """The other two planes, while they are shown."""
        return self.controller.planes

    def show_planes(self, on: bool) -> None:  # noqa: FBT001 - a signal has no keywords
        """Show the other two planes under the picture, or put them away."""
        controller = self.controller
        if on and controller.planes is None:
            planes = controller.planes = LinkedPlanes(self._viewer)
            planes.show_dock("Planes", self._on_planes_closed)
            controller.layers.on_refresh = planes.refresh
            for model in planes.models:
                self._bind_keys(model)
        elif not on:
            self._on_planes_closed()

    def _on_planes_closed(self) -> None:
        planes, self.controller.planes = self.controller.planes, None
        if planes is not None:
            self.controller.layers.on_refresh = lambda _: None
            planes.let_go()
            self.choices.planes.setChecked(False)

    def run(self) -> None:
        """Score the chosen image, as the button does."""
        self.results.hide()
        self.controller.run(self.choices.layer, self.choices.choices())

    def save(self) -> None:
        """Ask what to save and where, and save it."""
        session = self.controller.session
        if session is None:
            return
        has_source = bool(session.origin.volume.light.source.frames)
        dialog = ExportDialog(has_dicom_source=has_source, parent=self)
        if has_source:
            self.controller.ask(messages.HeaderNotesRequest(session.run), dialog.show_notes)
        if dialog.exec():
            self.save_to(
                dialog.folder.text(),
                dialog.formats(),
                with_picture=dialog.picture.isChecked(),
                options=dialog.options(),
            )
        dialog.deleteLater()

    def save_to(
        self,
        folder: str,
        formats: tuple[str, ...],
        *,
        with_picture: bool,
        options: DicomOptions = DicomOptions(),  # noqa: B008 - a frozen value
    ) -> None:
        """Save results into a folder.

        Args:
            folder: Made if missing; results of an earlier run in it are replaced.
            formats: Names of result formats.
            with_picture: Whether to save what the viewer shows as `viewer.png`.
            options: What the user chose about DICOM results.
        """
        if with_picture:
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_picture(self._viewer, Path(folder) / "viewer.png")
        self.controller.files.save(folder, formats, options)

    def save_picture(self) -> None:
        """Ask where to save a picture of the viewer, and save it."""
        path, _ = QFileDialog.getSaveFileName(self, "Save a picture", "moeclip-med.png", "PNG (*.png)")
        if path:
            save_picture(self._viewer, Path(path))

    def choose_run(self) -> None:
        """Ask for the folder of a finished run, and show it."""
        folder = QFileDialog.getExistingDirectory(self, "Folder of a finished run")
        if folder:
            self.controller.files.open_run(folder)

    def choose_worklist(self) -> None:
        """Ask for the output folder of a batch, and read it study by study."""
        folder = QFileDialog.getExistingDirectory(self, "Output folder of a batch")
        if folder:
            self.open_worklist(folder)

    def open_worklist(self, folder: str) -> None:
        """Read the output of a batch study by study."""
        if self.worklist is None:
            self.controller.worklist = worklist = Worklist(self._viewer, self.controller)
            dock = self._viewer.window.add_dock_widget(worklist, name="Worklist", area="left")
            dock.destroyed.connect(self._on_worklist_closed)
        if self.worklist is not None:
            self.worklist.open_folder(folder)

    @property
    def worklist(self) -> Worklist | None:
        """The worklist, while one is open."""
        return self.controller.worklist

    def _on_worklist_closed(self, _: object = None) -> None:
        self.controller.worklist = None

    def _step_worklist(self, by: int) -> None:
        if self.worklist is not None:
            self.worklist.step(by)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self.controller.is_idle

    def _on_found(self, outcome: RunOutcome) -> None:
        self.results.table.choose_none()
        self.results.show_outcome(outcome)
        self.results.show()
        self.controller.in_steps(self.results.table.choose_first)


def _close(
    viewer: Viewer, keys: tuple[str, ...], choices: ChoicesPanel, controller: Controller, _: object = None
) -> None:
    """Leave nothing behind when the widget goes: no callback and no key in the viewer, no run, no idle process."""
    for key in keys:
        viewer.bind_key(key, None)
    choices.disconnect_viewer()
    controller.close()
    controller.backend.leave()
