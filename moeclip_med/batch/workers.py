"""Workers: what the driver sees of them on this machine and on a Ray cluster alike, and what runs in one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from moeclip_transforms.errors import InputError, NoticeWarning
from moeclip_transforms.isolation import make_expendable
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from moeclip_med.batch.records import Halt, StudyJob, StudyReport, WorkOrder
    from moeclip_med.scoring import Detector


@dataclass(frozen=True)
class Ready:
    """A worker has its model.

    Attributes:
        identity: The SHA-256 of all that changes a score; the same for every worker, or the run stops.
        notices: What the user has to know of how it was loaded: a slower engine, a cache that cannot be written.
    """

    identity: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """A worker cannot load the model, and no other one could.

    Attributes:
        reason: One sentence.
    """

    reason: str


@dataclass(frozen=True)
class StudyProgress:
    """A worker is that far.

    Attributes:
        study: The study's pseudonym.
        done: Slices of the current series done.
        total: Slices of the current series.
    """

    study: str
    done: int
    total: int


@dataclass(frozen=True)
class Finished:
    """A worker is done with a study."""

    outcome: StudyReport | Halt


@dataclass(frozen=True)
class Lost:
    """A worker died or had to be ended; another one takes its place.

    Attributes:
        study: The study it was working on.
        reason: Why, one sentence.
        may_retry: Whether the study deserves another try: not when it was the study's own fault.
    """

    study: str
    reason: str
    may_retry: bool


Event: TypeAlias = "Ready | Unusable | StudyProgress | Finished | Lost"


class LoadsDetector(Protocol):
    """Something that can be sent to a worker and loads the model there."""

    def __call__(self) -> Detector:
        """Load the model."""
        ...


class Executor(Protocol):
    """Workers, each with one model, each with one study at a time."""

    def free(self) -> int:
        """How many workers wait for a study."""
        ...

    def submit(self, job: StudyJob) -> None:
        """Return a study to a free worker."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened; waits until something does, at most so long."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...


_DEBUG = "MOECLIP_MED_DEBUG"
_REPORT_EVERY_SECONDS = 0.5
_HEAVY_MODULES = ("moeclip_transforms.source", "moeclip_transforms.dicom", "moeclip_transforms.nifti",
                  "moeclip_med.scoring", "moeclip_med.scoring.scorer", "moeclip_med.results.writing",
                  "moeclip_med.results.nifti", "moeclip_med.batch.thumbnails")  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def worker_main(
    connection: Connection, load: LoadsDetector, order: WorkOrder, place: Path, scratch: Path, threads: int
) -> None:
    """Load the model, then score what comes through the connection.

    Args:
        connection: To the driver: jobs come in (None ends the worker), events go out.
        load: Loads the model.
        order: What is the same for every study.
        place: A folder of its own for unfinished results.
        scratch: A folder of its own for unpacked archives.
        threads: Threads for the network.
    """
    make_expendable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    threading.Thread(target=_die_with_driver, daemon=True).start()
    tempfile.tempdir = str(scratch)
    be_quiet()
    from moeclip_med.batch.study import StudyScorer

    try:
        limit_threads(threads)
        import_everything()
        detector, notices = load_noticed(load)
    except Exception as error:  # noqa: BLE001 - no other worker could, whatever it is
        connection.send(Unusable(why_not_loaded(error)))
        return
    scorer = StudyScorer(order, detector, place)
    connection.send(Ready(detector.identity, notices))
    try:
        while (job := connection.recv()) is not None:
            connection.send(Finished(scorer.score(job, _Reporter(connection, job))))
    except (EOFError, OSError):
        return  # the driver is gone


def load_noticed(load: LoadsDetector) -> tuple[Detector, tuple[str, ...]]:
    """Load the model; returns it, and what the user has to know of how it went."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", NoticeWarning)
        detector = load()
    notices = (str(one.message) for one in caught if issubclass(one.category, NoticeWarning))
    return detector, tuple(dict.fromkeys(notices))


def why_not_loaded(error: Exception) -> str:
    """Say in a sentence why a model cannot be loaded."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return f'the model cannot be loaded: "{error.filename}": {reason(error)}; check the file and its permissions'
    kind = type(error).__name__
    return f"the model cannot be loaded: internal error ({kind}); try it with moeclip-med score and {_DEBUG}=1"


class _Reporter:
    """Tells the driver about progress, but not more often than anyone can look."""

    def __init__(self, connection: Connection, job: StudyJob) -> None:
        self._connection = connection
        self._study = job.study
        self._last = 0.0

    def __call__(self, series: str, done: int, total: int) -> None:  # noqa: ARG002 - the scorer names the series
        now = time.monotonic()
        if now - self._last >= _REPORT_EVERY_SECONDS:
            self._last = now
            event: Event = StudyProgress(self._study, done, total)
            self._connection.send(event)


def limit_threads(threads: int) -> None:
    """Let PyTorch use so many threads; its results depend on their number in the last bits."""
    import torch

    torch.set_num_threads(threads)


def import_everything() -> None:
    """Import what the first study would otherwise wait for: its time counts against its limit."""
    for name in _HEAVY_MODULES:
        import_module(name)


def be_quiet() -> None:
    """Silence libraries, whose warnings quote headers, and let only the owner read what is written from now on.

    Those in C write past Python; with MOECLIP_MED_DEBUG they are heard.
    """
    os.umask(0o077)
    if not os.environ.get(_DEBUG):
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
    warnings.simplefilter("ignore")
    for name in ("pydicom", "nibabel", "PIL", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _die_with_driver() -> None:
    """End this process when the driver ends, even by `kill -9`: an orphan must not write results."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
