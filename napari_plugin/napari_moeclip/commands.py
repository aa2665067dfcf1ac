"""What the menu entries do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari import Viewer

    from napari_moeclip.widget import AnomalyWidget


def show_widget(viewer: Viewer) -> AnomalyWidget:
    """Show the widget, docked on the right; the one that is there, if any."""
    from napari_moeclip.widget import AnomalyWidget

    _, widget = viewer.window.add_plugin_dock_widget("moeclip-med", "Find anomalies")
    if not isinstance(widget, AnomalyWidget):
        message = f"napari gave a {type(widget).__name__} for the widget"
        raise TypeError(message)
    return widget


def open_run(viewer: Viewer) -> None:
    """Ask for the folder of a finished run and show it."""
    show_widget(viewer).choose_run()


def open_worklist(viewer: Viewer) -> None:
    """Ask for the output folder of a batch and read it study by study."""
    show_widget(viewer).choose_worklist()
