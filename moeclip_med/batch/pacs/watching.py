"""Watch a PACS: score each study once it is complete, remember it, never score what was stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.database import open_database, transaction
from moeclip_med.batch.pacs.scoring import reason_not_to_fetch
from moeclip_med.batch.pacs.server import PacsUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from moeclip_med.batch.pacs.scoring import PacsJob, PacsResult

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    study_uid TEXT PRIMARY KEY, content TEXT NOT NULL, is_done INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own_series (series_uid TEXT PRIMARY KEY) WITHOUT ROWID;
"""
MOST_TRIES = 3


@dataclass(frozen=True)
class WatchQuery:
    """Which studies are looked at.

    Attributes:
        days: Studies of the last so many days, today included.
        modality: Only studies with this modality, or "".
    """

    days: int = 1
    modality: str = ""

    def filters(self, today: date) -> dict[str, str]:
        """Give the QIDO-RS parameters for a day."""
        first = today - timedelta(days=self.days - 1)
        found = {"StudyDate": f"{first:%Y%m%d}-{today:%Y%m%d}"}
        return {**found, "ModalitiesInStudy": self.modality} if self.modality else found


class WatchMemory:
    """What was seen and done; holds real UIDs, so it is readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path, _SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def own_series(self) -> set[str]:
        """Give the SeriesInstanceUIDs of everything stored so far."""
        return {row["series_uid"] for row in self._connection.execute("SELECT series_uid FROM own_series")}

    def is_ready(self, study_uid: str, content: str) -> bool:
        """Whether a study waits to be scored and holds what it held last time; remembers what it holds now."""
        with transaction(self._connection) as connection:
            row = connection.execute("SELECT * FROM studies WHERE study_uid = ?", (study_uid,)).fetchone()
            if row is not None and row["content"] == content:
                return not row["is_done"] and row["tries"] < MOST_TRIES
            connection.execute(
                "INSERT OR REPLACE INTO studies (study_uid, content) VALUES (?, ?)", (study_uid, content)
            )
        return False

    def note_stored(self, series_uids: Iterable[str]) -> None:
        """Remember series as our own."""
        with transaction(self._connection) as connection:
            connection.executemany("INSERT OR IGNORE INTO own_series VALUES (?)", [(uid,) for uid in series_uids])

    def note_try(self, study_uid: str, *, is_done: bool) -> None:
        """Remember how a study went."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE studies SET is_done = ?, tries = tries + 1 WHERE study_uid = ?", (is_done, study_uid)
            )


class Watcher:
    """Looks at a PACS again and again."""

    def __init__(self, job: PacsJob, memory: WatchMemory, query: WatchQuery) -> None:
        self._job = job
        self._memory = memory
        self._query = query

    def look(
        self,
        today: date,
        on_series: Callable[[str, PacsResult], None],
        on_failure: Callable[[str, str], None],
    ) -> int:
        """Look once; score the studies that hold what they held at the last look, and so are complete.

        Args:
            today: The day, for the query.
            on_series: Told the study's pseudonym and what became of each series.
            on_failure: Told the study's pseudonym and the reason when a study could not be scored.

        Returns:
            How many studies were scored.

        Raises:
            PacsUnreachableError: If the PACS does not answer; the next look may find it back.
        """
        scored = 0
        for study_uid, _ in self._job.server.find_studies(self._query.filters(today)):
            if self._memory.is_ready(study_uid, self._content(study_uid)):
                scored += self._score(study_uid, on_series, on_failure)
        return scored

    def _content(self, study_uid: str) -> str:
        """What a study holds that is not ours: series and their numbers of instances."""
        own = self._memory.own_series()
        listed = [
            (series.uid, series.instances)
            for series in self._job.server.find_series(study_uid)
            if series.uid not in own and not reason_not_to_fetch(series)
        ]
        return json.dumps(sorted(listed))

    def _score(
        self,
        study_uid: str,
        on_series: Callable[[str, PacsResult], None],
        on_failure: Callable[[str, str], None],
    ) -> bool:
        name = self._job.names.study(study_uid)

        def enter(result: PacsResult) -> None:
            self._memory.note_stored(result.stored_series)
            on_series(name, result)

        try:
            self._job.score_study(study_uid, on_series=enter)
        except PacsUnreachableError:
            raise
        except InputError as error:
            self._memory.note_try(study_uid, is_done=False)
            on_failure(name, str(error))
            return False
        self._memory.note_try(study_uid, is_done=True)
        return True
