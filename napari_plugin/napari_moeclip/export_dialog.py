"""The dialog that saves results, and the picture with a scale bar."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from napari.components.overlays import TextOverlay
from napari.utils.notifications import show_error
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from moeclip_med.results.formats import DicomOptions, SegmentationKind
from moeclip_med.scoring.review import SITES

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtWidgets import QWidget

_FILES = {
    "nifti": "Anomaly map (NIfTI)",
    "csv": "Findings (CSV)",
    "json": "Findings (JSON)",
    "report": "Report (HTML)",
    "run": "How it was made (JSON)",
}
_DICOM = {
    "seg": "DICOM segmentation of the findings",
    "sr": "DICOM structured report of the measurements",
    "rtstruct": "DICOM RT structure set of the outlines",
    "pm": "DICOM parametric map of the scores",
    "sc": "DICOM pictures with the overlay",
}
_SEGMENTATIONS = {
    SegmentationKind.BINARY: "binary (every viewer reads it)",
    SegmentationKind.LABELMAP: "label map (small; newer viewers)",
    SegmentationKind.FRACTIONAL: "fractional (scores inside findings)",
}
_ALWAYS = ("nifti", "run")
_NOTICE_KEY = "moeclip_notice"
RESEARCH_USE = "Research use only. Not a medical device."


class ExportDialog(QDialog):
    """Which results to save, and where.

    Args:
        has_dicom_source: Whether the image came from DICOM, so that DICOM results can cite it.
        parent: The window it belongs to.
    """

    def __init__(self, *, has_dicom_source: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Save results")
        self.folder = QLineEdit(str(Path.home() / "moeclip-med-results"))
        browse = QPushButton("Browse …")
        browse.clicked.connect(self._browse)
        where = QHBoxLayout()
        where.addWidget(self.folder, stretch=1)
        where.addWidget(browse)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Folder (results of an earlier run in it are replaced)"))
        layout.addLayout(where)
        self.boxes: dict[str, QCheckBox] = {}
        for name, text in (_FILES | _DICOM).items():
            box = self.boxes[name] = QCheckBox(text)
            box.setChecked(name in _FILES)
            if name in _ALWAYS:
                box.setEnabled(False)
                box.setToolTip("Always saved: with both a finished run can be opened again")
            if name in _DICOM and not has_dicom_source:
                box.setEnabled(False)
                box.setToolTip("DICOM results cite the images they were made from, and this image is not DICOM")
            layout.addWidget(box)
        self.segmentation, self.site = QComboBox(), QLineEdit()
        for kind, text in _SEGMENTATIONS.items():
            self.segmentation.addItem(text, kind)
        self.site.setPlaceholderText("SCHEME:VALUE:MEANING, such as SCT:12738006:Brain")
        self.site.setToolTip("Where findings lie whose own site was not named; recorded in SEG and SR")
        self.site.setCompleter(QCompleter([f"SCT:{site.code}:{site.meaning}" for site in SITES], self))
        options = QFormLayout()
        options.addRow("Segmentation as", self.segmentation)
        options.addRow("Finding site", self.site)
        for field in (self.segmentation, self.site):
            field.setEnabled(has_dicom_source)
        layout.addLayout(options)
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.hide()
        layout.addWidget(self.notes)
        self.picture = QCheckBox("Picture of the viewer (PNG)")
        self.picture.setChecked(True)
        layout.addWidget(self.picture)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.setMinimumWidth(460)

    def formats(self) -> tuple[str, ...]:
        """Return the names of the formats that are ticked."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())

    def show_notes(self, notes: tuple[str, ...]) -> None:
        """Show what the DICOM results will hold otherwise than the source's header, one sentence each."""
        with suppress(RuntimeError):  # the dialog was closed before the headers were read
            self.notes.setText("\n".join(f"• {note}" for note in notes))
            self.notes.setVisible(bool(notes))

    def options(self) -> DicomOptions:
        """Return what was chosen about DICOM results.

        Raises:
            InputError: When the finding site is no code.
        """
        return DicomOptions.of(SegmentationKind(self.segmentation.currentData()), self.site.text().strip() or None)

    def _accept(self) -> None:
        """Close, unless what was typed is no code: then say so."""
        try:
            self.options()
        except InputError as error:
            show_error(str(error))
            self.site.setFocus()
            return
        self.accept()

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder for the results", self.folder.text())
        if chosen:
            self.folder.setText(chosen)


def save_picture(viewer: Viewer, path: Path) -> None:
    """Save what the viewer shows, with a scale bar and the line that this is for research.

    Args:
        viewer: The viewer.
        path: A PNG file; its folder exists.
    """
    bar = viewer.canvas.overlays.scale_bar
    was_visible = bar.visible
    viewer.canvas.overlays[_NOTICE_KEY] = TextOverlay(
        text=RESEARCH_USE, position="bottom_left", visible=True, box=False, font_size=9
    )
    bar.visible = True
    try:
        viewer.screenshot(str(path), canvas_only=True, flash=False)
    finally:
        bar.visible = was_visible
        del viewer.canvas.overlays[_NOTICE_KEY]
