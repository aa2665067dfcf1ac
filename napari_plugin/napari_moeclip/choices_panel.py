"""What to score and how: the upper part of the widget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, ComboBox, LineEdit
from moeclip_transforms import ImageType, Plane
from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_moeclip.layers import origin_of
from napari_moeclip.session import AUTO, Choices
from napari_moeclip.volumes import describe_volume

if TYPE_CHECKING:
    from napari import Viewer

    from napari_moeclip.answers import ModelDescription

_WINDOWS = {ImageType.CT_BRAIN: "Brain", ImageType.CT_SOFT_TISSUE: "Soft tissue", ImageType.CT_LUNG: "Lung"}
_SHORTEST = 12
_FOLDER = "a model folder …"
_MODELS = {
    "lite": "lite (small, included)",
    "duo": "duo (skin, endoscopy)",
    "vit-l-14-336": "ViT-L/14-336 (full model)",
}
_IMAGE_TYPES = {
    ImageType.CT_BRAIN: "CT, brain window",
    ImageType.CT_SOFT_TISSUE: "CT, soft-tissue window",
    ImageType.CT_LUNG: "CT, lung window",
    ImageType.MR: "MR",
    ImageType.ENDOSCOPY: "endoscopy",
    ImageType.OCT: "OCT",
    ImageType.PLAIN: "other",
}
_PLANES = {
    Plane.AUTO: "automatic",
    **{plane: plane.value for plane in list(Plane)[1:4]},
    Plane.ALL: "all three, averaged",
}
_DEVICES = {AUTO: "automatic", "cpu": "processor (CPU)", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}


class ChoicesPanel(QWidget):
    """Image, model, what to look for, image type; plane, device, slices and experts under "More options".

    Signals:
        model_changed: Another model was chosen.

    Args:
        viewer: Whose layers can be chosen.
    """

    model_changed = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.image = ComboBox(label="Image", choices=self._image_layers, nullable=True, tooltip="The layer to score")
        self._models = dict(_MODELS)
        self._last_model = next(iter(_MODELS))
        self.model = ComboBox(label="Model", choices=_as_choices(self._models))
        self.prompt = LineEdit(label="Look for")
        self.image_type = ComboBox(
            label="Image type",
            choices=[(text, image_type.value) for image_type, text in _IMAGE_TYPES.items()],
            tooltip="Sets the window",
        )
        self.plane = ComboBox(label="Plane", choices=[(text, plane.value) for plane, text in _PLANES.items()])
        self.device = ComboBox(label="Device", choices=[(text, name) for name, text in _DEVICES.items()])
        self.every_slice = CheckBox(
            label="",
            text="Score every slice",
            tooltip="Of slices up to 1.5 mm apart some are enough, as neighbours are averaged; all take longer",
        )
        self.keep_experts = CheckBox(label="", text="Keep which expert took each patch")
        self.model_detail = _small_label()
        self.image_detail = _small_label()
        self.windows = WindowButtons()
        self.planes = QPushButton("Three planes")
        self.planes.setCheckable(True)
        self.planes.setToolTip("Show the other two planes under the picture; a click in one moves all three")
        self._build()
        self.image.changed.connect(self._on_chosen)
        self.model.changed.connect(self._on_model)
        self.windows.chosen.connect(self._show_window)
        events = viewer.layers.events
        self._links = [(emitter, self._on_layers) for emitter in (events.inserted, events.removed, events.renamed)]
        self._links.append((viewer.layers.selection.events.active, self._on_active))
        for emitter, callback in self._links:
            emitter.connect(callback)
        self._show_image()
        self._on_active()

    def disconnect_viewer(self) -> None:
        """Hear no more from the viewer: it outlives this panel."""
        for emitter, callback in self._links:
            emitter.disconnect(callback)

    @property
    def layer(self) -> Image | None:
        """The chosen image."""
        value = self.image.value
        return value if isinstance(value, Image) else None

    def choices(self) -> Choices:
        """Return what was chosen."""
        return Choices(
            model=self.model.value,
            prompt=self.prompt.value.strip() if self.prompt.enabled else "",
            image_type=self.image_type.value,
            plane=self.plane.value,
            device=self.device.value,
            every_slice=self.every_slice.value,
            keep_experts=self.keep_experts.value,
        )

    def describe_model(self, description: ModelDescription) -> None:
        """Show where the model's files are; grey what it cannot do, and say why."""
        if description.name != self.model.value:
            return
        mark = "" if description.is_ready else "⚠ "
        self.model_detail.setText(f"{mark}{description.detail}")
        self.model_detail.setToolTip(description.place)
        self.prompt.enabled = description.has_text_tower
        reason = "" if description.has_text_tower else "no text tower in this model"
        self.prompt.native.setPlaceholderText(reason or "scan, brain MRI, polyp …")
        self.prompt.tooltip = (
            "What the image shows; put into the phrases for normal and abnormal."
            if description.has_text_tower
            else "This model has learned prompts and no text tower, so it cannot be told what to look for."
        )

    def _build(self) -> None:
        from moeclip_med.model.prompts import prompt_library

        completer = QCompleter(sorted(prompt_library()))
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.prompt.native.setCompleter(completer)
        more = QCollapsible("More options", expandedIcon="▾", collapsedIcon="▸")
        options = QWidget()
        options.setLayout(_make_form(self.plane, self.device, self.every_slice, self.keep_experts))
        more.addWidget(options)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._form = form = _make_form(self.image, self.image_type)
        form.addRow(self.image_detail)
        form.addRow("Window", self.windows)
        for widget in (self.model, self.prompt):
            _add_row(form, widget)
        form.addRow(self.model_detail)
        layout.addLayout(form)
        layout.addWidget(more)
        layout.addWidget(self.planes)

    def _image_layers(self, _: object = None) -> list[Image]:
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        return [layer for layer in layers if (origin := origin_of(layer)) is None or origin.role == "image"]

    def _on_layers(self, _: object = None) -> None:
        """Offer the layers there are; where the chosen one is gone, the topmost is chosen."""
        before = self.layer
        with self.image.changed.blocked():
            self.image.reset_choices()
            available = self._image_layers()
            if before not in available and available:
                self.image.value = available[-1]
        if self.layer != before:  # else what was chosen for it by hand stays
            self._show_image()

    def _on_active(self, _: object = None) -> None:
        """Choose the image that was opened or clicked."""
        active = self._viewer.layers.selection.active
        if active != self.layer and active in self._image_layers():
            self.image.value = active

    def _on_chosen(self) -> None:
        """Make the chosen image the active layer, so that one image at a time is the one that is meant."""
        if self.layer is not None:
            self._viewer.layers.selection.active = self.layer
        self._show_image()

    def _show_image(self) -> None:
        layer = self.layer
        origin = None if layer is None else origin_of(layer)
        if layer is None:
            self.image_detail.setText("Drop a DICOM folder, a NIfTI file or a picture on the viewer.")
        elif origin is None:
            self.image_type.value = (ImageType.ENDOSCOPY if layer.rgb else ImageType.PLAIN).value
            extra = " The time point on the slider is scored." if layer.ndim > 3 else ""  # noqa: PLR2004
            self.image_detail.setText(f"Opened by another plugin: scored as stored.{extra}")
        else:
            self.image_type.value = origin.volume.light.series.image_type.value
            self.image_detail.setText(describe_volume(origin.volume.light))
        self.image_type.enabled = layer is not None
        self._offer_windows([] if origin is None else list(origin.volume.reference.windows))

    def _on_model(self, name: str) -> None:
        if name == _FOLDER:
            folder = QFileDialog.getExistingDirectory(self, "A folder with adapters.safetensors and metadata.json")
            if folder and folder not in self._models:
                self._models[folder] = Path(folder).name
                with self.model.changed.blocked():
                    self.model.choices = ()  # else the new folder would come after the entry that asks for one
                    self.model.choices = _as_choices(self._models)
            self.model.value = folder or self._last_model
            return
        self._last_model = name
        self.model_detail.setText("…")
        self.model_changed.emit(name)

    def _offer_windows(self, image_types: list[str]) -> None:
        """Show a button for each window, and the row only where there is one."""
        self.windows.offer(image_types)
        self._form.setRowVisible(self.windows, self.windows.is_of_use)

    def _show_window(self, image_type: str) -> None:
        layer = self.layer
        origin = None if layer is None else origin_of(layer)
        if layer is not None and origin is not None:
            low, high = origin.volume.reference.windows[image_type]
            layer.contrast_limits_range = (
                min(low, layer.contrast_limits_range[0]),
                max(high, layer.contrast_limits_range[1]),
            )
            layer.contrast_limits = (low, high)


