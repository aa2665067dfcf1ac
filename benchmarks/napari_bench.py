"""Measure the napari plugin: gaps of the event loop, what the viewer costs scoring and opening, memory.

Run on a screen, or under xvfb-run, on a quiet machine: `python benchmarks/napari_bench.py [--output FILE.json]`.
The volume is the simulated brain in 155 slices of 240 x 240 voxels, the model the shipped `lite`; the series to open
has 500 slices of 512 x 512 pixels under a CT scanner's headers, and once under the bare headers of a simulation, which
take half as long to read. What is compared with the viewer runs in a plain process, in turn with
it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari_moeclip.widget import AnomalyWidget
    from numpy.typing import NDArray

SLICES, SIDE = 155, 240
SERIES_SHAPE = (512, 512, 500)
ROUNDS, OPENINGS = 5, 9
LIMIT_SECONDS = 300.0
SMOOTH_MS = 100
MIB = 2**20

Record = dict[str, Any]


class Gaps:
    """Times between deferred callbacks of the event loop, in ms."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.values: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(2)

    def stop(self) -> Record:
        """End, and sum up."""
        self._timer.stop()
        values = np.asarray(self.values)
        return {
            "count": len(values),
            "median_ms": round(float(np.median(values)), 1),
            "percentile_99_ms": round(float(np.percentile(values, 99)), 1),
            "longest_ms": round(float(values.max()), 1),
            "share_up_to_100_ms": round(float(np.mean(values <= SMOOTH_MS)), 4),
        }

    def _tick(self) -> None:
        now = time.perf_counter()
        self.values.append((now - self._last) * 1000)
        self._last = now


class Plain:
    """A process without a viewer that does what it is told, and says how long it took."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - this very script
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")

    def seconds(self, what: str, path: Path) -> float:
        """Seconds of "score" or "open"."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            message = "the plain process has no pipes"
            raise RuntimeError(message)
        stdin.write(json.dumps([what, str(path)]) + "\n")
        stdin.flush()
        return float(stdout.readline())


def serve() -> None:
    """Be the plain process."""
    from moeclip_transforms import open_source, read_volume

    from moeclip_med.scoring import load_detector, score_volume

    detector = load_detector("lite")
    volumes: dict[str, Any] = {}
    for line in sys.stdin:
        what, path = json.loads(line)
        if what == "score":
            volume = volumes.setdefault(path, read_volume(path))
            started = time.perf_counter()
            score_volume(volume, detector)
        else:
            started = time.perf_counter()
            with open_source(path) as source:
                source.read(source.series[0])
        print(time.perf_counter() - started, flush=True)


