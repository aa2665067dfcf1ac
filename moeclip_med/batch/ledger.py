"""The ledger: what is to be done, what is being done, what has been done; it names nobody.

One writer, the driver of the run. Every step is one transaction, so that after `kill -9` the ledger is as it was
before or after the step, never in between. A study that was running when its driver died is waiting again.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from moeclip_med.batch.database import Database
from moeclip_med.batch.records import SeriesRecord, SeriesState, StudyState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from moeclip_med.batch.records import FileStamp, StudyReport

SCHEMA_VERSION = "2"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY, version TEXT NOT NULL, started REAL NOT NULL, ended REAL, outcome TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS studies (
    study TEXT PRIMARY KEY, patient TEXT NOT NULL, signature TEXT NOT NULL, files INTEGER NOT NULL,
    bytes INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', run INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, attempts);
CREATE TABLE IF NOT EXISTS series (
    series TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies (study), state TEXT NOT NULL,
    is_filtered INTEGER NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS series_of_study ON series (study);
"""


@dataclass(frozen=True)
class StudyRow:
    """One study as the ledger knows it; see the columns' meaning in `StudyJob` and `StudyReport`."""

    study: str
    patient: str
    signature: str
    files: int
    bytes: int
    state: StudyState
    reason: str
    attempts: int
    deaths: int
    seconds: float


@dataclass(frozen=True)
class Counts:
    """How far a batch is.

    Attributes:
        studies: Studies by state.
        series: Series by state.
    """

    studies: dict[StudyState, int]
    series: dict[SeriesState, int]

    @property
    def total(self) -> int:
        """All studies."""
        return sum(self.studies.values())

    @property
    def finished(self) -> int:
        """Studies that are done or failed."""
        return self.studies[StudyState.DONE] + self.studies[StudyState.FAILED]


