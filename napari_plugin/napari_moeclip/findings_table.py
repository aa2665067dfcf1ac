"""The list of findings: a table to click, and to walk through by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent
    from qtpy.QtWidgets import QWidget

    from moeclip_med.scoring import Finding

    Index = QModelIndex | QPersistentModelIndex

NOTHING_FOUND = "No region reaches the threshold.\nThat is no proof that nothing is there."
_NO_PARENT = QModelIndex()
_ROWS_SHOWN = 5
_COLUMNS = 5


class FindingsModel(QAbstractTableModel):
    """Findings as rows: rank, size, peak, mean, slices."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.findings: tuple[Finding, ...] = ()

    def show(self, findings: Sequence[Finding]) -> None:
        """Replace the rows."""
        self.beginResetModel()
        self.findings = tuple(findings)
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802 - Qt's name
        """Give the number of findings."""
        return 0 if parent.isValid() else len(self.findings)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802 - Qt's name
        """Give the number of columns."""
        return 0 if parent.isValid() else len(self._titles())

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401 - Qt's type
        """Give the text or alignment of a cell."""
        if role == Qt.ItemDataRole.DisplayRole:
            return _cells(self.findings[index.row()])[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401 - Qt's type
        """Give the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._titles()[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal:
            return _TOOLTIPS[section]
        return None

    def _titles(self) -> tuple[str, ...]:
        in_pixels = bool(self.findings) and self.findings[0].volume_ml is None
        return ("#", "pixels" if in_pixels else "ml", "peak", "mean", "frames" if in_pixels else "slices")


_TOOLTIPS = (
    "Rank, by the highest score",
    "Size",
    "Highest score in it",
    "Mean score over it",
    "First and last slice, counted from 0 along the volume's own axis as in all results",
)


class FindingsTable(QTableView):
    """The table of findings.

    Signals:
        chosen: The row that was clicked or walked to.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = FindingsModel(self)
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(_COLUMNS - 1, QHeaderView.ResizeMode.ResizeToContents)
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + _ROWS_SHOWN * 26)
        self.selectionModel().currentRowChanged.connect(self._on_row)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings shown."""
        return self._model.findings

    def show_findings(self, findings: Sequence[Finding]) -> None:
        """Replace the findings; none is chosen then."""
        self._model.show(findings)

    def step(self, by: int) -> None:
        """Walk to the next (1) or previous (-1) finding, round and round."""
        count = len(self.findings)
        if count:
            row = self.currentIndex().row()
            self.selectRow((row + by) % count if row >= 0 else (0 if by > 0 else count - 1))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the rows; where there are none, say what that means."""
        super().paintEvent(event)
        if self.findings:
            return
        painter = QPainter(self.viewport())
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(self.viewport().rect().adjusted(12, 0, -12, 0), int(flags), NOTHING_FOUND)
        painter.end()

    def _on_row(self, current: QModelIndex) -> None:
        if current.isValid():
            self.chosen.emit(current.row())


def _cells(finding: Finding) -> tuple[str, ...]:
    size = f"{finding.voxel_count}" if finding.volume_ml is None else f"{finding.volume_ml:.1f}"
    first, last = finding.slice_range
    slices = str(first) if first == last else f"{first}–{last}"
    return (str(finding.rank), size, f"{finding.peak_score:.2f}", f"{finding.mean_score:.2f}", slices)
