"""The choices of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moeclip_med.batch.planning import Archive
from moeclip_med.batch.resources import default_memory
from moeclip_med.pipeline import ScoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.batch.selection import Selection
    from moeclip_med.model import Prompts
    from moeclip_med.scoring import Detector

__all__ = ["BatchSettings", "ModelChoice", "ScoreSettings"]


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it runs; loaded in each worker.

    Attributes are those of `load_detector`; the number of threads is that of the worker.
    """

    model: str = "lite"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    prompts: Prompts | None = None
    threads: int | None = None

    def __call__(self) -> Detector:
        """Load it."""
        from moeclip_med.scoring import load_detector

        return load_detector(
            self.model,
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            prompts=self.prompts,
            threads=self.threads,
        )


@dataclass(frozen=True)
class BatchSettings:
    """The choices of a batch.

    Attributes:
        root: The archive.
        output: The output folder.
        score: The choices that are the same for every series.
        model: Which model, and how it runs.
        filters: Conditions that a series has to meet.
        workers: Worker processes; as many as cores and memory allow if None.
        threads: Threads per worker; the cores divided by the workers if None (on Ray: 1).
        ray_address: Of a Ray cluster; worker processes on this machine if None.
        time_limit: For one study, s.
        memory_bytes: For all workers of this machine together; four fifths of what is free if None.
        redo: Score everything again.
        retry_failed: Try again what failed.
        thumbnails: Make small pictures for the triage list.
        identify: Add real identifiers to the triage list.
        follow_links: Follow links that lead out of the archive.
        selection: Rules that choose among the series of a study; every series if None.
    """

    root: Path
    output: Path
    score: ScoreSettings
    model: ModelChoice = field(default_factory=ModelChoice)
    filters: tuple[SeriesFilter, ...] = ()
    workers: int | None = None
    threads: int | None = None
    ray_address: str | None = None
    time_limit: float = 1800.0
    memory_bytes: int | None = None
    redo: bool = False
    retry_failed: bool = False
    thumbnails: bool = True
    identify: bool = False
    follow_links: bool = False
    selection: Selection | None = None

    @property
    def archive(self) -> Archive:
        """Where studies are looked for."""
        return Archive(self.root, self.output, self.follow_links, self.memory_bytes or default_memory())
