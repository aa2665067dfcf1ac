"""Rehearse a large archive: small studies made on the spot, scored by a worker, stopped half-way, continued.

What is measured is everything but the network: walk, headers, ledger, worker, results, lists. A detector of the tests
takes the place of the model: it scores brightness in no time. Writes docs/scaling.md between its marks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "batch"))
BEGIN, END = "<!-- rehearsed: begin -->", "<!-- rehearsed: end -->"
SLICES, SIDE = 2, 48
MIBIBYTE = 2**20


class StoppedError(Exception):
    """The rehearsal stops its run half-way."""


@dataclass
class Rehearsal:
    """A watcher that looks at time and memory, and stops a run after so many studies.

    Attributes:
        stop_after: Studies after which it stops; None to go on to the end.
    """

    stop_after: int | None = None
    planned_at: float = 0.0
    done_before: int = 0
    started_at: float = field(default_factory=time.perf_counter)
    first_done: tuple[float, int] | None = None
    last_done: tuple[float, int] = (0.0, 0)
    driver_bytes: int = 0
    worker_bytes: list[int] = field(default_factory=list)
    first_cpu: float = 0.0
    last_cpu: float = 0.0

    def planning(self, what: str, done: int, total: int | None) -> None:
        """Not looked at."""

    def planned(self, plan: object, counts: Any) -> None:  # noqa: ANN401, ARG002 - a watcher is told both
        """Note when the archive was known, and how much of it was done before."""
        self.planned_at, self.done_before = time.perf_counter(), counts.finished

    def warn(self, message: str) -> None:
        """Show it."""
        print(message)

    def working(self, counts: Any, slices: object) -> None:  # noqa: ANN401, ARG002 - a watcher is told both
        """Note time and memory; stop where it has to."""
        now = (time.perf_counter(), counts.finished)
        self.first_done = self.first_done or (now if counts.finished > self.done_before else None)
        self.last_done = now
        process = psutil.Process()
        times = [one.cpu_times() for one in (process, *process.children())]
        self.last_cpu = sum(one.user + one.system for one in times)
        self.first_cpu = self.first_cpu or (self.last_cpu if self.first_done else 0.0)
        self.driver_bytes = max(self.driver_bytes, process.memory_info().rss)
        children = [child.memory_info().rss for child in process.children() if child.is_running()]
        self.worker_bytes.append(max(children, default=0))
        if self.stop_after is not None and counts.finished >= self.stop_after:
            raise StoppedError


def write_studies(root: Path, count: int) -> None:
    """Write studies of two DICOM slices each, a hundred to a folder; patients have ten studies each."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"{number // 100:04d}" / f"{number % 100:02d}"
        folder.mkdir(parents=True)
        for index in range(SLICES):
            dataset = pydicom.Dataset()
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.{number}", f"1.2.{number}.1"
            dataset.SOPInstanceUID = f"1.2.{number}.1.{index + 1}"
            dataset.PatientID, dataset.StudyDate = f"P{number // 10}", "20240229"
            dataset.Manufacturer, dataset.ImageType = "Maker", ["ORIGINAL", "PRIMARY", "AXIAL"]
            dataset.InstanceNumber, dataset.FrameOfReferenceUID = index + 1, f"1.2.{number}.2"
            dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 4.0 * index], [1, 0, 0, 0, 1, 0]
            dataset.PixelSpacing, dataset.SliceThickness = [2.5, 2.5], 4.0
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.Rows = dataset.Columns = SIDE
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
            pixels = rng.integers(80, 120, (SIDE, SIDE)).astype("<i2")
            pixels[16:24, 16 : 20 + number % 8] = 800
            dataset.PixelData = pixels.tobytes()
            dataset.save_as(folder / f"{index}.dcm", enforce_file_format=True)


