"""What is the same for every study of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - Ray resolves the annotations of what it pickles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.batch.filters import SeriesFilter
    from moeclip_med.pipeline import ScoreSettings


@dataclass(frozen=True)
class WorkOrder:
    """What is the same for every study of a run; sent to each worker once.

    Attributes:
        root: The archive.
        output: The output folder.
        settings: The choices of the run.
        filters: Conditions that a series has to meet.
        key: The key of the pseudonyms.
        fingerprint: Hash over everything that changes a result.
        memory_bytes: What a worker may use for one series; None for no limit.
        thumbnails: Whether small pictures are made for the triage list.
    """

    root: Path
    output: Path
    settings: ScoreSettings
    filters: tuple[SeriesFilter, ...]
    key: bytes
    fingerprint: str
    memory_bytes: int | None
    thumbnails: bool

    @property
    def private(self) -> Path:
        """The folder of ledger, key and unfinished results."""
        return self.output / ".batch"
