"""The results of a batch as a worklist in the viewer: the next study by key, decisions in the triage list."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_moeclip import layers, messages
from napari_moeclip.guard import Part, guarded
from napari_moeclip.keys import KeylessTableWidget
from napari_moeclip.volumes import SharedVolume

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from moeclip_med.batch.worklist import WorklistItem
    from napari_moeclip.controller import Controller
    from napari_moeclip.volumes import VolumeReference

_TITLES = ("series", "score", "findings", "decision")
_MARKS = {"accepted": "✓ accepted", "rejected": "✗ rejected", "open": "", "begun": "… begun"}
_OPEN = "open"


class Worklist(Part, QWidget):
    """A table of the series that a batch scored; the chosen one is shown, on its image where that is still there.

    Args:
        viewer: The viewer.
        controller: What shows the runs.
    """

    def __init__(self, viewer: Viewer, controller: Controller) -> None:
        QWidget.__init__(self)
        self._viewer = viewer
        self._controller: Controller = controller
        self.folder = Path()
        self.items: list[WorklistItem] = []
        self.place = -1
        self._image: Image | None = None
        self._is_writing = self._is_stale = False
        self.title = QLabel()
        self.table = KeylessTableWidget(0, len(_TITLES))
        self.table.setHorizontalHeaderLabels(_TITLES)
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(120)
        self.previous, self.next = QPushButton("◀ Previous study"), QPushButton("Next study ▶")
        self.previous.setToolTip("Previous study (key: p)")
        self.next.setToolTip("Next study (key: n)")
        walk = QHBoxLayout()
        walk.addWidget(self.previous)
        walk.addWidget(self.next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.title)
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(walk)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.table.cellClicked.connect(lambda row, _: self.show_item(row))
        controller.reading.kept.connect(self._on_kept)

    def let_go(self) -> None:
        """Close the dock: the widget that this belongs to is gone."""
        with suppress(LookupError, RuntimeError, AttributeError):  # the user closed the dock, or napari its window
            self._viewer.window.remove_dock_widget(self)
        with suppress(RuntimeError):
            self.deleteLater()

    @guarded
    def open_folder(self, folder: str) -> None:
        """List what a batch scored, and show the first series that is not decided."""
        self._controller.ask(messages.WorklistRequest(folder), partial(self._fill, Path(folder)))

    @guarded
    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) series."""
        if 0 <= self.place + by < len(self.items):
            self.show_item(self.place + by)

    @guarded
    def show_item(self, place: int) -> None:
        """Show a series: its image, and the run on it."""
        if not self._controller.is_idle:
            show_warning("A run is under way; go to another study when it has ended.")
            return
        self.place, item = place, self.items[place]
        self._select()
        self._controller.start_preparing(f"Opening study {place + 1} of {len(self.items)} …")
        request = messages.WorklistImageRequest(str(self.folder), item)
        self._controller.ask(request, partial(self._on_image, item), partial(self._on_no_image, item))

    def _fill(self, folder: Path, items: tuple[WorklistItem, ...]) -> None:
        self.folder, self.items, self.place = folder, list(items), -1
        self.table.setRowCount(len(items))
        for row in range(len(items)):
            self._show_row(row)
        self.show_item(next((row for row, item in enumerate(items) if item.decision == _OPEN), 0))

    def _show_row(self, row: int) -> None:
        item = self.items[row]
        name = f"{item.modality} {item.study.removeprefix('study-')[:8]}".strip()
        texts = (name, f"{item.score:.2f}", str(item.findings), _MARKS.get(item.decision, item.decision))
        for column, text in enumerate(texts):
            cell = QTableWidgetItem(text)
            cell.setToolTip(f"{item.study}\n{item.series}")
            if column:
                cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, column, cell)
        decided = sum(one.decision in {"accepted", "rejected"} for one in self.items)
        self.title.setText(f"{self.folder.name}: {decided} of {len(self.items)} decided")

    def _select(self) -> None:
        with QSignalBlocker(self.table):
            self.table.selectRow(self.place)
        self.previous.setEnabled(self.place > 0)
        self.next.setEnabled(self.place + 1 < len(self.items))

    def _on_image(self, item: WorklistItem, reference: VolumeReference) -> None:
        volume = SharedVolume(reference, owns=True)
        self._clear()
        data, attributes, _ = layers.image_layer_data(volume, f"{item.modality} {item.series}".strip())
        self._image = self._viewer.add_image(data, **attributes)
        self._open(item)

    def _on_no_image(self, item: WorklistItem, sentence: str) -> None:
        show_warning(f"{sentence} The map is shown without it.")
        self._clear()
        self._open(item)

    def _open(self, item: WorklistItem) -> None:
        self._controller.end_aside("")
        self._controller.files.open_run(str(self.folder / item.folder))

    def _clear(self) -> None:
        """Take away the layers of the series before: its image, and what its run added."""
        self._controller.layers.clear()
        if self._image is not None and self._image in self._viewer.layers:
            self._viewer.layers.remove(self._image)
        self._image = None

    def _on_kept(self) -> None:
        """Write into the lists what the reader decided; once more where that was not all."""
        session = self._controller.session
        if self.place < 0 or session is None or session.folder != self.folder / self.items[self.place].folder:
            return
        self._is_stale = self._is_writing
        if not self._is_writing:
            self._is_writing = True
            request = messages.DecideRequest(str(self.folder), self.items[self.place])
            self._controller.ask(request, partial(self._on_written, self.place), self._on_not_written)

    @guarded
    def _on_written(self, row: int, decision: str) -> None:
        self._is_writing = False
        self.items[row] = replace(self.items[row], decision=decision)
        self._show_row(row)
        if self._is_stale:
            self._on_kept()

    def _on_not_written(self, sentence: str) -> None:
        self._is_writing = False
        self.fail(sentence)
