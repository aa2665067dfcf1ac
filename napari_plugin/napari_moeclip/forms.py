"""How the widget lines up magicgui's controls, and says small things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, ComboBox
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy

if TYPE_CHECKING:
    from magicgui.widgets import LineEdit

_SHORTEST = 12


def make_form(*widgets: ComboBox | LineEdit | CheckBox) -> QFormLayout:
    """Line controls up under one another, each with its label in front."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for widget in widgets:
        add_row(form, widget)
    return form


def add_row(form: QFormLayout, widget: ComboBox | LineEdit | CheckBox) -> None:
    """Add a control to a form."""
    if isinstance(widget.native, QComboBox):  # a long name must not widen the whole widget
        widget.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        widget.native.setMinimumContentsLength(_SHORTEST)
        widget.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    if isinstance(widget, CheckBox):
        form.addRow(widget.native)
    else:
        form.addRow(widget.label, widget.native)


def small_label() -> QLabel:
    """Make a line of small print, which can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setObjectName("moeclip_detail")
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
