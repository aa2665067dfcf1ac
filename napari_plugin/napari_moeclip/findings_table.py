"""The list of findings: a table to click, and to walk through by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter, QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView

from napari_moeclip.keys import KeylessTableView
from napari_moeclip.prior_view import describe_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent
    from qtpy.QtWidgets import QWidget

    from moeclip_med.scoring import Finding
    from moeclip_med.scoring.measures import FindingMeasures
    from moeclip_med.scoring.prior import FindingChange

    Index = QModelIndex | QPersistentModelIndex

NOTHING_FOUND = "No region reaches the threshold.\nThat is no proof that nothing is there."
_NO_PARENT = QModelIndex()
_ROWS_SHOWN = 3
COLUMNS = 8
_LARGE, _SMALL = 10, 0.1
_GROWTH = 3
_REJECTED = "rejected"
_REJECTED_COLOUR = "#8a8f98"
_MARKS = {"accepted": "✓", "rejected": "✗"}


class FindingsModel(QAbstractTableModel):
    """Findings as rows: rank, the reader's decision, size, growth, diameters, intensity, highest score, slices."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.findings: tuple[Finding, ...] = ()
        self.measures: tuple[FindingMeasures, ...] = ()
        self._changes: dict[int, FindingChange] = {}

    def show(
        self, findings: Sequence[Finding], measures: Sequence[FindingMeasures], changes: Sequence[FindingChange]
    ) -> None:
        """Replace the rows."""
        self.beginResetModel()
        self.findings, self.measures = tuple(findings), tuple(measures)
        self._changes = {rank: change for change in changes for rank in change.current}
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802 - Qt's name
        """Return the number of findings."""
        return 0 if parent.isValid() else len(self.findings)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() else COLUMNS

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401 - Qt's type
        """Return the text, look or explanation of a cell."""
        finding, measures = self.findings[index.row()], self._measures_of(index.row())
        change = self._changes.get(finding.rank) if finding.label else None
        if role == Qt.ItemDataRole.DisplayRole:
            return _cells(finding, measures, change)[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return _explanation(finding, change)
        is_rejected = finding.review is not None and finding.review.decision == _REJECTED
        if role == Qt.ItemDataRole.FontRole and is_rejected:
            font = QFont()
            font.setStrikeOut(True)
            return font
        if role == Qt.ItemDataRole.ForegroundRole and is_rejected:
            return QColor(_REJECTED_COLOUR)
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401 - Qt's type
        """Return the title of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._titles()[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return _TOOLTIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def _measures_of(self, row: int) -> FindingMeasures | None:
        return self.measures[row] if row < len(self.measures) else None

    def _titles(self) -> tuple[str, ...]:
        in_pixels = bool(self.findings) and self.findings[0].volume_ml is None
        unit = "HU" if any(one.unit == "HU" for one in self.measures) else "value"
        return ("#", "", "px" if in_pixels else "ml", "Δ %", "mm", unit, "peak", "frames" if in_pixels else "slices")


_TOOLTIPS = (
    "Rank, by the highest score",
    "✓ accepted, ✗ rejected, ✎ outline edited or drawn by the reader",
    "Size: volume in ml; of photographs pixels, of a track in a cine those of all its frames",
    "Growth since the prior, in percent; ml in the tooltip of the row",
    "Longest diameter in a slice, and the longest one at right angles to it, in mm",
    "Mean and standard deviation of the image's own values inside",
    "Highest score in it",
    "First and last slice, from 1 along the volume's own axis, as in all results",
)


class FindingsTable(KeylessTableView):
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
        self.setObjectName("moeclip_detail")
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setMinimumSectionSize(16)
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + _ROWS_SHOWN * 26)
        self.selectionModel().currentRowChanged.connect(self._on_row)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings shown."""
        return self._model.findings

    @property
    def row(self) -> int:
        """The chosen row; -1 if none is."""
        return self.currentIndex().row()

    def show_findings(
        self,
        findings: Sequence[Finding],
        measures: Sequence[FindingMeasures] = (),
        changes: Sequence[FindingChange] = (),
    ) -> None:
        """Replace the findings; the one that was chosen stays so where it is still there."""
        self.setColumnHidden(_GROWTH, not changes)
        chosen = self.findings[self.row].key if 0 <= self.row < len(self.findings) else None
        self._model.show(findings, measures, changes)
        row = next((place for place, finding in enumerate(self.findings) if finding.key == chosen), None)
        if row is not None:
            self.selectRow(row)

    def choose_none(self) -> None:
        """Forget which finding was chosen: those of another run come."""
        self.setCurrentIndex(QModelIndex())

    def choose_first(self) -> None:
        """Choose the first finding, if there is one."""
        if self.findings:
            self.selectRow(0)

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


def _cells(finding: Finding, measures: FindingMeasures | None, change: FindingChange | None) -> tuple[str, ...]:
    size = f"{finding.voxel_count}" if finding.volume_ml is None else f"{finding.volume_ml:.1f}"
    first, last = (index + 1 for index in finding.slice_range)
    slices = str(first) if first == last else f"{first}–{last}"
    diameters = intensity = "–"
    if measures is not None and measures.longest is not None and measures.perpendicular is not None:
        diameters = f"{measures.longest.mm:.0f}×{measures.perpendicular.mm:.0f}"
    if measures is not None and measures.mean is not None and measures.sd is not None:
        digits = 0 if measures.sd >= _LARGE else 1 if measures.sd >= _SMALL else 2
        intensity = f"{measures.mean:z.{digits}f}±{measures.sd:.{digits}f}"
    review = finding.review
    marks = "" if review is None else _MARKS.get(review.decision, "") + ("✎" if review.is_edited else "")
    growth = "" if change is None else "new" if change.growth_percent is None else f"{change.growth_percent:+.0f}"
    return (str(finding.rank), marks, size, growth, diameters, intensity, f"{finding.peak_score:.2f}", slices)


def _explanation(finding: Finding, change: FindingChange | None) -> str:
    lines = [f"mean score {finding.mean_score:.2f}"]
    lines += [describe_change(change)] if change is not None else []
    if (review := finding.review) is not None:
        lines += [f"decision: {review.decision}"]
        lines += ["drawn by the reader" if review.is_drawn else "outline edited"] * review.is_edited
        lines += [f"site: {review.site.meaning}"] if review.site is not None else []
        lines += [f"comment: {review.comment}"] if review.comment else []
    return "\n".join(lines)
