"""Make the pictures of README and docs/napari.md: the real plugin on simulated images with the shipped `lite` model.

Run on a screen, or on a virtual one: `make screenshots`. Nothing is drawn by hand; every picture is a screenshot.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import napari
import numpy as np
from napari.settings import get_settings
from napari_moeclip.backend import shared_backend
from napari_moeclip.commands import show_widget
from qtpy.QtWidgets import QApplication
from scipy.spatial.transform import Rotation

from moeclip_med.demo import simulate_brain, write_nifti
from moeclip_med.demo.brain import LESION_RADIUS_MM
from moeclip_med.scoring.review import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_moeclip.widget import AnomalyWidget
    from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WINDOW = (1440, 900)
SMALL_WINDOW = (980, 640)
VOLUME_WINDOW = (1240, 760)
LIMIT_SECONDS = 900
SLICE_MM = 3
"""The brain of the pictures has thicker slices than the sample: it is scored four times."""
EARLIER_RADIUS_MM = 13.0
EARLIER_MOTION = ((6, -4, 8), (7.0, -5.0, 4.0))
"""Where the head lay in the prior: turned about x, y, z by degrees, and moved by mm."""


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


def write_brain(path: Path, radius_mm: float = LESION_RADIUS_MM, motion: NDArray[np.float64] | None = None) -> None:
    """Write the simulated brain, perhaps with another lesion or in another place."""
    brain = simulate_brain(radius_mm)
    affine = (np.eye(4) if motion is None else motion) @ brain.affine
    affine[:3, 2] *= SLICE_MM
    write_nifti(path, np.ascontiguousarray(brain.image[:, :, ::SLICE_MM]), affine)


def picture(viewer: napari.Viewer, name: str) -> None:
    """Save the whole window."""
    wait(0.5)
    viewer.window.screenshot(str(FOLDER / f"{name}.png"), flash=False, canvas_only=False)
    print(f"docs/images/{name}.png")


def run(widget: AnomalyWidget) -> None:
    """Press Run and wait for the end."""
    widget.runner.run_button.click()
    wait(lambda: widget.is_idle)


def decide(widget: AnomalyWidget, decision: Decision) -> None:
    """Decide on the first finding, and wait until the table shows it."""
    table = widget.results.table
    wait(1.0)
    widget.results.review.decide(decision)
    wait(lambda: bool(table.findings[0].review) and table.findings[0].review.decision is decision)


def pictures_of_reading(viewer: napari.Viewer, widget: AnomalyWidget) -> None:
    """Decide on the finding; show three planes."""
    review = widget.results.review
    review.site_text.setText("Brain")
    review.comment.setText("new since the last study")
    review.comment.editingFinished.emit()
    decide(widget, Decision.ACCEPTED)
    picture(viewer, "napari-review")

    widget.choices.planes.click()
    wait(1.0)
    widget.results.table.choose_first()
    viewer.reset_view()
    picture(viewer, "napari-planes")
    widget.choices.planes.click()


def picture_of_prior(viewer: napari.Viewer, widget: AnomalyWidget, folder: Path) -> None:
    """Compare with an earlier study, in which the lesion was smaller and the head lay elsewhere."""
    degrees, shift = EARLIER_MOTION
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift
    write_brain(folder / "earlier study.nii.gz", EARLIER_RADIUS_MM, motion)
    widget.results.comparison.study.emit(str(folder / "earlier study.nii.gz"))
    wait(lambda: widget.controller.comparing.view is not None and widget.is_idle)
    widget.results.table.choose_first()
    viewer.reset_view()
    picture(viewer, "napari-prior")
    viewer.theme = "light"
    picture(viewer, "napari-prior-light")
    viewer.theme = "dark"
    widget.results.comparison.close_button.click()
    wait(lambda: widget.is_idle)


def picture_of_worklist(viewer: napari.Viewer, widget: AnomalyWidget, folder: Path) -> None:
    """Read what a batch scored, and decide on the first."""
    for number, radius in enumerate((15.0, 0.0, 18.0), start=1):
        (folder / "archive" / f"{number}").mkdir(parents=True)
        write_brain(folder / "archive" / f"{number}" / "t1.nii.gz", radius)
    command = ("-m", "moeclip_med", "batch", str(folder / "archive"), "--output", str(folder / "results"), "--quiet")
    subprocess.run([sys.executable, *command], check=True)  # noqa: S603 - this very program
    widget.open_worklist(str(folder / "results"))
    wait(lambda: widget.worklist is not None and len(widget.worklist.items) > 0 and widget.is_idle)
    wait(lambda: len(viewer.layers) > 2)  # noqa: PLR2004 - image, map, findings
    decide(widget, Decision.ACCEPTED)
    wait(lambda: widget.worklist is not None and widget.worklist.items[0].decision == "accepted")
    viewer.reset_view()
    picture(viewer, "napari-worklist")


def pictures_of_experts(viewer: napari.Viewer, widget: AnomalyWidget) -> None:
    """Show which expert took each patch, and hide it again."""
    widget.results.levels.setCurrentIndex(1)
    widget.results.levels.activated.emit(1)
    picture(viewer, "napari-experts")
    widget.results.levels.setCurrentIndex(0)
    widget.results.levels.activated.emit(0)


def main(folder: Path) -> None:
    """Make all pictures; the files that they need are written into a folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    get_settings().appearance.theme = "dark"
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*WINDOW)
    write_brain(folder / "simulated brain.nii.gz")
    viewer.open(str(folder / "simulated brain.nii.gz"), plugin="moeclip-med")
    widget = show_widget(viewer)
    wait(lambda: widget.choices.model_detail.text() not in {"", "…"})
    viewer.reset_view()
    picture(viewer, "napari-ready")

    widget.choices.keep_experts.value = True
    widget.runner.run_button.click()
    wait(lambda: widget.runner.bar.maximum() > 0 and widget.runner.bar.value() > widget.runner.bar.maximum() // 3)
    picture(viewer, "napari-running")
    wait(lambda: widget.is_idle)
    widget.results.table.choose_first()
    wait(1.0)
    picture(viewer, "napari-findings")

    pictures_of_reading(viewer, widget)
    pictures_of_experts(viewer, widget)
    picture_of_prior(viewer, widget, folder)

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

    viewer.layers.clear()
    picture_of_worklist(viewer, widget, folder)
    viewer.close()
    shared_backend().end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, mock.patch.object(Path, "home", return_value=Path(home)):
        main(Path(home))  # the decisions of the pictures are kept in that home
