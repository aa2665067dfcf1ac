"""Where studies are scored: what the driver sees of local worker processes and of a Ray cluster alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from moeclip_med.batch.records import Halt, StudyJob, StudyReport
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
class Progress:
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


Event: TypeAlias = "Ready | Unusable | Progress | Finished | Lost"


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
