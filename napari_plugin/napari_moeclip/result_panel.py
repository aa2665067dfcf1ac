"""What was found: threshold, colours, findings, and what can be done with them; the lower part of the widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPalette
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleSlider

from napari_moeclip.findings_table import FindingsTable
from napari_moeclip.layers import anomaly_colormap, expert_colour, expert_name
from napari_moeclip.prior_view import ComparisonPanel
from napari_moeclip.review_panel import ReviewPanel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QKeyEvent, QPaintEvent

    from napari_moeclip.answers import RunOutcome

_DECIMALS = 3
_STEP = 0.01
_PAGE = 0.1
_MOVES = {
    Qt.Key.Key_Right: _STEP,
    Qt.Key.Key_Up: _STEP,
    Qt.Key.Key_Left: -_STEP,
    Qt.Key.Key_Down: -_STEP,
    Qt.Key.Key_PageUp: _PAGE,
    Qt.Key.Key_PageDown: -_PAGE,
    Qt.Key.Key_Home: -1.0,
    Qt.Key.Key_End: 1.0,
}


class ResultPanel(QWidget):
    """Threshold slider, colour bar, table of findings, views and saving.

    Signals:
        threshold_moved: The threshold under the slider, while it moves.
        finding_chosen: The row of the table.
        level_chosen: The level of experts to show; -1 hides them.
        volume_view: Whether to show map and outlines in 3-D.
        save: Results are to be saved.
        screenshot: A picture is to be saved.
    """

    threshold_moved = Signal(float)
    finding_chosen = Signal(int)
    level_chosen = Signal(int)
    volume_view = Signal(bool)
    save = Signal()
    screenshot = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.headline = QLabel()
        self.headline.setObjectName("moeclip_headline")
        self.headline.setWordWrap(True)
        self.threshold = ThresholdSlider()
        self.exact = QDoubleSpinBox()
        self.exact.setRange(0.0, 1.0)
        self.exact.setDecimals(_DECIMALS)
        self.exact.setSingleStep(_STEP)
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Back to the model's own threshold")
        self.colours = ColourBar()
        self.table = FindingsTable()
        self.review = ReviewPanel()
        self.comparison = ComparisonPanel()
        self.previous = QPushButton("◀ Previous")
        self.previous.setToolTip("Previous finding (key: ,)")
        self.next = QPushButton("Next ▶")
        self.next.setToolTip("Next finding (key: .)")
        self.three_d = QPushButton("3-D")
        self.three_d.setCheckable(True)
        self.three_d.setToolTip("Show image, map and findings in 3-D")
        self.levels = QComboBox()
        self.levels.setToolTip("Which expert took each patch")
        self.experts = QLabel()
        self.experts.setTextFormat(Qt.TextFormat.RichText)
        self.experts.setWordWrap(True)
        self.save_button = QPushButton("Save results …")
        self.picture_button = QPushButton("Save picture …")
        self.notes = QLabel()
        self.notes.setObjectName("moeclip_detail")
        self.notes.setWordWrap(True)
        self._model_threshold = 0.5
        self._arrange()
        self._connect()

    def _arrange(self) -> None:
        threshold = QHBoxLayout()
        threshold.addWidget(QLabel("Threshold"))
        threshold.addWidget(self.exact, stretch=1)
        threshold.addWidget(self.reset)
        walk = QHBoxLayout()
        walk.addWidget(self.previous)
        walk.addWidget(self.next)
        actions = QGridLayout()
        actions.addWidget(self.three_d, 0, 0)
        actions.addWidget(self.levels, 0, 1)
        actions.addWidget(self.save_button, 1, 0)
        actions.addWidget(self.picture_button, 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.headline)
        layout.addLayout(threshold)
        layout.addWidget(self.threshold)
        layout.addWidget(self.colours)
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(walk)
        layout.addWidget(self.review)
        layout.addWidget(self.comparison)
        layout.addLayout(actions)
        layout.addWidget(self.experts)
        layout.addWidget(self.notes)
        self.experts.hide()

    def _connect(self) -> None:
        self.threshold.valueChanged.connect(self._on_threshold)
        self.exact.valueChanged.connect(self.threshold.setValue)
        self.reset.clicked.connect(lambda: self.threshold.setValue(self._model_threshold))
        self.table.chosen.connect(self._on_chosen)
        self.previous.clicked.connect(lambda: self.table.step(-1))
        self.next.clicked.connect(lambda: self.table.step(1))
        self.three_d.toggled.connect(self.volume_view)
        self.levels.activated.connect(lambda index: self.level_chosen.emit(index - 1))
        self.save_button.clicked.connect(self.save)
        self.picture_button.clicked.connect(self.screenshot)

    def show_outcome(self, outcome: RunOutcome) -> None:
        """Show the findings at the outcome's threshold."""
        self._model_threshold = outcome.model_threshold
        for control in (self.threshold, self.exact):
            with QSignalBlocker(control):
                control.setValue(outcome.threshold)
        self.colours.show_threshold(outcome.threshold)
        self.show_findings(outcome)
        self.offer_levels(len(outcome.expert_shares))

    def show_findings(self, outcome: RunOutcome) -> None:
        """Show the findings of a moved threshold."""
        kept = [finding for finding in outcome.findings if finding.label]
        count, rejected = len(kept), len(outcome.findings) - len(kept)
        what = "No finding" if count == 0 else "1 finding" if count == 1 else f"{count} findings"
        if count and kept[0].volume_ml is not None:
            what += f", {sum(finding.volume_ml or 0.0 for finding in kept):.1f} ml"
        what += f", {rejected} rejected" if rejected else ""
        share = (
            "" if outcome.is_complete else f" in the {outcome.slices_scored} of {outcome.slices_needed} slices scored"
        )
        self.headline.setText(f"{what}{share}")
        self.table.show_findings(outcome.findings, outcome.measures, outcome.changes)
        self.comparison.show_changes(outcome.changes)
        self._show_review()
        for button in (self.previous, self.next):
            button.setEnabled(bool(outcome.findings))
        self.notes.setText("\n".join(f"• {note}" for note in outcome.notes))
        self.notes.setVisible(bool(outcome.notes))

    def offer_levels(self, count: int) -> None:
        """Offer the levels of experts that were kept; none greys the choice and says why."""
        self.levels.clear()
        self.levels.addItem("Experts: off" if count else "Experts: not kept")
        self.levels.addItems([f"Experts: level {level + 1}" for level in range(count)])
        self.levels.setEnabled(count > 0)
        self.levels.setToolTip(
            "Which expert took each patch"
            if count
            else 'Tick "Keep which expert took each patch" under More options, and run again.'
        )
        self.experts.hide()

    def show_experts(self, shares: Sequence[float]) -> None:
        """List the experts of a level with their colours and shares; none hides the list."""
        self.experts.setText(
            " &nbsp; ".join(
                f'<span style="color:{expert_colour(expert)}">■</span>&nbsp;'
                + expert_name(expert, share).replace(" ", "&nbsp;")
                for expert, share in enumerate(shares)
            )
        )
        self.experts.setVisible(bool(shares))

    def _on_chosen(self, row: int) -> None:
        self._show_review()
        self.finding_chosen.emit(row)

    def _show_review(self) -> None:
        row = self.table.row
        self.review.show_finding(self.table.findings[row] if 0 <= row < len(self.table.findings) else None)

    def _on_threshold(self, value: float) -> None:
        with QSignalBlocker(self.exact):
            self.exact.setValue(value)
        self.colours.show_threshold(value)
        self.threshold_moved.emit(value)