def wait(is_done: Callable[[], bool]) -> None:
    """Let the viewer's own event loop run until something is done."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, look, limit = QEventLoop(), QTimer(), QTimer()
    look.timeout.connect(lambda: loop.quit() if is_done() else None)
    look.start(10)
    limit.timeout.connect(lambda: loop.exit(1))
    limit.start(int(LIMIT_SECONDS * 1000))
    if loop.exec():
        message = "a step did not end in time"
        raise TimeoutError(message)


def every(milliseconds: int, act: Callable[[], None]) -> Any:  # noqa: ANN401 - a QTimer, whose module is imported late
    """Do something again and again until the timer that is given back is dropped."""
    from qtpy.QtCore import QTimer

    timer = QTimer()
    timer.timeout.connect(act)
    timer.start(milliseconds)
    return timer


def own_bytes(process_id: int) -> int:
    """Memory of a process that no file on disk backs, its share of shared memory included, in bytes (Linux).

    Libraries are excluded: their pages are divided among all programs that use them, whatever those do.
    """
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return 1024 * sum(kilobytes)


def run(widget: AnomalyWidget) -> float:
    """Score once; give the seconds that scoring took."""
    widget.runner.run_button.click()
    wait(lambda: widget.is_idle)
    session = widget.controller.session
    if session is None or session.outcome is None:
        message = "the run failed"
        raise RuntimeError(message)
    return session.outcome.seconds


def measure_gaps(widget: AnomalyWidget, viewer: napari.Viewer, *, scroll: bool) -> Record:
    """Score once while the event loop is watched, and perhaps while a user scrolls through the slices."""

    def turn() -> None:
        viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % SLICES)

    scrolling = every(30, turn) if scroll else None
    gaps = Gaps()
    seconds = run(widget)
    del scrolling
    return {"seconds": round(seconds, 2)} | gaps.stop()


def measure_scrolling(widget: AnomalyWidget, viewer: napari.Viewer) -> Record:
    """Scroll through all slices of a scored volume; give the ms that a picture takes, in one plane and in three."""
    from qtpy.QtWidgets import QApplication

    def milliseconds() -> float:
        times = []
        for step in range(SLICES):
            started = time.perf_counter()
            viewer.dims.set_current_step(0, step)
            QApplication.processEvents()  # draws
            times.append((time.perf_counter() - started) * 1000)
        return round(statistics.median(times), 1)

    one = milliseconds()
    widget.choices.planes.click()
    wait(lambda: widget.planes is not None)
    three = milliseconds()
    widget.choices.planes.click()
    return {"one_plane_ms": one, "three_planes_ms": three}


def measure_memory(widget: AnomalyWidget, volume_mib: float) -> Record:
    """Score for the first time with a model that is loaded; give the highest memory of both processes together."""
    from napari_moeclip.backend import shared_backend

    def used() -> int:
        return own_bytes(os.getpid()) + own_bytes(shared_backend().process_id)

    seen = [used()]
    watch = every(300, lambda: seen.append(used()))
    run(widget)
    del watch
    seen.append(used())
    added = (max(seen) - seen[0]) / MIB
    kept = (seen[-1] - seen[0]) / MIB
    return {
        "volume_mib_as_float32": round(volume_mib),
        "added_mib_at_most": round(added),
        "added_mib_in_the_end": round(kept),
        "added_in_volumes": round(added / volume_mib, 2),
    }


def open_in(viewer: napari.Viewer, path: Path) -> float:
    """Seconds until a series is on screen."""
    started = time.perf_counter()
    viewer.open(str(path), plugin="moeclip-med")
    wait(lambda: True)
    seconds = time.perf_counter() - started
    viewer.layers.clear()
    return seconds


def add_in(viewer: napari.Viewer, data: NDArray[np.float32]) -> float:
    """Seconds until napari alone shows an array that is in memory already."""
    started = time.perf_counter()
    viewer.add_image(data, contrast_limits=(0, 2000))
    wait(lambda: True)
    seconds = time.perf_counter() - started
    viewer.layers.clear()
    return seconds


def write_scanner_series(folder: Path) -> None:
    """Noise under a CT scanner's real headers (258 elements; pydicom's test file CT_small.dcm)."""
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    columns, dataset.Rows, slices = SERIES_SHAPE
    dataset.Columns = columns
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(slices):
        uid = pydicom.uid.generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], float(number)]
        dataset.PixelData = rng.integers(0, 2000, SERIES_SHAPE[:2], dtype=np.int16).tobytes()
        dataset.save_as(folder / f"{number:04d}.dcm")


def measure_opening(viewer: napari.Viewer, plain: Plain, series: Path) -> Record:
    """Open a series of 500 slices with and without the viewer, and an array in napari without reading, in turn."""
    data = np.zeros(SERIES_SHAPE[::-1], dtype=np.float32)
    rows = [(open_in(viewer, series), plain.seconds("open", series), add_in(viewer, data)) for _ in range(OPENINGS + 1)]
    all_with, all_without, all_alone = zip(*rows[1:], strict=True)
    with_viewer, without, alone = (statistics.median(times) for times in (all_with, all_without, all_alone))
    return {
        "slices": SERIES_SHAPE[2],
        "seconds_in_viewer": round(with_viewer, 2),
        "seconds_plain": round(without, 2),
        "seconds_napari_alone": round(alone, 2),
        "from_to_in_viewer": [round(min(all_with), 2), round(max(all_with), 2)],
        "from_to_plain": [round(min(all_without), 2), round(max(all_without), 2)],
        "ratio": round(with_viewer / without, 2),
        "ratio_to_plain_and_napari_alone": round(with_viewer / (without + alone), 2),
        "ratio_of_fastest": round(min(all_with) / min(all_without), 2),
    }


def measure_scoring(viewer: napari.Viewer, plain: Plain, path: Path, first: Path) -> Record:
    """Score 155 slices with and without the viewer, in turn; then once watched, and once watched while scrolling."""
    from napari_moeclip.commands import show_widget

    viewer.open(str(first), plugin="moeclip-med")
    widget = show_widget(viewer)
    run(widget)  # loads and compiles the model
    viewer.layers.clear()
    (layer,) = viewer.open(str(path), plugin="moeclip-med")
    memory = measure_memory(widget, layer.data.size * 4 / MIB)
    plain.seconds("score", path)
    pairs = [(run(widget), plain.seconds("score", path)) for _ in range(ROUNDS)]
    with_viewer, without = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "slices": SLICES,
        "seconds_in_viewer": round(with_viewer, 2),
        "seconds_plain": round(without, 2),
        "slowdown": round(with_viewer / without - 1, 3),
        "gaps_idle": measure_gaps(widget, viewer, scroll=False),
        "gaps_scrolling": measure_gaps(widget, viewer, scroll=True),
        "scrolling_after": measure_scrolling(widget, viewer),
        "memory": memory,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return

    import napari
    from napari_moeclip.backend import shared_backend

    from moeclip_med.demo import simulate_brain, write_dicom_series, write_nifti

    brain = simulate_brain()
    margins = [(0, SIDE - length) for length in brain.image.shape[:2]]
    image = np.pad(brain.image[:, :, :SLICES], [*margins, (0, 0)], constant_values=brain.image.min())
    figures: Record = {"cpu_count": os.cpu_count(), "load_at_start": round(os.getloadavg()[0], 2)}
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1400, 900)
    with tempfile.TemporaryDirectory() as name, Plain() as plain:
        path = Path(name) / "brain.nii.gz"
        write_nifti(path, image, brain.affine)
        write_scanner_series(Path(name) / "scanner")
        figures["opening"] = measure_opening(viewer, plain, Path(name) / "scanner")
        noise = np.random.default_rng(0).integers(0, 1000, SERIES_SHAPE, dtype=np.int16)
        write_dicom_series(Path(name) / "bare", noise, np.eye(4), "SIMULATED noise")
        del noise
        figures["opening_bare_headers"] = measure_opening(viewer, plain, Path(name) / "bare")
        first = Path(name) / "first.nii.gz"
        write_nifti(first, image[:, :, ::8], brain.affine)  # as many slices as the network takes at a time
        figures["scoring"] = measure_scoring(viewer, plain, path, first)
        viewer.close()
        shared_backend().end()
    if options.output is not None:
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
