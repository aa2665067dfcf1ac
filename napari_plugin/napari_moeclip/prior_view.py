"""The prior beside the viewer: its picture, how well it fits, and what became of the findings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QLabel, QMenu, QPushButton, QWidget

from napari_moeclip import layers
from napari_moeclip.linked_views import LinkedViews

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer
    from numpy.typing import NDArray

    from moeclip_med.scoring.prior import FindingChange
    from moeclip_med.scoring.registration import RigidFit
    from napari_moeclip import answers

_OUTLINE_WIDTH = 2


class ComparisonPanel(QWidget):
    """Chooses a prior, and says how the findings changed.

    Signals:
        study: An earlier study was chosen, by its path.
        run: A finished run was chosen, by its folder.
        align: Whether to align the prior.
        drop: The prior is to be put away.
    """

    study = Signal(str)
    run = Signal(str)
    align = Signal(bool)
    drop = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.button = QPushButton("Compare with a prior")
        self.button.setToolTip("Show an earlier study of the same patient beside this one, and match the findings")
        menu = QMenu(self.button)
        for text, act in (
            ("Earlier study, a folder …", self._choose_folder),
            ("Earlier study, a file …", self._choose_file),
            ("Finished run …", self._choose_run),
        ):
            menu.addAction(text, act)
        self.button.setMenu(menu)
        self.aligned = QCheckBox("Align (rigid)")
        self.aligned.setToolTip("Move the prior onto this image; off: by its own patient coordinates")
        self.close_button = QPushButton("Close prior")
        self.summary = QLabel()
        self.summary.setObjectName("moeclip_detail")
        self.summary.setWordWrap(True)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button, 0, 0, 1, 2)
        layout.addWidget(self.aligned, 1, 0)
        layout.addWidget(self.close_button, 1, 1)
        layout.addWidget(self.summary, 2, 0, 1, 2)
        self.aligned.clicked.connect(self.align)
        self.close_button.clicked.connect(self.drop)
        self.show_prior(None)

    def show_prior(self, opened: answers.OpenedPrior | None) -> None:
        """Show the controls of a prior; None hides them."""
        for widget in (self.aligned, self.close_button, self.summary):
            widget.setVisible(opened is not None)
        if opened is not None:
            self.aligned.setEnabled(opened.can_align)
            self.aligned.setChecked(opened.fit.is_registered)

    def show_changes(self, changes: tuple[FindingChange, ...]) -> None:
        """Say what became of the findings in all, and what is gone."""
        self.summary.setText("\n".join(summarize_changes(changes)))

    def _choose_folder(self) -> None:
        self._emit(self.study, QFileDialog.getExistingDirectory(self, "Folder of the earlier study"))

    def _choose_file(self) -> None:
        self._emit(self.study, QFileDialog.getOpenFileName(self, "File of the earlier study")[0])

    def _choose_run(self) -> None:
        self._emit(self.run, QFileDialog.getExistingDirectory(self, "Folder of the finished run"))

    def _emit(self, signal: Any, path: str) -> None:  # noqa: ANN401 - Qt's bound signals have no public type
        if path:
            signal.emit(path)


class PriorView(LinkedViews):
    """The prior's image and findings, beside the viewer: same point, same plane, same scale.

    Args:
        viewer: The viewer that leads.
        image: Its image layer, on which the prior lies.
        values: The prior's image as that layer's data are shown.
        labels: Its findings, likewise.
        window: The values to show as black and white.
    """

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        values: NDArray[np.float32],
        labels: NDArray[np.uint16],
        window: tuple[float, float],
    ) -> None:
        super().__init__(viewer, "prior")
        self.header = QLabel()
        self.header.setWordWrap(True)
        self.header.setContentsMargins(6, 2, 6, 2)
        self.body.insertWidget(0, self.header)
        (self._model,) = self.models
        origin = layers.origin_of(image)
        metadata = {} if origin is None else {layers.METADATA_KEY: origin}
        place = layers.layer_transform(image)
        low, high = window
        self.image = Image(
            values, name="prior", contrast_limits=(low, max(high, np.nextafter(low, np.inf))), colormap=image.colormap,
            interpolation2d="linear", metadata=metadata, **place,
        )  # fmt: skip
        self.labels = Labels(labels, name="findings of the prior", colormap=layers.outline_colormap(None), **place)
        self.labels.contour = _OUTLINE_WIDTH
        for layer in (self.image, self.labels):
            self._model.layers.append(layer)
        self.labels.editable = False
        start = image.contrast_limits if origin is None else layers.start_window(origin.volume)
        self.link(image.events.contrast_limits, partial(self._follow_window, image, start, window))
        self._follow_window(image, start, window)
        self.link(viewer.dims.events.order, self._turn)
        self.link_points()
        self._turn()
        self._follow_point()
        for one, other in ((viewer, self._model), (self._model, viewer)):
            camera = one.scene.camera
            self.link(camera.events.center, partial(self._follow_camera, one, other))
            self.link(camera.events.zoom, partial(self._follow_camera, one, other))
        self._follow_camera(viewer, self._model)

    def refresh(self) -> None:
        """Show what was written into the arrays since."""
        for layer in (self.image, self.labels):
            layer.refresh(extent=False, highlight=False)

    def _turn(self, _: object = None) -> None:
        if len(self._viewer.dims.order) == self._model.dims.ndim:
            self._model.dims.order = self._viewer.dims.order

    def _follow_window(
        self, image: Image, start: Sequence[float], window: tuple[float, float], _: object = None
    ) -> None:
        """Widen or narrow the window as the reader does the image's, from where both started."""
        gain = (window[1] - window[0]) / (start[1] - start[0])
        low, high = (window[0] + (limit - start[0]) * gain for limit in image.contrast_limits)
        if low < high:
            self.image.contrast_limits_range = (
                min(low, self.image.contrast_limits_range[0]),
                max(high, self.image.contrast_limits_range[1]),
            )
            self.image.contrast_limits = (low, high)

    def _follow_camera(self, one: Any, other: Any, _: object = None) -> None:  # noqa: ANN401 - viewers
        if self._is_moving:
            return
        self._is_moving = True
        try:
            other.scene.camera.center = one.scene.camera.center
            other.scene.camera.zoom = one.scene.camera.zoom
        finally:
            self._is_moving = False


