"""Watch a PACS: score each study once it is complete, remember it, never score what was stored.

Each study is looked at by itself: what one of them meets is listed and tried again later, and holds up no other. Which
studies are asked for follows from a watermark, the day up to which every poll succeeded: not from today's date, which
midnight, another time zone or a week without power would take out of the query.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol

from moeclip_med.batch.database import Database
from moeclip_med.batch.pacs.http import PacsError, PacsGoneError, PacsUnreachableError
from moeclip_med.batch.pacs.scoring import reason_not_to_fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from moeclip_med.batch.pacs.scoring import PacsJob, PacsResult

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watched (
    study_uid TEXT PRIMARY KEY, content TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS watched_by_state ON watched (state, next_try);
CREATE TABLE IF NOT EXISTS done_series (study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, instances INTEGER NOT NULL,
    PRIMARY KEY (study_uid, series_uid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own_series (series_uid TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 6 * 3600.0
_MOST_SILENCES = 3
"""So many studies in a row that get no answer at all mean that the PACS is gone, not that they are ill."""
_ZONES = timedelta(days=1)
"""A PACS may write the date of another time zone than ours."""
_FIRST_DAY = "first day"
_CHANGING, _WAITING, _DONE, _GONE = "changing", "waiting", "done", "gone"


@dataclass(frozen=True)
class WatchQuery:
    """Which studies are looked at.

    Attributes:
        days: How far before the watermark studies are looked for, days: for what arrives late.
        modality: Only studies with this modality, or "".
    """

    days: int = 1
    modality: str = ""

    def filters(self, watermark: date) -> dict[str, str]:
        """Return the QIDO-RS parameters: everything since some days before the watermark, with no end."""
        first = watermark - timedelta(days=self.days) - _ZONES
        found = {"StudyDate": f"{first:%Y%m%d}-"}
        return {**found, "ModalitiesInStudy": self.modality} if self.modality else found


@dataclass(frozen=True)
class Pending:
    """A study that could not be scored whole and is tried again.

    Attributes:
        study_uid: Its StudyInstanceUID.
        tries: How often it was tried.
        next_try: When it is tried again, s since 1970.
        reason: What it met last; may name UIDs.
    """

    study_uid: str
    tries: int
    next_try: float
    reason: str


class WatchMemory(Database):
    """What was seen and done; holds real UIDs, so it is readable by its owner alone."""

    schema = _SCHEMA

    def fact(self, name: str) -> str:
        """Return a value kept under a name, or ""."""
        row = self._row("SELECT value FROM facts WHERE name = ?", name)
        return row["value"] if row else ""

    def keep_fact(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def watermark(self, today: date) -> date:
        """Return the day up to which every poll succeeded; today at the first poll, which is remembered."""
        kept = self.fact("watermark")
        if not kept:
            self.keep_fact("watermark", today.isoformat())
            self.keep_fact(_FIRST_DAY, today.isoformat())
        return date.fromisoformat(kept) if kept else today

    def own_series(self) -> set[str]:
        """Return the SeriesInstanceUIDs of everything stored so far."""
        return {row["series_uid"] for row in self._rows("SELECT series_uid FROM own_series")}

    def note_own(self, series_uids: Iterable[str]) -> None:
        """Remember series as our own."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO own_series VALUES (?)", [(uid,) for uid in series_uids])

    def to_look_at(self, now: float) -> list[str]:
        """Return the studies that are due: those that were changing, and those whose next try has come."""
        query = "SELECT * FROM watched WHERE state IN (?, ?) ORDER BY next_try"
        rows = self._rows(query, _CHANGING, _WAITING)
        return [row["study_uid"] for row in rows if row["state"] == _CHANGING or _is_due(row["next_try"], now)]

    def is_ready(self, study_uid: str, content: str, now: float) -> bool:
        """Whether a study waits to be scored and holds what it held last time; remembers what it holds now."""
        with self.transaction() as connection:
            row = connection.execute("SELECT * FROM watched WHERE study_uid = ?", (study_uid,)).fetchone()
            if row is not None and row["content"] == content and row["state"] != _GONE:
                return bool(row["state"] == _CHANGING or (row["state"] == _WAITING and _is_due(row["next_try"], now)))
            connection.execute(
                "INSERT OR REPLACE INTO watched (study_uid, content, state) VALUES (?, ?, ?)",
                (study_uid, content, _CHANGING),
            )
        return False

    def note_series(self, study_uid: str, series_uid: str, instances: int) -> None:
        """Remember that a series is done, as long as it holds so many instances."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO done_series VALUES (?, ?, ?)", (study_uid, series_uid, instances)
            )

    def done_series(self, study_uid: str) -> dict[str, int]:
        """Return the series of a study that are done, with the number of their instances then."""
        rows = self._rows("SELECT * FROM done_series WHERE study_uid = ?", study_uid)
        return {row["series_uid"]: row["instances"] for row in rows}

    def note_done(self, study_uid: str) -> None:
        """Remember that a study is done, as long as it holds the same."""
        self._set_state(study_uid, _DONE)

    def note_gone(self, study_uid: str) -> None:
        """Remember that a study is no longer there; if it comes back, it is new."""
        self._set_state(study_uid, _GONE)

    def note_trouble(self, study_uid: str, reason: str, now: float) -> float:
        """Put a study off, twice as long each time; returns when it is tried again, s since 1970."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO watched (study_uid, content, state) VALUES (?, '', ?) ON CONFLICT DO NOTHING",
                (study_uid, _WAITING),
            )
            row = connection.execute("SELECT tries FROM watched WHERE study_uid = ?", (study_uid,)).fetchone()
            due: float = now + min(_FIRST_PAUSE_SECONDS * 2.0 ** min(row["tries"], 20), _LONGEST_PAUSE_SECONDS)
            connection.execute(
                "UPDATE watched SET state = ?, tries = tries + 1, next_try = ?, reason = ? WHERE study_uid = ?",
                (_WAITING, due, reason, study_uid),
            )
        return due

    def pending(self) -> list[Pending]:
        """Return the studies that wait for another try, the next first."""
        query = "SELECT study_uid, tries, next_try, reason FROM watched WHERE state = ? ORDER BY next_try"
        return [Pending(*row) for row in self._rows(query, _WAITING)]

    def counts(self) -> dict[str, int]:
        """Count studies by state."""
        return dict(map(tuple, self._rows("SELECT state, count(*) FROM watched GROUP BY state")))

    def _set_state(self, study_uid: str, state: str) -> None:
        with self.transaction() as connection:
            connection.execute(
                "UPDATE watched SET state = ?, tries = 0, next_try = 0, reason = '' WHERE study_uid = ?",
                (state, study_uid),
            )


