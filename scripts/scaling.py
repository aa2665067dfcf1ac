"""Measure what the batch costs per study, per file and per row, and what two workers make of two cores.

Writes docs/scaling.md between its marks; takes about four minutes on two idle cores. The plan there for many machines
is arithmetic on these numbers, done here as well, so that it cannot drift from them.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SLICES, SIZE = 12, 512
SETTLED = 4
"""Studies before the clock starts: by then every worker has its model."""

NODES, CORES, REAL_SLICES = 1000, 16, 300
"""The cluster that is estimated, and the slices of a study there."""


@dataclass
class Clock:
    """A watcher that notes when studies are finished."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def planning(self, what: str, done: int, total: int | None) -> None:
        """Not looked at."""

    def planned(self, plan: object, counts: object) -> None:
        """Not looked at."""

    def warn(self, message: str) -> None:
        """Show it."""
        print(message)

    def working(self, counts: Any, slices: object) -> None:  # noqa: ANN401, ARG002 - a watcher is told both
        """Note the time of each study."""
        if not self.seen or counts.finished > self.seen[-1][1]:
            self.seen.append((time.perf_counter(), counts.finished))

    def studies_per_second(self) -> float:
        """Throughput once all workers are at work."""
        start = next(moment for moment in self.seen if moment[1] >= SETTLED)
        (last, done) = self.seen[-1]
        return (done - start[1]) / (last - start[0])


def write_archive(root: Path, count: int) -> int:
    """Simulated DICOM series of 512×512 slices; returns the bytes of one study."""
    from moeclip_med.demo.files import write_dicom_series

    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (SIZE, SIZE, SLICES)], indexing="ij"))
    body = ((grid / np.array([0.7, 0.85, 1.4])[:, None, None, None]) ** 2).sum(axis=0) < 1
    for number in range(count):
        noise = np.random.default_rng(number).normal(400, 30, body.shape)
        image = np.where(body, noise, 0).clip(0, 2000).astype(np.int16)
        write_dicom_series(root / f"{number:03d}", image, np.diag([-0.5, -0.5, 5.0, 1.0]), f"SIMULATED {number}")
    return sum(path.stat().st_size for path in (root / "000").iterdir())


def run(root: Path, output: Path, workers: int, address: str | None) -> float:
    """Score the archive; gives studies per second."""
    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.driver import run_batch
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.results import ResultFormat

    formats = frozenset({ResultFormat.NIFTI, ResultFormat.JSON, ResultFormat.CSV})
    clock = Clock()
    settings = BatchSettings(
        root, output, ScoreSettings(formats), workers=workers, threads=1, ray_address=address, identify=True
    )
    outcome = run_batch(settings, clock)
    if outcome.has_failures:
        sys.exit(f"a study failed: {outcome.counts}")
    return clock.studies_per_second()


def maps(output: Path) -> dict[str, bytes]:
    """The unpacked anomaly map of each source series."""
    import csv

    with (output / "triage.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["series_uid"]: gzip.decompress((output / row["folder"] / "anomaly.nii.gz").read_bytes()) for row in rows
    }


