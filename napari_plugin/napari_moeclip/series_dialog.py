"""The dialog that lets a user choose among the series of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms import Series
    from qtpy.QtWidgets import QWidget

_COLUMNS = ("Series", "Image type", "Size", "Time point")


class SeriesDialog(QDialog):
    """A table of series; the ticked ones are opened.

    Args:
        series: What there is to choose from.
        parent: The window it belongs to.
    """

    def __init__(self, series: Sequence[Series], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._series = series
        self.setWindowTitle("Which series?")
        self.table = QTableWidget(len(series), len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for row, one in enumerate(series):
            self._fill(row, one)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Tick what to open."))
        layout.addWidget(self.table)
        layout.addWidget(buttons)
        self.resize(640, 320)

    def chosen(self) -> list[tuple[Series, int]]:
        """Return the ticked series, each with its time point."""
        wanted = []
        for row, one in enumerate(self._series):
            name = self.table.item(row, 0)
            if name is not None and name.checkState() == Qt.CheckState.Checked:
                spin = self.table.cellWidget(row, len(_COLUMNS) - 1)
                wanted.append((one, spin.value() if isinstance(spin, QSpinBox) else 0))
        return wanted

    def _fill(self, row: int, series: Series) -> None:
        columns, rows, slices, times = series.shape
        name = QTableWidgetItem(series.description or series.files[0].name)
        name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        name.setCheckState(Qt.CheckState.Checked if row == 0 else Qt.CheckState.Unchecked)
        self.table.setItem(row, 0, name)
        self.table.setItem(row, 1, QTableWidgetItem(f"{series.modality} {series.image_type.value}".strip()))
        self.table.setItem(row, 2, QTableWidgetItem(f"{columns} × {rows} × {slices}"))
        if times > 1:
            spin = QSpinBox()
            spin.setRange(0, times - 1)
            spin.setSuffix(f" of {times - 1}")
            self.table.setCellWidget(row, len(_COLUMNS) - 1, spin)


def ask_for_series(series: Sequence[Series]) -> list[tuple[Series, int]]:
    """Ask the user where there is a choice; gives nothing when the dialog is closed."""
    if len(series) == 1 and series[0].shape[3] == 1:
        return [(series[0], 0)]
    dialog = SeriesDialog(series, QApplication.activeWindow())
    accepted = dialog.exec()
    wanted = dialog.chosen() if accepted else []
    dialog.deleteLater()
    return wanted