def _is_due(next_try: float, now: float) -> bool:
    """Whether a try's time has come; one further off than any pause was set by a clock that was wrong."""
    return next_try <= now or next_try > now + _LONGEST_PAUSE_SECONDS


class WatchListener(Protocol):
    """Who is told how a poll goes."""

    def series(self, study: str, result: PacsResult) -> None:
        """A series of the study of this pseudonym is done, or put off."""
        ...

    def trouble(self, study: str, reason: str, next_try: float) -> None:
        """A study is put off until then, s since 1970."""
        ...

    def notice(self, message: str) -> None:
        """Something has to be known about the PACS."""
        ...


@dataclass(frozen=True)
class PollReport:
    """What one poll of the PACS came to.

    Attributes:
        listed: Studies that the PACS listed.
        scored: Studies scored whole.
        put_off: Studies put off.
    """

    listed: int
    scored: int
    put_off: int


class PacsWatcher:
    """Polls a PACS again and again."""

    def __init__(
        self, job: PacsJob, memory: WatchMemory, query: WatchQuery, listener: WatchListener,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """Poll nothing yet.

        Args:
            job: How studies are scored.
            memory: What was seen and done.
            query: Which studies are looked at.
            listener: Told how it goes.
            clock: The time, s since 1970.
        """
        self._job = job
        self._memory = memory
        self._query = query
        self._listener = listener
        self._clock = clock
        self._told: set[str] = set()

    def poll(self, today: date) -> PollReport:
        """Poll once; score the studies that hold what they held at the last poll, and so are complete.

        Args:
            today: The day: the watermark after this poll, if the list of studies came whole.

        Raises:
            PacsUnreachableError: If the PACS does not answer; the next poll may find it back.
            InputError: If no other study would fare better: the disk is full, or the output is gone.
        """
        watermark = self._believed(self._memory.watermark(today), today)
        found = self._job.server.find_studies(self._query.filters(watermark))
        for notice in set(found.notices) - self._told:
            self._listener.notice(notice)
        self._told |= set(found.notices)
        due = self._memory.to_look_at(self._clock())
        scored = put_off = silences = 0
        for study_uid in dict.fromkeys([*due, *found.uids]):
            try:
                scored += self._look_at(study_uid)
                silences = 0
            except PacsGoneError as error:
                self._memory.note_gone(study_uid)
                self._listener.notice(f"{self._name(study_uid)} is no longer there ({error})")
            except PacsError as error:
                put_off += 1
                due_again = self._memory.note_trouble(study_uid, str(error), self._clock())
                self._listener.trouble(self._name(study_uid), str(error), due_again)
                silences = silences + 1 if isinstance(error, PacsUnreachableError) and not error.has_answered else 0
                if silences >= _MOST_SILENCES:
                    raise
        self._memory.keep_fact("watermark", max(today, watermark).isoformat())
        return PollReport(len(found.uids), scored, put_off)

    def _believed(self, watermark: date, today: date) -> date:
        """The watermark, or today where it lies ahead: kept by a clock that was wrong, it would hide all that comes.

        A day before the first poll is no better: the clock is wrong now.
        """
        first = self._memory.fact(_FIRST_DAY)
        if watermark - today <= _ZONES or not first or today < date.fromisoformat(first):
            return watermark
        self._listener.notice(
            f"the clock was set back by {(watermark - today).days} days: studies are looked for from today on; --days "
            "looks further back"
        )
        return today

    def _look_at(self, study_uid: str) -> bool:
        """Score a study if it is complete and not done; returns whether it was scored.

        Raises:
            PacsError: If something of it has to be tried again.
        """
        own = self._memory.own_series()
        listed = {found.uid: found for found in self._job.server.find_series(study_uid) if found.uid not in own}
        content = json.dumps(
            sorted((found.uid, found.instances) for found in listed.values() if not reason_not_to_fetch(found))
        )
        if not self._memory.is_ready(study_uid, content, self._clock()):
            return False
        done = self._memory.done_series(study_uid)
        without = own | {uid for uid, found in listed.items() if done.get(uid) == found.instances}
        troubles: list[PacsResult] = []

        def enter(result: PacsResult) -> None:
            if result.error:
                troubles.append(result)
            elif result.series_uid in listed:
                self._memory.note_series(study_uid, result.series_uid, listed[result.series_uid].instances)
            self._listener.series(self._name(study_uid), result)

        self._job.score_study(study_uid, without=without, on_series=enter)
        if troubles:
            is_silent = all(result.is_unreachable for result in troubles)
            raise PacsUnreachableError(troubles[0].error, has_answered=not is_silent)
        self._memory.note_done(study_uid)
        return True

    def _name(self, study_uid: str) -> str:
        return self._job.output.pseudonyms.study(study_uid)
