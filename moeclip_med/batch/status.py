"""How far a batch is: read from its ledger, while it runs or afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.database import RunLock
from moeclip_med.batch.ledger import Counts, Ledger
from moeclip_med.batch.output import LEDGER_NAME, PRIVATE_NAME

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Status:
    """How far a batch is.

    Attributes:
        counts: Studies and series by state.
        is_running: Whether a run is working on it now.
        outcome: How the last run ended: "done", "failed", "interrupted", or "" when it was killed or still runs.
        version: The version of moeclip-med of the last run.
        seconds: Since the last run started, or how long it took, s.
        failures: Reasons of failures, with how often each occurs, most frequent first.
    """

    counts: Counts
    is_running: bool
    outcome: str
    version: str
    seconds: float
    failures: tuple[tuple[str, int], ...]


def read_status(folder: Path) -> Status:
    """Read how far the batch in an output folder is; changes nothing.

    Raises:
        InputError: If the folder holds no batch.
    """
    private = folder / PRIVATE_NAME
    if not (private / LEDGER_NAME).is_file():
        msg = f'"{folder}" holds no batch; name the --output folder of "moeclip-med batch"'
        raise InputError(msg)
    ledger = Ledger(private / LEDGER_NAME, read_only=True)
    try:
        if not ledger.is_begun:
            msg = (
                f'"{folder}" holds a batch that ended before its first entry, on a full disk for example; '
                'run "moeclip-med batch" with it again'
            )
            raise InputError(msg)
        run = ledger.last_run()
        return Status(
            counts=ledger.counts(),
            is_running=_is_locked(private, folder),
            outcome=run["outcome"] if run else "",
            version=run["version"] if run else "",
            seconds=((run["ended"] or time.time()) - run["started"]) if run else 0.0,
            failures=_failures(ledger),
        )
    finally:
        ledger.close()


def _failures(ledger: Ledger) -> tuple[tuple[str, int], ...]:
    from collections import Counter

    from moeclip_med.batch.records import SeriesState, StudyState

    reasons = Counter(row.reason for row in ledger.studies() if row.state is StudyState.FAILED)
    reasons.update(record.reason for _, record in ledger.series() if record.state is SeriesState.FAILED)
    return tuple(reasons.most_common())


def _is_locked(private: Path, folder: Path) -> bool:
    try:
        RunLock(private / "lock", folder).release()
    except InputError:
        return True
    return False
