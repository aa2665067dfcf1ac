"""Measure the napari plugin: gaps of the event loop, the cost of the viewer to scoring, memory.

Run on a screen, or under xvfb-run, on a quiet machine: `python benchmarks/napari_bench.py [--output FILE.json]`.
The volume is the simulated brain cut to 155 slices, the model the shipped `lite`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import psutil
from napari_moeclip.backend import shared_backend
from napari_moeclip.widget import AnomalyWidget
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

SLICES = 155
LIMIT_SECONDS = 900.0
MIB = 2**20


class Gaps:
    """Times between turns of the event loop, in ms."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(2)

    def stop(self) -> dict[str, float]:
        """End, and sum up."""
        self._timer.stop()
        return {
            "count": len(self.values),
            "median_ms": round(statistics.median(self.values), 1),
            "percentile_99_ms": round(float(np.percentile(self.values, 99)), 1),
            "longest_ms": round(max(self.values), 1),
            "share_up_to_100_ms": round(float(np.mean(np.asarray(self.values) <= 100)), 4),  # noqa: PLR2004
        }

    def _tick(self) -> None:
        now = time.perf_counter()
        self.values.append((now - self._last) * 1000)
        self._last = now


def wait(is_done: Callable[[], bool], each_turn: Callable[[], None] = lambda: None) -> None:
    """Let the viewer work until something is done."""
    start = time.monotonic()
    while not is_done():
        QApplication.processEvents()
        each_turn()
        time.sleep(0.004)
        if time.monotonic() - start > LIMIT_SECONDS:
            message = "the run did not end in time"
            raise TimeoutError(message)


def private_bytes(process_id: int) -> int:
    """Memory of a process that is its own, plus its share of what it shares (Linux: PSS), in bytes."""
    process = psutil.Process(process_id)
    info = process.memory_full_info()
    return int(getattr(info, "pss", info.rss))


def run(widget: AnomalyWidget, viewer: napari.Viewer, *, scroll: bool) -> dict[str, Any]:
    """Score once; measure time, gaps and the highest memory of both processes."""
    backend = shared_backend()
    before = private_bytes(os.getpid()) + private_bytes(backend.process_id)
    highest, turn = [before], [0]

    def each_turn() -> None:
        turn[0] += 1
        if scroll and turn[0] % 8 == 0:
            viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % SLICES)
        if turn[0] % 100 == 0:
            highest[0] = max(highest[0], private_bytes(os.getpid()) + private_bytes(backend.process_id))

    gaps = Gaps()
    widget.runner.run_button.click()
    wait(lambda: widget.is_idle, each_turn)
    outcome = widget.controller.session.outcome
    return {
        "slices": outcome.slices_scored,
        "seconds": round(outcome.seconds, 2),
        "slices_per_second": round(outcome.slices_scored / outcome.seconds, 2),
        "gaps": gaps.stop(),
        "memory_added_mib": round((highest[0] - before) / MIB),
    }


def score_without_viewer(voxels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> dict[str, float]:
    """Score the same volume with the same model in a plain process: this one's child, without a viewer."""
    import subprocess
    import sys
    import tempfile

    code = (
        "import sys, time, json; from moeclip_transforms import read_volume;"
        "from moeclip_med.scoring import load_detector, score_volume;"
        "v = read_volume(sys.argv[1]); d = load_detector('lite'); score_volume(v, d);"
        "a = score_volume(v, d); print(json.dumps(a.provenance['timing']))"
    )
    import nibabel as nib

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "brain.nii"
        nib.save(nib.Nifti1Image(np.ascontiguousarray(voxels), affine), path)
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)  # noqa: S603
    timing: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return timing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    output: Path | None = parser.parse_args().output

    from moeclip_med.demo import simulate_brain, write_nifti

    brain = simulate_brain()
    path = Path(os.environ.get("TMPDIR", ".")) / "napari-bench-brain.nii.gz"
    write_nifti(path, brain.image[:, :, :SLICES], brain.affine)
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1400, 900)
    viewer.open(str(path), plugin="moeclip-med")
    widget = AnomalyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Find anomalies")
    wait(lambda: widget.choices.model_detail.text() not in {"", "…"})
    figures: dict[str, Any] = {"cpu_count": os.cpu_count(), "load_at_start": os.getloadavg()}
    run(widget, viewer, scroll=False)  # the first run loads and compiles the model
    figures["volume_mib_as_float32"] = round(viewer.layers[0].data.size * 4 / MIB)
    figures["viewer_idle"] = run(widget, viewer, scroll=False)
    figures["viewer_scrolling"] = run(widget, viewer, scroll=True)
    viewer.close()
    shared_backend().end()
    path.unlink()
    figures["without_viewer"] = score_without_viewer(brain.image[:, :, :SLICES], brain.affine)
    print(json.dumps(figures, indent=2))
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
