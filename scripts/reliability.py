"""Feed every file of three test collections, and damaged copies of them, to a worker of the batch; count what happens.

Then fuzz the readers, model descriptions, DICOMweb answers and texts, guided by coverage (scripts/fuzz.py). Writes
docs/reliability.md between its marks. Takes an hour or two on two cores;
`--mutations 50 --studies 20 --fuzz-seconds 20` is a try.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "batch"))

MIBIBYTE = 2**20
STUDY_SECONDS = 60.0
SLACK_BYTES = 64 * MIBIBYTE
"""What the allocator keeps between studies."""

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass
class MemoryTally:
    """What became of one group of files.

    Attributes:
        counts: By outcome: scored, excluded, refused, crashed, hung.
        too_much: Files that took more memory than allowed.
        worst_bytes: Most memory beyond an idle worker and what a batch expects of the series, bytes.
        seconds: Time in all, s.
        examples: Messages of crashes, hangs and memory, for the terminal.
    """

    counts: Counter[str] = field(default_factory=Counter)
    too_much: int = 0
    worst_bytes: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)


class Worker:
    """One worker of the batch, watched from outside."""

    def __init__(self, folder: Path) -> None:
        from moeclip_med.batch.batch_settings import ModelChoice
        from moeclip_med.batch.local import Limits, LocalExecutor
        from moeclip_med.batch.pseudonyms import Pseudonyms
        from moeclip_med.batch.records import WorkOrder
        from moeclip_med.batch.workers import Ready
        from moeclip_med.pipeline import ScoreSettings
        from moeclip_med.results import ResultFormat

        output = folder / "out"
        (output / ".batch" / "unfinished").mkdir(parents=True)
        self.names = Pseudonyms.kept_in(output / ".batch" / "key")
        formats = frozenset(ResultFormat) - {ResultFormat.RAW, ResultFormat.ROUTING}
        order = WorkOrder(
            root=folder, output=output, settings=ScoreSettings(formats), filters=(), key=self.names.key,
            fingerprint="reliability", memory_bytes=8 * 2**30, thumbnails=True,
        )  # fmt: skip
        self.executor = LocalExecutor(1, ModelChoice(), order, Limits(1, STUDY_SECONDS, 12 * 2**30))
        self.idle_bytes = 0
        self.warmers: tuple[Path, ...] = ()
        while not any(isinstance(event, Ready) for event in self.executor.wait(1.0)):
            pass

    @property
    def process(self) -> int:
        """The worker's process id; another one after it was replaced."""
        return self.executor.workers[0].process_id

    def score(self, path: Path) -> tuple[object, int, float]:
        """Score one file; returns the event that ended it, the memory taken beyond idle in bytes, and the time, s."""
        from moeclip_med.batch.records import FileStamp, StudyJob
        from moeclip_med.batch.resources import resident_bytes
        from moeclip_med.batch.workers import Finished, Lost

        facts = path.stat()
        stamps = (FileStamp(path, facts.st_size, facts.st_mtime_ns),)
        name = self.names.study(f"{path} {time.time_ns()}")
        while not self.executor.free():
            self.executor.wait(0.2)
        process = self.process
        idle = resident_bytes(process) or 0
        reset_peak(process)
        started = time.perf_counter()
        self.executor.submit(StudyJob(name, "patient", stamps, self.names.signature(stamps)))
        while True:
            for event in self.executor.wait(1.0):
                if isinstance(event, Finished | Lost):
                    return event, peak_bytes(process) - idle, time.perf_counter() - started

    def warm_up(self, *paths: Path) -> None:
        """Score some files, so that the network, its arithmetic and the codecs are loaded as on any night."""
        from moeclip_med.batch.resources import resident_bytes

        self.warmers = paths
        for path in paths * 2:
            self.score(path)
        self.idle_bytes = resident_bytes(self.process) or 0


def reset_peak(process: int) -> None:
    """Let Linux forget the highest memory so far (proc(5): clear_refs)."""
    Path("/proc", str(process), "clear_refs").write_text("5", encoding="ascii")


