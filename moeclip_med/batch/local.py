"""Workers on this machine: processes that are watched, ended when they take too long or too much, and replaced."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.records import StudyReport, StudyState
from moeclip_med.batch.resources import GIBIBYTE, new_scratch, remove_scratch, resident_bytes
from moeclip_med.batch.workers import THREAD_VARIABLES, Finished, Lost, Ready, StudyProgress, Unusable, worker_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from moeclip_med.batch.records import Halt, StudyJob, WorkOrder
    from moeclip_med.batch.workers import Event, LoadsDetector

_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_TRIES = 2
"""How often a study is tried that ended its worker."""
_DEATHS_WHILE_LOADING = 3
"""So many workers in a row that die before they have a model mean that none will get one."""


@dataclass(frozen=True)
class Limits:
    """What one worker may take.

    Attributes:
        threads: Threads for the network.
        study_seconds: Time for one study, s.
        memory_bytes: Memory, bytes; None for no limit.
    """

    threads: int
    study_seconds: float
    memory_bytes: int | None = None


class LocalExecutor:
    """Worker processes on this machine, started afresh (`spawn`), so that it works alike on every system."""

    def __init__(self, n_workers: int, load: LoadsDetector, order: WorkOrder, limits: Limits) -> None:
        self._load = load
        self._order = order
        self._limits = limits
        self._scratch = new_scratch(order.private)
        self._deaths_while_loading = 0
        self._started = 0
        self._workers = [self._start() for _ in range(n_workers)]

    @property
    def scratch(self) -> Path:
        """A folder of this run's own on this machine, open to nobody else, removed at the end."""
        return self._scratch

    @property
    def workers(self) -> tuple[WorkerProcess, ...]:
        """The workers as they are now."""
        return tuple(self._workers)

    def free(self) -> int:
        """How many workers wait for a study."""
        return sum(worker.is_free for worker in self._workers)

    def submit(self, job: StudyJob) -> None:
        """Return a study to a free worker."""
        worker = next(worker for worker in self._workers if worker.is_free)
        worker.take(job)

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened; waits until something does, at most so long."""
        wait([handle for worker in self._workers for handle in worker.handles], timeout=seconds)
        return [event for index in range(len(self._workers)) for event in self._look_after(index)]

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.end()
        remove_scratch(self._order.private, self._scratch)

    def _look_after(self, index: int) -> list[Event]:
        """Hear what a worker has to say; end and replace it where it has to be."""
        worker = self._workers[index]
        events = worker.hear()
        if any(isinstance(event, Ready) for event in events):
            self._deaths_while_loading = 0
        lost = worker.trouble(self._limits)
        if lost is not None:
            worker.end()
            events += self._enter_death(worker, lost)
            self._workers[index] = self._start()
        return events

    def _enter_death(self, worker: WorkerProcess, lost: Lost) -> list[Event]:
        if worker.is_ready:
            return [lost] if lost.study else []
        self._deaths_while_loading += 1
        if self._deaths_while_loading < _DEATHS_WHILE_LOADING:
            return []
        reason = f"{_DEATHS_WHILE_LOADING} workers in a row died while they loaded the model: {lost.reason}"
        return [Unusable(f"{reason}; use fewer --workers, or look at the system's log for lack of memory")]

    def _start(self) -> WorkerProcess:
        self._started += 1
        name = f"worker-{self._started}"
        scratch = self._scratch / name
        scratch.mkdir(mode=0o700)
        place = self._order.private / "unfinished" / name
        return WorkerProcess(self._load, self._order, place, scratch, self._limits.threads)


class OneByOne:
    """Scores one study after the other in worker processes, and waits for each: what a `StudyScorer` does, apart."""

    def __init__(self, executor: LocalExecutor, on_ready: Callable[[Ready], None]) -> None:
        """Take the workers.

        Args:
            executor: The workers; one is enough.
            on_ready: Told when a worker has its model.
        """
        self._executor = executor
        self._on_ready = on_ready

    def score(self, job: StudyJob, on_progress: Callable[[str, int, int], None]) -> StudyReport | Halt:
        """Score a study; one that ends its worker twice, or takes too much, fails.

        Raises:
            InputError: If no worker can load the model.
        """
        for _ in range(_TRIES):
            lost = self._score_once(job, on_progress)
            if not isinstance(lost, Lost):
                return lost
            if not lost.may_retry:
                break
        return StudyReport(job.study, StudyState.FAILED, lost.reason)

    def wait_until_ready(self) -> None:
        """Wait for a worker that has its model.

        Raises:
            InputError: If none can load it.
        """
        while not self._executor.free():
            for event in self._executor.wait(_LOOK_SECONDS):
                self._hear(event)

    def _score_once(self, job: StudyJob, on_progress: Callable[[str, int, int], None]) -> StudyReport | Halt | Lost:
        self.wait_until_ready()
        self._executor.submit(job)
        while True:
            for event in self._executor.wait(_LOOK_SECONDS):
                if isinstance(event, StudyProgress):
                    on_progress(event.study, event.done, event.total)
                elif isinstance(event, Finished):
                    return event.outcome
                elif isinstance(event, Lost) and event.study == job.study:
                    return event
                self._hear(event)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Unusable):
            raise InputError(event.reason)
        if isinstance(event, Ready):
            self._on_ready(event)


class WorkerProcess:
    """One process, the line to it, and what it is doing."""

    def __init__(self, load: LoadsDetector, order: WorkOrder, place: Path, scratch: Path, threads: int) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        self._connection = ours
        self._place = place
        self._scratch = scratch
        self._job: StudyJob | None = None
        self._since = 0.0
        self._has_told = False
        self.is_ready = False
        self._process: SpawnProcess = context.Process(
            target=worker_main, args=(theirs, load, order, place, scratch, threads), daemon=True
        )
        with _thread_variables(threads):
            self._process.start()
        theirs.close()

    @property
    def process_id(self) -> int:
        """The system's number of its process."""
        return self._process.pid or 0

    @property
    def is_free(self) -> bool:
        """Whether it has its model and no study."""
        return self.is_ready and self._job is None and self._process.is_alive()

    @property
    def handles(self) -> list[Connection | int]:
        """What becomes readable when something happens."""
        return [self._connection, self._process.sentinel]  # type: ignore[list-item, unused-ignore]  # typeshed on Windows

    def take(self, job: StudyJob) -> None:
        """Start on a study."""
        self._job, self._since = job, time.monotonic()
        try:
            self._connection.send(job)
        except OSError:
            return  # it died this moment: `trouble` will say so

    def hear(self) -> list[Event]:
        """Return what it said since last time."""
        events: list[Event] = []
        try:
            while self._connection.poll():
                event = self._connection.recv()
                events.append(event)
                self.is_ready |= isinstance(event, Ready)
                self._has_told |= isinstance(event, Unusable)
                if isinstance(event, Finished):
                    self._job = None
        except (EOFError, OSError):
            return events  # it is dead: `trouble` will say so
        return events

    def trouble(self, limits: Limits) -> Lost | None:
        """Whether it is dead, or has to be ended."""
        study = self._job.study if self._job else ""
        if not self._process.is_alive():
            return None if self._has_told else Lost(study, _explain_exit(self._process.exitcode), may_retry=True)
        if self._job and time.monotonic() - self._since > limits.study_seconds:
            reason = f"it took longer than the limit of {limits.study_seconds:g} s; raise --time-limit to try it again"
            return Lost(study, reason, may_retry=False)
        used = resident_bytes(self.process_id) if limits.memory_bytes else None
        if used and limits.memory_bytes and used > limits.memory_bytes:
            limit = limits.memory_bytes / GIBIBYTE
            reason = f"it took more than the {limit:.1f} GiB of a worker; raise --memory or use fewer --workers"
            return Lost(study, reason, may_retry=False)
        return None

    def end(self) -> None:
        """End it and remove what it left behind."""
        self._process.kill()
        self._process.join(_GRACE_SECONDS)
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        shutil.rmtree(self._place, ignore_errors=True)


@contextmanager
def _thread_variables(threads: int) -> Iterator[None]:
    """Set the variables that numeric libraries read when they are loaded, for a process to inherit."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explain_exit(code: int | None) -> str:
    if code is not None and code < 0:
        import signal

        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = ", probably for lack of memory" if name == "SIGKILL" else ""
        return f"the process that scored it was ended by {name}{hint}"
    return f"the process that scored it ended with code {code}"