def rehearse(folder: Path, count: int) -> list[str]:
    """Run, stop half-way, go on, run again; returns the lines of the document."""
    from batch_fakes import LIGHT, LoadFake

    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.driver import run_batch
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.triage import write_triage
    from moeclip_med.pipeline import ScoreSettings

    started = time.perf_counter()
    write_studies(folder / "archive", count)
    print(f"{count:,} studies written in {time.perf_counter() - started:.0f} s", flush=True)
    output = folder / "out"
    settings = BatchSettings(folder / "archive", output, ScoreSettings(LIGHT), workers=1, threads=1)

    first = Rehearsal(stop_after=count // 2)
    try:
        run_batch(settings, first, load=LoadFake())
    except StoppedError:
        print(f"stopped after {first.last_done[1]:,} studies", flush=True)
    second = Rehearsal()
    outcome = run_batch(settings, second, load=LoadFake())
    if outcome.counts.finished != count or outcome.has_failures:
        sys.exit(f"the rehearsal did not finish: {outcome.counts}")
    third = Rehearsal()
    started = time.perf_counter()
    run_batch(settings, third, load=LoadFake())
    again = time.perf_counter() - started
    with BatchOutput(output) as opened:
        started = time.perf_counter()
        write_triage(opened, (), identify=False)
        lists = time.perf_counter() - started
    measured = [run for run in (first, second) if run.first_done and run.last_done[1] > run.first_done[1]]
    studies = sum(run.last_done[1] - run.first_done[1] for run in measured if run.first_done)
    seconds = sum(run.last_done[0] - run.first_done[0] for run in measured if run.first_done)
    processor = sum(run.last_cpu - run.first_cpu for run in measured)
    memory = second.worker_bytes
    written = (".batch/ledger.sqlite", ".batch/private.sqlite", "triage.html")
    sizes = {name: (output / name).stat().st_size / MIBIBYTE for name in written}
    until_next = second.first_done[0] - second.started_at if second.first_done else 0.0
    driver = max(first.driver_bytes, second.driver_bytes) / MIBIBYTE
    early, late = memory[len(memory) // 10] / MIBIBYTE, memory[-1] / MIBIBYTE
    ledger, private = sizes[".batch/ledger.sqlite"], sizes[".batch/private.sqlite"]
    facts = {
        f"walk and headers of {count * SLICES:,} files": f"{first.planned_at - first.started_at:.0f} s",
        "studies scored, without the network": f"{studies / seconds:.1f} a second",
        "processor time of driver and worker": f"{1000 * processor / studies:.0f} ms a study",
        "memory of the driver, at most": f"{driver:.0f} MiB",
        "memory of the worker, early and at the end": f"{early:.0f} and {late:.0f} MiB",
        "stopped half-way: until the next study is scored": f"{until_next:.0f} s",
        "run again with nothing to do": f"{again:.0f} s",
        "ledger, and private catalogue": f"{ledger:.1f} and {private:.1f} MiB",
        "triage page, with pictures": f"{sizes['triage.html']:.1f} MiB",
        "all lists written": f"{lists:.1f} s",
    }
    million = 1e6 / count / 1024
    page = sizes["triage.html"] * million
    estimate = (
        f"Measured on {os.cpu_count()} cores at a load of {os.getloadavg()[2]:.1f}, {time.strftime('%Y-%m')}. "
        f"**Estimated** for a million studies, in proportion: a ledger of {ledger * million:.1f} GiB, a page of "
        f"{page:.1f} GiB, which no browser opens (read `triage.parquet`, or divide the archive), "
        f"and {processor / studies * 1e6 / 3600:.0f} h of processor time beside the network."
    )
    head = [f"| {count:,} studies of {SLICES} DICOM slices, one worker | |", "|---|--:|"]
    return [*head, *(f"| {what} | {value} |" for what, value in facts.items()), "", estimate]


def main() -> int:
    """Rehearse and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--document", type=Path, default=REPOSITORY / "docs" / "scaling.md")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rehearse-"))
    try:
        measured = "\n".join(rehearse(folder, arguments.studies))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = arguments.document.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    arguments.document.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")
    print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