def _as_choices(models: dict[str, str]) -> list[tuple[str, str]]:
    """Return what the list of models offers: (text, value), and choosing another folder at the end."""
    return [(text, name) for name, text in models.items()] + [(_FOLDER, _FOLDER)]


class WindowButtons(QWidget):
    """One button for each CT window; hidden for other images."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for image_type, text in _WINDOWS.items():
            button = QPushButton(text)
            button.setToolTip(f"Show the image with the {text.lower()} window; what is scored is set by Image type")
            button.clicked.connect(lambda _=False, image_type=image_type: self.chosen.emit(image_type.value))
            layout.addWidget(button)
            self.buttons[image_type.value] = button

    def offer(self, image_types: list[str]) -> None:
        """Show the buttons of these image types."""
        self.is_of_use = any(image_type in self.buttons for image_type in image_types)
        for image_type, button in self.buttons.items():
            button.setVisible(image_type in image_types)


def _make_form(*widgets: ComboBox | LineEdit | CheckBox) -> QFormLayout:
    """Line controls up under one another, each with its label in front."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for widget in widgets:
        _add_row(form, widget)
    return form


def _add_row(form: QFormLayout, widget: ComboBox | LineEdit | CheckBox) -> None:
    """Add a control to a form."""
    if isinstance(widget.native, QComboBox):  # a long name must not widen the whole widget
        widget.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        widget.native.setMinimumContentsLength(_SHORTEST)
        widget.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    if isinstance(widget, CheckBox):
        form.addRow(widget.native)
    else:
        form.addRow(widget.label, widget.native)


def _small_label() -> QLabel:
    """Make a line of small print, which can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setObjectName("moeclip_detail")
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
