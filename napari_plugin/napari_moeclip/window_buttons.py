"""The buttons that show a CT through the usual windows."""

from __future__ import annotations

from moeclip_transforms import ImageKind
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

_WINDOWS = {ImageKind.CT_BRAIN: "Brain", ImageKind.CT_SOFT_TISSUE: "Soft tissue", ImageKind.CT_LUNG: "Lung"}


class WindowButtons(QWidget):
    """One button for each CT window; hidden for other images."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for kind, text in _WINDOWS.items():
            button = QPushButton(text)
            button.setToolTip(f"Show the image with the {text.lower()} window; what is scored is set by Kind")
            button.clicked.connect(lambda _=False, kind=kind: self.chosen.emit(kind.value))
            layout.addWidget(button)
            self.buttons[kind.value] = button

    def offer(self, kinds: list[str]) -> None:
        """Show the buttons of these kinds."""
        self.is_of_use = any(kind in self.buttons for kind in kinds)
        for kind, button in self.buttons.items():
            button.setVisible(kind in kinds)
