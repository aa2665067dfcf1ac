"""Make the pictures of README and docs/napari.md: the real plugin on simulated images with the shipped `lite` model.

Run on a screen, or on a virtual one: `make screenshots`. Nothing is drawn by hand; every picture is a screenshot.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import napari
from napari.settings import get_settings
from napari_moeclip.backend import shared_backend
from napari_moeclip.commands import show_widget
from qtpy.QtWidgets import QApplication

from moeclip_med.scoring.review import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_moeclip.widget import AnomalyWidget

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WINDOW = (1440, 900)
SMALL_WINDOW = (980, 640)
VOLUME_WINDOW = (1240, 760)
LIMIT_SECONDS = 900
SHOWN_THRESHOLD = 0.3
"""The pictures of the brain are made at this threshold, as docs/napari.md says."""


def wait(is_done: Callable[[], bool] | float) -> None:
    """Let the viewer work until something is done, or for some seconds."""
    start = time.monotonic()
    limit = LIMIT_SECONDS if callable(is_done) else is_done
    while time.monotonic() - start < limit:
        QApplication.processEvents()
        if callable(is_done) and is_done():
            return
        time.sleep(0.01)
    if callable(is_done):
        sys.exit("a step of the screenshots did not end in time")


def picture(viewer: napari.Viewer, name: str) -> None:
    """Save the whole window."""
    wait(0.5)
    viewer.window.screenshot(str(FOLDER / f"{name}.png"), flash=False, canvas_only=False)
    print(f"docs/images/{name}.png")


def run(widget: AnomalyWidget) -> None:
    """Press Run and wait for the end."""
    widget.runner.run_button.click()
    wait(lambda: widget.is_idle)


def pictures_of_reading(viewer: napari.Viewer, widget: AnomalyWidget) -> None:
    """Decide on two findings; show three planes."""
    review = widget.results.review
    review.site_text.setText("Brain")
    review.comment.setText("new since the last study")
    review.comment.editingFinished.emit()
    wait(2.0)
    review.decide(Decision.ACCEPTED)
    wait(2.0)
    if len(widget.results.table.findings) > 1:
        widget.results.table.step(1)
        review.decide(Decision.REJECTED)
        wait(2.0)
        widget.results.table.choose_first()
    picture(viewer, "napari-review")

    widget.choices.planes.click()
    wait(1.0)
    widget.results.table.choose_first()
    viewer.reset_view()
    picture(viewer, "napari-planes")
    widget.choices.planes.click()


def pictures_of_experts(viewer: napari.Viewer, widget: AnomalyWidget) -> None:
    """Show which expert took each patch, and hide it again."""
    widget.results.levels.setCurrentIndex(1)
    widget.results.levels.activated.emit(1)
    picture(viewer, "napari-experts")
    widget.results.levels.setCurrentIndex(0)
    widget.results.levels.activated.emit(0)


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    get_settings().appearance.theme = "dark"
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*WINDOW)
    viewer.open_sample("moeclip-med", "simulated_brain")
    widget = show_widget(viewer)
    wait(lambda: widget.choices.model_detail.text() not in {"", "…"})
    viewer.reset_view()
    picture(viewer, "napari-ready")

    widget.choices.keep_experts.value = True
    widget.runner.run_button.click()
    wait(lambda: widget.runner.bar.maximum() > 0 and widget.runner.bar.value() > widget.runner.bar.maximum() // 3)
    picture(viewer, "napari-running")
    wait(lambda: widget.is_idle)
    widget.results.threshold.setValue(SHOWN_THRESHOLD)
    wait(2.0)
    widget.results.table.choose_first()
    picture(viewer, "napari-findings")

    pictures_of_reading(viewer, widget)
    pictures_of_experts(viewer, widget)

    viewer.theme = "light"
    picture(viewer, "napari-light")
    viewer.window.resize(*SMALL_WINDOW)
    viewer.reset_view()
    picture(viewer, "napari-small")
    viewer.theme = "dark"

    viewer.window.resize(*VOLUME_WINDOW)
    wait(0.5)
    widget.results.three_d.click()
    viewer.scene.camera.angles = (-10, 35, 120)
    picture(viewer, "napari-3d")
    widget.results.three_d.click()

    viewer.window.resize(*WINDOW)
    viewer.layers.clear()
    viewer.open_sample("moeclip-med", "simulated_endoscopy")
    run(widget)
    viewer.reset_view()
    picture(viewer, "napari-endoscopy")
    viewer.close()
    shared_backend().end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, mock.patch.object(Path, "home", return_value=Path(home)):
        main()  # the decisions of the pictures are kept in that home