def describe_prior(name: str, opened: answers.OpenedPrior) -> str:
    """Say in a few lines what the prior is, how well it fits, and what has to be said of it."""
    return "\n".join((f"Prior: {name}", describe_fit(opened.fit), *(f"⚠ {note}" for note in opened.notes)))


def describe_fit(fit: RigidFit) -> str:
    """Say how a prior lies on the image, and how well it fits."""
    moved = (
        f"aligned: moved {fit.shift_mm:.1f} mm, turned {fit.rotation_degrees:.1f}°"
        if fit.is_registered
        else "by its own patient coordinates"
    )
    if fit.correlation is None or fit.mutual_information is None or fit.overlap is None:
        return f"{moved}; how well it fits is not known"
    return (
        f"{moved}; correlation {fit.correlation:.2f}, mutual information {fit.mutual_information:.2f} bits, "
        f"{fit.overlap:.0%} covered"
    )


def describe_change(change: FindingChange) -> str:
    """Say how a finding changed."""
    if not change.prior:
        return "new since the prior"
    percent = change.growth_percent
    growth = f"{change.growth_ml:+.2f} ml" + ("" if percent is None else f" ({percent:+.0f} %)")
    if not change.current:
        return f"gone since the prior ({change.prior_volume_ml:.2f} ml there)"
    where = ", ".join(map(str, change.prior))
    how = "overlaps" if change.dice else f"{change.distance_mm:.0f} mm from"
    return f"{growth}; {how} finding {where} of the prior ({change.prior_volume_ml:.2f} ml)"


def summarize_changes(changes: tuple[FindingChange, ...]) -> list[str]:
    """Say in a few lines how many findings were matched, how all together grew, and which are gone."""
    matched = [change for change in changes if change.current and change.prior]
    new = sum(len(change.current) for change in changes if not change.prior)
    gone = [change for change in changes if not change.current]
    total = sum(change.growth_ml for change in changes)
    before = sum(change.prior_volume_ml for change in changes)
    percent = f" ({100 * total / before:+.0f} %)" if before > 0 else ""
    lines = [f"{len(matched)} matched, {new} new, {len(gone)} gone; in all {total:+.2f} ml{percent}"]
    return lines + [f"Finding {change.prior[0]} of the prior: {describe_change(change)}" for change in gone]
