"""What the reader says of the chosen finding: decision, site, comment, outline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QCompleter, QFormLayout, QGridLayout, QLabel, QLineEdit, QPushButton, QWidget

from moeclip_med.scoring.review import SITES, Decision, FindingReview, Site

if TYPE_CHECKING:
    from moeclip_med.scoring import Finding


class ReviewPanel(QWidget):
    """Buttons and fields for the chosen finding.

    Signals:
        changed: What the reader says of the chosen finding, as a `FindingReview`.
        undone: The last change is to be taken back.
        reader_named: The reader typed a name.
        edit: The chosen finding's outline is to be edited.
        draw: A new finding is to be drawn.
        done: The outline is finished; False discards it.
    """

    changed = Signal(object)
    undone = Signal()
    reader_named = Signal(str)
    edit = Signal()
    draw = Signal()
    done = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.accept = _button("✓ Accept", "Accept the finding (key: a)", is_toggle=True)
        self.reject = _button("✗ Reject", "Reject it: it stays on record only (key: r)", is_toggle=True)
        self.undo = _button("↶ Undo", "Take the last change back (key: u)")
        self.site = QComboBox()
        self.site_text = QLineEdit()
        self.site.setLineEdit(self.site_text)
        self.site.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.site.addItems(["", *(site.meaning for site in SITES)])
        self.site.setToolTip("Where in the body it lies: from the list (with its code), or any text")
        completer = self.site.completer()
        if completer is not None:
            completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
            completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("comment")
        self.reader = QLineEdit()
        self.reader.setPlaceholderText("not recorded")
        self.reader.setToolTip("Your name, if it is to stand in the results")
        self.edit_button = _button("Edit outline", "Correct the chosen finding's outline with napari's labels tools")
        self.draw_button = _button("New finding", "Draw a finding that the model did not list")
        self.done_button = _button("Done", "Take the outline over, and measure it")
        self.discard_button = _button("Discard", "Leave the outline as it was")
        self.kept = QLabel()
        self.kept.setObjectName("moeclip_detail")
        self.kept.setWordWrap(True)
        self._shown: FindingReview | None = None
        self._arrange()
        self._connect()
        self.show_finding(None)
        self.show_editing(is_on=False)

    def show_finding(self, finding: Finding | None) -> None:
        """Show what was said of a finding; None greys all that needs one."""
        before = self._shown
        self._shown = None if finding is None else finding.review or FindingReview(finding.key)
        said = self._shown or FindingReview((0, 0, 0))
        for widget in (self.accept, self.reject, self.site, self.comment, self.edit_button):
            widget.setEnabled(finding is not None)
        with QSignalBlocker(self.accept), QSignalBlocker(self.reject):
            self.accept.setChecked(said.decision is Decision.ACCEPTED)
            self.reject.setChecked(said.decision is Decision.REJECTED)
        is_other = before is None or before.voxel != said.voxel
        for field, text in ((self.site_text, said.site.meaning if said.site else ""), (self.comment, said.comment)):
            if is_other or not field.isModified():  # what is being typed stays
                field.setText(text)

    def show_editing(self, *, is_on: bool) -> None:
        """Show the buttons that end editing, or those that begin it."""
        for button in (self.done_button, self.discard_button):
            button.setVisible(is_on)
        for button in (self.edit_button, self.draw_button):
            button.setVisible(not is_on)

    def _arrange(self) -> None:
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for column, button in enumerate((self.accept, self.reject, self.undo)):
            layout.addWidget(button, 0, column)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Site", self.site)
        form.addRow("Comment", self.comment)
        form.addRow("Reader", self.reader)
        layout.addLayout(form, 1, 0, 1, 3)
        for column, pair in enumerate(((self.edit_button, self.done_button), (self.draw_button, self.discard_button))):
            for button in pair:
                layout.addWidget(button, 2, column)
        layout.addWidget(self.kept, 3, 0, 1, 3)

    def _connect(self) -> None:
        self.accept.clicked.connect(lambda: self.decide(Decision.ACCEPTED))
        self.reject.clicked.connect(lambda: self.decide(Decision.REJECTED))
        self.undo.clicked.connect(self.undone)
        self.site.activated.connect(self._say)
        self.site_text.editingFinished.connect(self._say)
        self.comment.editingFinished.connect(self._say)
        self.reader.editingFinished.connect(lambda: self.reader_named.emit(self.reader.text().strip()))
        self.edit_button.clicked.connect(self.edit)
        self.draw_button.clicked.connect(self.draw)
        self.done_button.clicked.connect(lambda: self.done.emit(True))  # noqa: FBT003 - a signal has no keywords
        self.discard_button.clicked.connect(lambda: self.done.emit(False))  # noqa: FBT003

    def decide(self, decision: Decision) -> None:
        """Accept or reject the chosen finding; the same again opens it."""
        if self._shown is not None:
            is_same = self._shown.decision is decision
            self._emit(decision=Decision.OPEN if is_same else decision)

    def _say(self, _: object = None) -> None:
        self.site_text.setModified(False)
        self.comment.setModified(False)
        if self._shown is not None:
            self._emit(comment=self.comment.text().strip(), site=_site(self.site.currentText().strip()))

    def _emit(self, **changes: object) -> None:
        said = replace(self._shown, **changes)  # type: ignore[type-var]
        if said != self._shown:
            self._shown = said  # what is said next builds on it
            self.changed.emit(said)


def _site(text: str) -> Site | None:
    if not text:
        return None
    return next((site for site in SITES if site.meaning.casefold() == text.casefold()), Site(text))


def _button(text: str, explanation: str, *, is_toggle: bool = False) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(explanation)
    button.setCheckable(is_toggle)
    return button
