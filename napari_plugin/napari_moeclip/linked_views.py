"""More views beside the viewer's own, at the same point of the world: the other two planes, or a prior.

napari has one canvas. More viewers stand in a dock, as in napari's example of several viewers.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QMainWindow, QSplitter, QVBoxLayout, QWidget

from napari_moeclip.navigation import prepare_viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari import Viewer

_VOLUME = 3


class LinkedViews(QWidget):
    """Views that stand at the same point of the world as the viewer.

    Args:
        viewer: The viewer that leads.
        titles: One for each view.
    """

    def __init__(self, viewer: Viewer, *titles: str) -> None:
        super().__init__()
        self._viewer = viewer
        self.models = tuple(ViewerModel(title=title) for title in titles)
        self.views: tuple[QtViewer, ...] = tuple(QtViewer(model, show_welcome_screen=False) for model in self.models)
        self._links: list[tuple[Any, Callable[..., None]]] = []
        self._is_moving = False
        self._size = QSize()
        self._on_closed: Callable[[], None] | None = None
        splitter = QSplitter(Qt.Orientation.Horizontal)
        for view in self.views:
            view.setMinimumSize(120, 120)
            splitter.addWidget(view)
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(0, 0, 0, 0)
        self.body.addWidget(splitter, stretch=1)

    def link_points(self) -> None:
        """Move with the viewer, and let it move with a click into any view."""
        self.link(self._viewer.dims.events.point, self._follow_point)
        self.link(self._viewer.events.theme, self._follow_theme)
        self._move_by_click = partial(_go_where_clicked, self._go)
        self._viewer.mouse_drag_callbacks.append(self._move_by_click)
        for model in self.models:
            prepare_viewer(model)
            model.canvas.background_color_override = "black"
            model.dims.events.point.connect(partial(self._lead_point, model))
            model.mouse_drag_callbacks.append(self._move_by_click)
        self._follow_theme()

    def show_dock(self, name: str, on_closed: Callable[[], None]) -> None:
        """Show this under the picture, half as high as that was.

        Args:
            name: The dock's title.
            on_closed: Called when the user closes the dock; not by `let_go`.
        """
        self._on_closed = on_closed
        height, width = self._viewer.canvas.size
        self._size = QSize(width, height // 2)
        dock = self._viewer.window.add_dock_widget(self, name=name, area="bottom")
        dock.destroyed.connect(self._on_dock_gone)
        window = self.window()
        if isinstance(window, QMainWindow):  # under the docks at the sides, too, it would make a small window grow
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return how large Qt is to show the dock at first."""
        return self._size

    def _on_dock_gone(self, _: object = None) -> None:
        if self._on_closed is not None:
            self._on_closed()

    def link(self, emitter: Any, callback: Callable[..., None]) -> None:  # noqa: ANN401 - napari's emitters
        """Hear what the viewer or its layers emit, until this is let go."""
        emitter.connect(callback)
        self._links.append((emitter, callback))

    def fit(self) -> None:
        """Show the whole image in every view."""
        for model in self.models:
            model.fit_to_view()

    def let_go(self) -> None:
        """Hear no more from the viewer, which outlives this, and close views and dock; again has no effect."""
        self._on_closed = None
        for emitter, callback in self._links:
            with suppress(ValueError, RuntimeError):
                emitter.disconnect(callback)
        self._links.clear()
        with suppress(ValueError):
            self._viewer.mouse_drag_callbacks.remove(self._move_by_click)
        views, self.views = self.views, ()
        for view in views:
            with suppress(RuntimeError):  # Qt's part went with the window
                view.close()
        for model in self.models:
            model.layers.events.end_batch.disconnect()  # a closed canvas would collect garbage, which takes long
            model.layers.clear()
        with suppress(LookupError, RuntimeError, AttributeError):  # the user closed the dock, or napari its window
            self._viewer.window.remove_dock_widget(self)
        with suppress(RuntimeError):
            self.deleteLater()

    def _follow_theme(self, _: object = None) -> None:
        for model in self.models:
            model.theme = self._viewer.theme

    def _follow_point(self, _: object = None) -> None:
        self._go(self._viewer.dims.point)

    def _lead_point(self, model: ViewerModel, _: object = None) -> None:
        self._go(model.dims.point)

    def _go(self, point: Any) -> None:  # noqa: ANN401 - a sequence of numbers
        """Move all views to a point of the world."""
        if self._is_moving:
            return
        self._is_moving = True
        try:
            for viewer in (self._viewer, *self.models):
                ndim = viewer.dims.ndim
                if len(point) >= ndim:
                    viewer.dims.set_point(range(ndim), [float(value) for value in point[-ndim:]])
            self._went(point)
        finally:
            self._is_moving = False

    def _went(self, point: Any) -> None:  # noqa: ANN401 - a sequence of numbers
        """React to a move."""


def _go_where_clicked(go: Callable[[Any], None], viewer: Any, event: Any) -> Iterator[None]:  # noqa: ANN401
    """Move to where the mouse was pressed and let go; a drag moves the camera, and a tool keeps its clicks."""
    active = viewer.layers.selection.active
    is_free = active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"
    start = np.asarray(event.pos)
    yield
    while event.type == "mouse_move":
        yield
    is_click = np.abs(np.asarray(event.pos) - start).max() < 4  # noqa: PLR2004 - pixels that a hand moves in a click
    if is_free and is_click and event.button == 1 and not event.modifiers and viewer.dims.ndisplay != _VOLUME:
        go(event.position)
