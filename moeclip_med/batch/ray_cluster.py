"""Workers on a Ray cluster (https://docs.ray.io): one actor per worker, each with one model and one study at a time.

Ray places the actors, notices dead processes and nodes, and carries jobs and reports. The archive and the output folder
have to be at the same path on every node; the ledger is written by the driver alone.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError, MissingExtraError
from moeclip_transforms.isolation import make_expendable

from moeclip_med.batch.workers import (
    THREAD_VARIABLES,
    Finished,
    Lost,
    Ready,
    Unusable,
    be_quiet,
    import_everything,
    limit_threads,
    load_noticed,
    why_not_loaded,
)

if TYPE_CHECKING:
    from moeclip_med.batch.local import Limits
    from moeclip_med.batch.records import Halt, StudyJob, StudyReport, WorkOrder
    from moeclip_med.batch.workers import Event, LoadsDetector

_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 10.0


class ScoringActor:
    """What runs on a node: the same scorer as in a local worker."""

    def __init__(self, load: LoadsDetector, order: WorkOrder, name: str, threads: int) -> None:
        self._load = load
        self._order = order
        self._place = order.private / "unfinished" / name
        self._threads = threads

    def prepare(self) -> tuple[str, str, tuple[str, ...]]:
        """Load the model; returns its identity, "" and notices, or "", the reason why it cannot be loaded and none."""
        from moeclip_med.batch.study import StudyScorer

        be_quiet()
        make_expendable()
        try:
            limit_threads(self._threads)
            import_everything()
            detector, notices = load_noticed(self._load)
        except Exception as error:  # noqa: BLE001 - no other node could, whatever it is
            return "", why_not_loaded(error), ()
        self._scorer = StudyScorer(self._order, detector, self._place)
        return detector.identity, "", notices

    def score(self, job: StudyJob) -> StudyReport | Halt:
        """Score a study."""
        return self._scorer.score(job, _ignore_progress)


def _ignore_progress(series: str, done: int, total: int) -> None:
    """Progress within a study is not sent over the network."""


@dataclass
class _Actor:
    """One actor, the answer it owes, and what it is working on."""

    handle: Any
    answer: Any
    is_ready: bool = False
    job: StudyJob | None = None
    since: float = 0.0


class RayExecutor:
    """Actors on a Ray cluster."""

    def __init__(
        self, address: str, n_workers: int | None, load: LoadsDetector, order: WorkOrder, limits: Limits
    ) -> None:
        """Join the cluster and start the actors.

        Args:
            address: Of the cluster's head, as `ray.init` takes it: `auto`, `host:port` or `ray://host:port`.
            n_workers: How many actors; as many as the cluster has room for if None.
            load: Loads the model.
            order: What is the same for every study.
            limits: What one worker may take.

        Raises:
            MissingExtraError: If Ray is not installed.
            InputError: If the cluster cannot be reached.
        """
        try:
            import ray
            import ray.exceptions
        except ImportError as error:
            raise MissingExtraError(package="ray", extra="cluster", purpose="--ray") from error
        self._ray: Any = ray
        try:
            _check_somebody_listens(address)
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise InputError(
                f'--ray "{address}": no cluster can be reached there ({reason}); start one with "ray start --head"'
            ) from error
        environment = {"env_vars": dict.fromkeys(THREAD_VARIABLES, str(limits.threads))}
        self._make = self._ray.remote(ScoringActor).options(
            num_cpus=limits.threads, max_restarts=0, max_task_retries=0, runtime_env=environment
        )
        self._limits = limits
        self._arguments = (self._ray.put(load), self._ray.put(order))
        room = int(self._ray.cluster_resources().get("CPU", 1)) // limits.threads
        self._actors = [self._start() for _ in range(n_workers or max(1, room))]

    def free(self) -> int:
        """How many workers wait for a study."""
        return sum(actor.is_ready and actor.answer is None for actor in self._actors)

    def submit(self, job: StudyJob) -> None:
        """Return a study to a free worker."""
        actor = next(actor for actor in self._actors if actor.is_ready and actor.answer is None)
        actor.job, actor.since = job, time.monotonic()
        actor.answer = actor.handle.score.remote(job)

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened; waits until something does, at most so long."""
        owed = [actor.answer for actor in self._actors if actor.answer is not None]
        done: set[Any] = set()
        if not owed:
            time.sleep(_POLL_SECONDS)
        elif self._ray.wait(owed, timeout=seconds)[0]:  # something is there: take all that is
            done = set(self._ray.wait(owed, num_returns=len(owed), timeout=0)[0])
        events: list[Event] = []
        for index, actor in enumerate(self._actors):
            if actor.answer in done:
                events += self._collect(index)
            elif actor.job and time.monotonic() - actor.since > self._limits.study_seconds:
                limit = f"{self._limits.study_seconds:g} s"
                reason = f"it took longer than the limit of {limit}; raise --time-limit to try it again"
                events.append(Lost(actor.job.study, reason, may_retry=False))
                self._replace(index)
        return events

    def close(self) -> None:
        """End all workers and leave the cluster."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._ray.shutdown()

    def _collect(self, index: int) -> list[Event]:
        """Take the answer of an actor, or its death."""
        actor = self._actors[index]
        try:
            answer = self._ray.get(actor.answer)
        except self._ray.exceptions.RayError as error:
            self._replace(index)
            if actor.job is None:
                return []
            reason = f"the worker or the node that scored it died ({type(error).__name__})"
            return [Lost(actor.job.study, reason, may_retry=True)]
        actor.answer = None
        if not actor.is_ready:
            identity, reason, notices = answer
            actor.is_ready = not reason
            return [Unusable(reason) if reason else Ready(identity, notices)]
        actor.job = None
        return [Finished(answer)]

    def _replace(self, index: int) -> None:
        self._ray.kill(self._actors[index].handle)
        self._actors[index] = self._start()

    def _start(self) -> _Actor:
        handle: Any = self._make.remote(*self._arguments, f"ray-{uuid.uuid4().hex[:12]}", self._limits.threads)
        return _Actor(handle, handle.prepare.remote())


def _check_somebody_listens(address: str) -> None:
    """Raise an OSError where the connection is refused: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