class ColourBar(QWidget):
    """What the map's colours mean: scores from 0 to 1, nothing shown below the threshold."""

    def __init__(self) -> None:
        super().__init__()
        self._threshold = 0.5
        self._colours = anomaly_colormap().map([index / 32 for index in range(1, 33)])
        self.setFixedHeight(30)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Colours of the anomaly map; scores below the threshold are transparent")

    def show_threshold(self, threshold: float) -> None:
        """Move the start of the colours."""
        self._threshold = threshold
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the bar and its ends."""
        painter = QPainter(self)
        width, bar = self.width() - 2, 12
        start = int(self._threshold * width)
        gradient = QLinearGradient(start, 0, width, 0)
        for index, colour in enumerate(self._colours):
            gradient.setColorAt(index / (len(self._colours) - 1), QColor.fromRgbF(*(float(part) for part in colour)))
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.fillRect(start, 0, width - start, bar, gradient)
        painter.setPen(ink)
        painter.drawRect(0, 0, width, bar)
        text = f"{self._threshold:.2f}"
        metrics = painter.fontMetrics()
        half = metrics.horizontalAdvance(text) // 2
        baseline = bar + metrics.ascent() + 2
        middle = min(
            max(start - half, metrics.horizontalAdvance("0 ")), width - 2 * half - metrics.horizontalAdvance(" 1")
        )
        painter.drawText(0, baseline, "0")
        painter.drawText(middle, baseline, text)
        painter.drawText(width - metrics.horizontalAdvance("1"), baseline, "1")
        painter.end()


class ThresholdSlider(QDoubleSlider):
    """A slider from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.setRange(0.0, 1.0)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip("Scores from here on count as found (arrow keys: 0.01, page keys: 0.1)")

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move by the keys of a slider, which superqt lacks."""
        move = _MOVES.get(Qt.Key(event.key()))
        if move is None:
            event.ignore()
            return
        self.setValue(min(1.0, max(0.0, self.value() + move)))