def measure_throughput(folder: Path, count: int) -> dict[str, float]:
    """One and two single-thread workers, as processes and on a Ray cluster of two nodes."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found: dict[str, float] = {"study bytes": write_archive(folder / "archive", count)}
    for workers in (1, 2):
        found[f"local {workers}"] = run(folder / "archive", folder / f"local-{workers}", workers, None)
        print(f"{workers} local workers: {found[f'local {workers}']:.3f} studies/s", flush=True)
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    for workers in (1, 2):
        found[f"ray {workers}"] = run(folder / "archive", folder / f"ray-{workers}", workers, cluster.address)
        print(f"{workers} workers on Ray: {found[f'ray {workers}']:.3f} studies/s", flush=True)
    ray.shutdown()
    cluster.shutdown()
    results = [path for path in (folder / "local-1" / "studies").rglob("*") if path.is_file()]
    found["result bytes"] = sum(path.stat().st_size for path in results) / count
    alone = maps(folder / "local-1")
    found["same bits"] = float(all(maps(folder / name) == alone for name in ("local-2", "ray-1", "ray-2")))
    return found


def measure_driver(folder: Path, count: int) -> dict[str, float]:
    """What the driver does per file, per study and per row, on a ledger of so many studies."""
    from moeclip_med.batch.headers import look_at_file
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.planning import walk
    from moeclip_med.batch.records import FileStamp, PrivateDetail, SeriesRecord, SeriesState, StudyJob, StudyReport
    from moeclip_med.batch.records import StudyState as State
    from moeclip_med.batch.triage import write_triage

    found: dict[str, float] = {}
    paths = sorted((folder / "archive").rglob("*.dcm"))
    with BatchOutput(folder / "driver") as output:
        started = time.perf_counter()
        for path in paths:
            look_at_file(path, output.pseudonyms)
        found["headers/s"] = len(paths) / (time.perf_counter() - started)
        for number in range(20_000):
            place = folder / "many" / f"{number // 500}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.dcm").touch()
        started = time.perf_counter()
        found["files walked/s"] = sum(1 for _ in walk(folder / "many")) / (time.perf_counter() - started)

        files = tuple(FileStamp(Path(f"/archive/{number:04d}.dcm"), 500_000, 1) for number in range(REAL_SLICES))
        with output.ledger.transaction():
            for number in range(count):
                output.ledger.add_study(f"study-{number:012d}", "patient-a", "s" * 64, list(files))
        run_number = output.ledger.start_run("measure")
        steps = min(count, 2000)
        reports = []
        started = time.perf_counter()
        for number in range(steps):
            row = output.ledger.claim(run_number)
            assert row is not None  # noqa: S101 - there are enough
            output.catalogue.files_of(row.study)
            record = SeriesRecord(f"series-{number:012d}", SeriesState.DONE, score=0.5, notes=("A note.",) * 3)
            detail = PrivateDetail(record.series, "1.2.840." + "9" * 40)
            reports.append(StudyReport(row.study, State.DONE, series=(record,), private=(detail,)))
            output.catalogue.add_details(reports[-1].private)
            output.ledger.finish(reports[-1])
        found["driver studies/s"] = steps / (time.perf_counter() - started)
        for number in range(steps, count):
            record = SeriesRecord(f"series-{number:012d}", SeriesState.DONE, score=0.5)
            output.ledger.finish(StudyReport(f"study-{number:012d}", State.DONE, series=(record,)))
        started = time.perf_counter()
        output.ledger.counts()
        found["count s"] = time.perf_counter() - started
        started = time.perf_counter()
        write_triage(output, [], identify=False)
        found["rows written/s"] = count / (time.perf_counter() - started)
        found["job bytes"] = len(pickle.dumps(StudyJob("study-a", "patient-a", files, "s" * 64)))
        found["report bytes"] = len(pickle.dumps(reports[0]))
    return found


def render(found: dict[str, float], count: int, rows: int) -> str:
    """Make the measured part of the document, and the plan that follows from it."""
    workers = NODES * CORES
    slice_seconds = 1 / found["local 1"] / SLICES
    cluster = workers / (slice_seconds * REAL_SLICES)
    share = REAL_SLICES / SLICES
    read, written = found["study bytes"] * share * cluster, found["result bytes"] * share * cluster
    megabyte, gigabit = 1e6, 1e9 / 8
    network = (found["job bytes"] + found["report bytes"]) * cluster
    limits = {
        "the archive's storage, per 10 Gbit/s of reading": 10 * gigabit / (found["study bytes"] * share),
        "the output's storage, per 10 Gbit/s of writing": 10 * gigabit / (found["result bytes"] * share),
        "the driver: ledger and catalogue": found["driver studies/s"],
        "the driver: jobs and reports over 1 Gbit/s": gigabit / (found["job bytes"] + found["report bytes"]),
    }
    lines = [
        "| measured | |",
        "|---|--:|",
        (
            f"| one worker, one thread ({count} studies of {SLICES} slices, {SIZE}×{SIZE}) | "
            f"{found['local 1']:.3f} studies/s, {slice_seconds * 1000:.0f} ms a slice |"
        ),
        f"| two such workers | {found['local 2']:.3f} studies/s: {found['local 2'] / found['local 1']:.2f} × |",
        f"| one on Ray | {found['ray 1']:.3f} studies/s |",
        (
            f"| two on Ray, one on each of two nodes | {found['ray 2']:.3f} studies/s: "
            f"{found['ray 2'] / found['ray 1']:.2f} × |"
        ),
        f"| maps of all four runs | {'the same, bit for bit' if found['same bits'] else 'DIFFERENT'} |",
        f"| read per slice | {found['study bytes'] / SLICES / megabyte:.2f} MB |",
        f"| written per slice (map, tables, thumbnail) | {found['result bytes'] / SLICES / megabyte:.3f} MB |",
        f"| names found by the walk | {found['files walked/s']:,.0f} files/s |",
        f"| headers read, by one process | {found['headers/s']:,.0f} files/s |",
        (
            f"| driver: claim, look up, enter one study, {rows:,} in the ledger | "
            f"{found['driver studies/s']:,.0f} studies/s |"
        ),
        f"| driver: count all of them by state | {found['count s'] * 1000:.0f} ms |",
        f"| triage list (HTML, CSV, Parquet) | {found['rows written/s']:,.0f} rows/s |",
        (
            f"| sent to a worker per study of {REAL_SLICES} files, and back | {found['job bytes'] / 1000:.1f} kB and "
            f"{found['report bytes'] / 1000:.1f} kB |"
        ),
        "",
        (
            f"Measured on {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, `lite`."
        ),
        "",
        f"### Estimated for {NODES:,} nodes",
        "",
        (
            f"{NODES:,} nodes of {CORES} such cores are {workers:,} single-thread workers. At "
            f"{slice_seconds * 1000:.0f} ms a slice and {REAL_SLICES} slices a study they finish "
            f"**{cluster:.0f} studies a second**, a million in {1e6 / cluster / 60:.0f} minutes, if everything else "
            f"keeps up. For that they read {read / 1e9:.1f} GB/s, write {written / 1e9:.1f} GB/s, and exchange "
            f"{network / megabyte:.1f} MB/s with the driver."
        ),
        "",
        "| what | keeps up with, studies/s | of what the workers could do |",
        "|---|--:|--:|",
        *(
            f"| {name} | {limit:,.0f} | {limit / cluster:.0%} |"
            for name, limit in sorted(limits.items(), key=lambda item: item[1])
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--document", type=Path, default=REPOSITORY / "docs" / "scaling.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        found = measure_throughput(Path(name), arguments.studies)
        found |= measure_driver(Path(name), arguments.rows)
    text = arguments.document.read_text(encoding="utf-8")
    measured = render(found, arguments.studies, arguments.rows)
    arguments.document.write_text(
        f"{text.split(BEGIN)[0]}{BEGIN}\n{measured}\n{END}{text.split(END)[1]}", encoding="utf-8"
    )
    print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