def peak_bytes(process: int) -> int:
    """The highest resident memory since; 0 where the process is gone."""
    try:
        lines = Path("/proc", str(process), "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def enter(tally: MemoryTally, worker: Worker, label: str, path: Path) -> None:
    """Score one file and enter what became of it."""
    event, taken, seconds = worker.score(path)
    outcome, expected, said = classify(event)
    if outcome == "hung":  # what hangs does so again; a machine that was held up meanwhile does not
        event, taken, seconds = worker.score(path)
        outcome, expected, said = classify(event)
    if outcome in {"crashed", "hung"}:  # another process took its place, and has loaded nothing yet
        worker.warm_up(*worker.warmers)
    tally.counts[outcome] += 1
    tally.seconds += seconds
    beyond = taken - expected
    tally.worst_bytes = max(tally.worst_bytes, beyond)
    if outcome in {"crashed", "hung"}:
        tally.examples.append(f"{outcome}: {label}: {said}")
    if beyond > SLACK_BYTES:
        tally.too_much += 1
        tally.examples.append(
            f"memory: {label}: {beyond / MIBIBYTE:.0f} MiB beyond, expected {expected / MIBIBYTE:.0f}"
        )


def classify(event: object) -> tuple[str, int, str]:
    """Tell what became of a file: outcome, bytes that a batch expects its largest series to take, message."""
    from moeclip_med.batch.records import SeriesState, StudyReport
    from moeclip_med.batch.study_files import scoring_bytes
    from moeclip_med.batch.workers import Finished, Lost

    if isinstance(event, Lost):
        return ("crashed" if event.may_retry else "hung"), 0, event.reason
    if not isinstance(event, Finished) or not isinstance(event.outcome, StudyReport):
        return "crashed", 0, str(event)
    report = event.outcome
    reasons = [report.reason, *(record.reason for record in report.series)]
    faults = [reason for reason in reasons if "internal error" in reason]
    sizes = [
        scoring_bytes(record.columns, record.rows, record.slices * record.time_points, record.channels)
        for record in report.series
    ]
    states = {record.state for record in report.series}
    if faults:
        details = " | ".join(detail.message.strip().splitlines()[-1] for detail in report.private if detail.message)
        return "crashed", max(sizes, default=0), f"{faults[0]}: {details}"
    if SeriesState.DONE in states:
        return "scored", max(sizes), ""
    skipped = states == {SeriesState.SKIPPED}
    return ("skipped" if skipped else "refused"), max(sizes, default=0), reasons[0]


def collections(worker: Worker, every: int) -> Iterator[tuple[str, MemoryTally]]:
    """Every file of the collections as it is, or every n-th."""
    from mutations import made_files, real_files

    for name, paths in {**real_files(), "other libraries (MetaImage, NRRD, …)": made_files()}.items():
        tally = MemoryTally()
        for path in paths[::every]:
            enter(tally, worker, f"{name}/{path.name}", path)
        yield f"every {'' if every == 1 else f'{every}th '}file of {name}", tally


def damaged(worker: Worker, folder: Path, count: int, kept: Path | None) -> Iterator[tuple[str, MemoryTally]]:
    """Distinct mutations, drawn by Hypothesis until there are enough."""
    from hypothesis import HealthCheck, given, seed, settings
    from mutations import KINDS, OTHER_FORMATS, Mutation, mutations

    tallies = {kind: MemoryTally() for kind in (*KINDS, OTHER_FORMATS)}
    seen: set[int] = set()
    rounds = 0
    while len(seen) < count:
        rounds += 1

        @seed(rounds)
        @settings(max_examples=500, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(mutations())
        def feed(mutation: Mutation) -> None:
            if len(seen) >= count or hash(mutation.content) in seen or mutation.content == mutation.seed.read_bytes():
                return
            seen.add(hash(mutation.content))
            path = folder / mutation.name
            path.write_bytes(mutation.content)
            tally = tallies[mutation.kind]
            examples = len(tally.examples)
            enter(tally, worker, f"{mutation.kind} of {mutation.seed.name}", path)
            if kept is not None and len(tally.examples) > examples:
                kept.mkdir(exist_ok=True)
                (kept / f"{len(seen):05d}-{mutation.name}").write_bytes(mutation.content)
            path.unlink()

        feed()
        print(f"{len(seen)} of {count} mutations", flush=True)
    yield from ((f"mutations: {kind}", tally) for kind, tally in tallies.items())


def fuzzed(seconds: int, finds: Path) -> list[tuple[str, int, str]]:
    """Fuzz every target of scripts/fuzz.py, guided by coverage; gives target, inputs tried, and what was found."""
    import importlib.util
    import re
    import subprocess

    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: nothing is fuzzed by coverage, only the mutations above")
        return []
    results = []
    for target in ("readers", "models", "dicomweb", "texts"):
        command = [sys.executable, str(REPOSITORY / "scripts" / "fuzz.py"), target]
        command += ["--seconds", str(seconds), "--finds", str(finds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
        units = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        summary = re.search(r"SUMMARY: (.*)", done.stderr)
        found = "nothing" if done.returncode == 0 else summary.group(1) if summary else done.stderr[-300:]
        results.append((target, int(units.group(1)) if units else 0, found))
        print(*results[-1], flush=True)
    return results


def long_run(folder: Path, count: int) -> list[tuple[int, int]]:
    """Score many small studies in one batch; gives (studies done, memory of the worker in bytes) along the way."""
    import nibabel as nib
    import numpy as np

    from moeclip_med.batch.batch_settings import BatchSettings
    from moeclip_med.batch.driver import run_batch
    from moeclip_med.batch.resources import resident_bytes
    from moeclip_med.pipeline import ScoreSettings
    from moeclip_med.results import ResultFormat

    rng = np.random.default_rng(0)
    for number in range(count):
        shape = tuple(int(size) for size in rng.integers((40, 40, 1), (96, 96, 5)))
        image = nib.Nifti1Image(rng.normal(400, 60, shape).astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0]))
        image.set_sform(image.affine, 1)
        (folder / f"{number % 100:02d}").mkdir(parents=True, exist_ok=True)
        nib.save(image, folder / f"{number % 100:02d}" / f"{number:05d}.nii")
    samples: list[tuple[int, int]] = []

    class Sampler:
        """A watcher that looks at the worker's memory."""

        def planning(self, what: str, done: int, total: int | None) -> None:
            """Not looked at."""

        def planned(self, plan: object, counts: object) -> None:
            """Not looked at."""

        def warn(self, message: str) -> None:
            """Not looked at."""

        def working(self, counts: object, slices: object) -> None:  # noqa: ARG002 - a watcher is told both
            """Note the largest child's memory at each hundredth of the run."""
            done = counts.finished  # type: ignore[attr-defined]
            if done and (not samples or done >= samples[-1][0] + max(1, count // 100)):
                samples.append((done, max((resident_bytes(child) or 0) for child in children())))

    formats = frozenset({ResultFormat.NIFTI, ResultFormat.JSON})
    settings = BatchSettings(folder, folder.with_name("long-out"), ScoreSettings(formats), workers=1, threads=1)
    outcome = run_batch(settings, Sampler())
    if outcome.counts.finished != count or outcome.has_failures:
        sys.exit(f"the long run did not finish: {outcome.counts}")
    return samples


def children() -> list[int]:
    """The processes that this one started."""
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()]


def render(
    tallies: list[tuple[str, MemoryTally]],
    samples: list[tuple[int, int]],
    fuzz: list[tuple[str, int, str]],
    seconds: int,
    worker: Worker,
) -> str:
    """Make the measured part of the document."""
    lines = [
        "| files | n | scored | skipped | refused | crashed | hung | too much memory | most memory beyond, MiB | s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    total = MemoryTally()
    for name, tally in tallies:
        lines.append(_line(name, tally))
        total.counts += tally.counts
        total.too_much += tally.too_much
        total.worst_bytes = max(total.worst_bytes, tally.worst_bytes)
        total.seconds += tally.seconds
    lines += [_line("**all**", total), "", f"An idle worker takes {worker.idle_bytes / MIBIBYTE:.0f} MiB. {_where()}"]
    if fuzz:
        lines += ["", f"| fuzzed by coverage, {seconds / 60:g} min each | inputs | found |", "|---|--:|---|"]
        lines += [f"| {target} | {count:,} | {found} |" for target, count, found in fuzz]
    if samples:
        chosen = [samples[0], *(samples[int(len(samples) * share) - 1] for share in (0.25, 0.5, 0.75)), samples[-1]]
        lines += ["", "| studies done | memory of the worker, MiB |", "|--:|--:|"]
        lines += [f"| {done} | {size / MIBIBYTE:.0f} |" for done, size in dict(chosen).items()]
    return "\n".join(lines)


def _line(name: str, tally: MemoryTally) -> str:
    counts = (tally.counts[outcome] for outcome in ("scored", "skipped", "refused", "crashed", "hung"))
    cells = [sum(tally.counts.values()), *counts, tally.too_much, f"{max(0, tally.worst_bytes) / MIBIBYTE:.0f}"]
    return f"| {name} | {' | '.join(map(str, cells))} | {tally.seconds:.0f} |"


def _where() -> str:
    from moeclip_med import __version__

    cores = os.cpu_count()
    return f"Measured with MoECLIP-Med {__version__}, Python {platform.python_version()}, one thread, {cores} cores."


def write_document(path: Path, measured: str) -> None:
    """Put the measured part between the marks of a document."""
    text = path.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Measure, write, and fail if anything crashed, hung or took too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=2400)
    parser.add_argument("--every", type=int, default=1, help="only every n-th file of the collections")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--fuzz-seconds", type=int, default=900, help="for each of four targets; 0 fuzzes nothing")
    parser.add_argument("--keep", type=Path, help="folder for the mutations that crashed, hung or took too much")
    parser.add_argument("--document", type=Path, default=REPOSITORY / "docs" / "reliability.md")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("this measurement reads the memory of processes as Linux tells it")
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        from pydicom.data import get_testdata_file

        folder = Path(name)
        worker = Worker(folder)
        worker.warm_up(one_batch(folder), Path(get_testdata_file("examples_jpeg2k.dcm")))
        tallies = measure(lambda: collections(worker, arguments.every))
        tallies += measure(lambda: damaged(worker, folder, arguments.mutations, arguments.keep))
        worker.executor.close()
        samples = long_run(folder / "long", arguments.studies) if arguments.studies else []
        finds = arguments.keep or folder / "finds"
        fuzz = fuzzed(arguments.fuzz_seconds, finds) if arguments.fuzz_seconds else []
        write_document(arguments.document, render(tallies, samples, fuzz, arguments.fuzz_seconds, worker))
        bad = [example for _, tally in tallies for example in tally.examples]
        bad += [f"fuzzing {target}: {found}" for target, _, found in fuzz if found != "nothing"]
        print("\n".join(bad))
    return 1 if bad else 0


def measure(groups: Callable[[], Iterator[tuple[str, MemoryTally]]]) -> list[tuple[str, MemoryTally]]:
    """Run groups one after the other and say how they go."""
    done = []
    for name, tally in groups():
        print(name, dict(tally.counts), f"{tally.seconds:.0f} s", flush=True)
        done.append((name, tally))
    return done


def one_batch(folder: Path) -> Path:
    """A volume of one full batch of slices."""
    import nibabel as nib
    import numpy as np

    image = np.random.default_rng(0).normal(400, 60, (96, 96, 8)).astype(np.float32)
    path = folder / "warm-up.nii"
    nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 4.0, 1.0])), path)
    return path


if __name__ == "__main__":
    sys.exit(main())