class Ledger(Database):
    """The ledger of one output folder."""

    schema = _SCHEMA

    @property
    def is_begun(self) -> bool:
        """Whether its tables are there: a full disk can end a run between the file and what it should hold."""
        return self._row("SELECT 1 FROM sqlite_master WHERE name = 'runs'") is not None

    def meta(self, name: str) -> str:
        """Return a value kept under a name, or ""."""
        row = self._row("SELECT value FROM meta WHERE name = ?", name)
        return row["value"] if row else ""

    def set_meta(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def start_run(self, version: str) -> int:
        """Begin a run; what an earlier one left running is waiting again. Returns the run's number."""
        with self.transaction() as connection:
            connection.execute("UPDATE studies SET state = ? WHERE state = ?", (StudyState.WAITING, StudyState.RUNNING))
            cursor = connection.execute("INSERT INTO runs (version, started) VALUES (?, ?)", (version, time.time()))
        return int(cursor.lastrowid or 0)

    def end_run(self, run: int, outcome: str) -> None:
        """End a run; what was running is waiting again."""
        with self.transaction() as connection:
            connection.execute("UPDATE runs SET ended = ?, outcome = ? WHERE run = ?", (time.time(), outcome, run))
            connection.execute("UPDATE studies SET state = ? WHERE state = ?", (StudyState.WAITING, StudyState.RUNNING))

    def add_study(self, study: str, patient: str, signature: str, files: list[FileStamp]) -> None:
        """Enter a study, or note that its files changed, which makes it waiting again; needs `transaction`."""
        self._connection.execute(
            "INSERT INTO studies (study, patient, signature, files, bytes, state) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (study) DO UPDATE SET signature = excluded.signature, files = excluded.files, "
            "bytes = excluded.bytes, state = excluded.state, reason = '', deaths = 0 "
            "WHERE signature <> excluded.signature",
            (study, patient, signature, len(files), sum(stamp.size for stamp in files), StudyState.WAITING),
        )

    def forget_results(self) -> None:
        """Make every study waiting again: for `--redo`."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM series")
            connection.execute(
                "UPDATE studies SET state = ?, reason = '', attempts = 0, deaths = 0", (StudyState.WAITING,)
            )

    def retry(self, *, failed: bool, filtered: bool) -> None:
        """Make studies waiting again: those of which something failed; those of which filters left something out."""
        conditions = []
        if failed:
            conditions.append("state = 'failed' OR study IN (SELECT study FROM series WHERE state = 'failed')")
        if filtered:
            conditions.append("study IN (SELECT study FROM series WHERE is_filtered)")
        with self.transaction() as connection:
            for condition in conditions:
                connection.execute(
                    f"UPDATE studies SET state = ?, reason = '', deaths = 0 WHERE {condition}",  # noqa: S608 - constants
                    (StudyState.WAITING,),
                )

    def claim(self, run: int) -> StudyRow | None:
        """Take the next waiting study, those tried least first; it is this run's and nobody else's from now on."""
        with self.transaction() as connection:
            row = connection.execute(
                "UPDATE studies SET state = ?, run = ?, attempts = attempts + 1 WHERE study = (SELECT study FROM "
                "studies WHERE state = ? ORDER BY attempts, study LIMIT 1) RETURNING *",
                (StudyState.RUNNING, run, StudyState.WAITING),
            ).fetchone()
        return _study_row(row) if row else None

    def finish(self, report: StudyReport, *, keep_others: bool = False) -> None:
        """Enter what a worker reports about a study: study and series at once.

        Args:
            report: What it reports.
            keep_others: Keep the series that the report does not name.
        """
        with self.transaction() as connection:
            if not keep_others:
                connection.execute("DELETE FROM series WHERE study = ?", (report.study,))
            connection.executemany(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?)",
                [
                    (record.series, report.study, record.state, record.is_filtered, _to_json(record))
                    for record in report.series
                ],
            )
            connection.execute(
                "UPDATE studies SET state = ?, reason = ?, seconds = ? WHERE study = ?",
                (report.state, report.reason, report.seconds, report.study),
            )

    def give_back(self, study: str, *, died: bool) -> int:
        """Make a study waiting again; `died` when its worker died. Returns how often that has happened."""
        with self.transaction() as connection:
            row = connection.execute(
                "UPDATE studies SET state = ?, deaths = deaths + ? WHERE study = ? RETURNING deaths",
                (StudyState.WAITING, int(died), study),
            ).fetchone()
        return int(row["deaths"])

    def has_waiting(self) -> bool:
        """Whether any study waits; takes no longer in a large ledger than in a small one, unlike counting."""
        return self._row("SELECT 1 FROM studies WHERE state = ? LIMIT 1", StudyState.WAITING) is not None

    def counts(self) -> Counts:
        """Count studies and series by state."""
        by_study = dict(map(tuple, self._rows("SELECT state, count(*) FROM studies GROUP BY state")))
        by_series = dict(map(tuple, self._rows("SELECT state, count(*) FROM series GROUP BY state")))
        return Counts(
            {state: by_study.get(state, 0) for state in StudyState},
            {state: by_series.get(state, 0) for state in SeriesState},
        )

    def studies(self) -> Iterator[StudyRow]:
        """Return every study, sorted by pseudonym."""
        return map(_study_row, self._rows("SELECT * FROM studies ORDER BY study"))

    def series(self) -> Iterable[tuple[str, SeriesRecord]]:
        """Return the study and the record of every series, sorted by study."""
        for row in self._rows("SELECT study, record FROM series ORDER BY study, series"):
            yield row["study"], record_from_json(row["record"])

    def last_run(self) -> sqlite3.Row | None:
        """Return number, version, start, end and outcome of the last run."""
        return self._row("SELECT * FROM runs ORDER BY run DESC LIMIT 1")


def record_from_json(text: str) -> SeriesRecord:
    """Read a series' record from JSON; fields that a later version adds are ignored."""
    return msgspec.json.decode(text, type=SeriesRecord)


def _to_json(record: SeriesRecord) -> str:
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False)


def _study_row(row: sqlite3.Row) -> StudyRow:
    return msgspec.convert(dict(row), StudyRow)
