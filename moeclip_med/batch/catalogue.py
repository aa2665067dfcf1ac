"""What was found where: real paths and identifiers, for the owner of the output alone.

Kept in a database of its own (`private.sqlite`, mode 0600), apart from the ledger, which names nobody. It is also the
cache of the header scan: a file of unchanged size and time is not opened again.
"""

from __future__ import annotations

import os
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.printable import printable

from moeclip_med.batch.database import Database
from moeclip_med.batch.records import FileStamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from moeclip_med.batch.headers import FileHeader
    from moeclip_med.batch.records import PrivateDetail

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, walk INTEGER NOT NULL,
    is_scanned INTEGER NOT NULL DEFAULT 0, study TEXT NOT NULL DEFAULT '', problem TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_of_study ON files (study) WHERE study <> '';
CREATE INDEX IF NOT EXISTS files_to_scan ON files (path) WHERE is_scanned = 0;
CREATE TABLE IF NOT EXISTS studies (
    study TEXT PRIMARY KEY, study_uid TEXT NOT NULL, patient TEXT NOT NULL, patient_id TEXT NOT NULL,
    accession_number TEXT NOT NULL, scanner TEXT NOT NULL, week TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS details (item TEXT PRIMARY KEY, identifier TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID;
"""  # noqa: E501
_CHUNK = 5000


class Catalogue(Database):
    """The private side of an output folder."""

    schema = _SCHEMA

    def see(self, stamps: Iterable[FileStamp], walk: int) -> None:
        """Note files that a walk found; those that are new or changed will have to be scanned."""
        rows = [(os.fsencode(stamp.path), stamp.size, stamp.mtime_ns, walk) for stamp in stamps]
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO files (path, size, mtime_ns, walk) VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
                "is_scanned = is_scanned AND size = excluded.size AND mtime_ns = excluded.mtime_ns, "
                "size = excluded.size, mtime_ns = excluded.mtime_ns, walk = excluded.walk",
                rows,
            )

    def unscanned(self) -> list[FileStamp]:
        """Return some files whose headers have not been read; none when all have."""
        return list(
            map(_stamp, self._rows("SELECT path, size, mtime_ns FROM files WHERE is_scanned = 0 LIMIT ?", _CHUNK))
        )

    def count_unscanned(self) -> int:
        """Count the files whose headers have not been read."""
        return self._count("is_scanned = 0")

    def add_headers(self, headers: Iterable[FileHeader]) -> None:
        """Note what headers say: which study a file belongs to, or why it belongs to none."""
        listed = list(headers)
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE files SET is_scanned = 1, study = ?, problem = ? WHERE path = ?",
                [(header.study, header.problem, os.fsencode(header.path)) for header in listed],
            )
            connection.executemany(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (study) DO NOTHING",
                {
                    header.study: (
                        header.study, printable(header.study_uid), header.patient,
                        printable(header.patient_id), printable(header.accession_number), header.scanner, header.week,
                    )
                    for header in listed
                    if header.study
                }.values(),
            )  # fmt: skip

    def studies(self, walk: int) -> Iterator[tuple[str, str, list[FileStamp]]]:
        """Return each study seen by a walk: pseudonym, patient's pseudonym, files sorted by path."""
        rows = self._rows(
            "SELECT files.study, patient, path, size, mtime_ns FROM files JOIN studies USING (study) "
            "WHERE files.study <> '' AND walk = ? ORDER BY files.study, path",
            walk,
        )
        for (study, patient), files in groupby(rows, key=itemgetter("study", "patient")):
            yield study, patient, list(map(_stamp, files))

    def files_of(self, study: str) -> tuple[FileStamp, ...]:
        """Return the files of one study as last seen, sorted by path."""
        rows = self._rows(
            "SELECT path, size, mtime_ns FROM files WHERE study = ? AND walk = (SELECT max(walk) FROM files "
            "WHERE study = ?) ORDER BY path",
            study,
            study,
        )
        return tuple(map(_stamp, rows))

    def problems(self, walk: int) -> list[tuple[Path, str]]:
        """Return the files that cannot be read, with the reason."""
        rows = self._rows("SELECT path, problem FROM files WHERE problem <> '' AND walk = ? ORDER BY path", walk)
        return [(Path(os.fsdecode(row["path"])), row["problem"]) for row in rows]

    def count_others(self, walk: int) -> int:
        """Count the files that are no images."""
        return self._count("study = '' AND problem = '' AND is_scanned AND walk = ?", walk)

    def add_details(self, details: Iterable[PrivateDetail]) -> None:
        """Keep the real names and full messages behind pseudonyms."""
        rows = [
            (detail.item, printable(detail.identifier), printable(detail.message, lines=True)) for detail in details
        ]
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO details VALUES (?, ?, ?)", rows)

    def detail(self, item: str) -> tuple[str, str]:
        """Return the real identifier and full message behind a pseudonym, "" where there is none."""
        row = self._row("SELECT identifier, message FROM details WHERE item = ?", item)
        return (row["identifier"], row["message"]) if row else ("", "")

    def acquisitions(self) -> dict[str, tuple[str, str]]:
        """Return the scanner's pseudonym and the ISO week of each study whose header tells both."""
        rows = self._rows("SELECT study, scanner, week FROM studies WHERE scanner <> '' AND week <> ''")
        return {row["study"]: (row["scanner"], row["week"]) for row in rows}

    def add_study(self, header: FileHeader) -> None:
        """Note a study that no file of the archive holds: one that a PACS told."""
        self.add_headers([header])

    def identities(self) -> dict[str, dict[str, str]]:
        """Return PatientID, AccessionNumber and UID of each study by its pseudonym: for `--identify`."""
        rows = map(dict, self._rows("SELECT study, patient_id, accession_number, study_uid FROM studies"))
        return {row.pop("study"): row for row in rows}

    def _count(self, condition: str, *values: object) -> int:
        return sum(row[0] for row in self._rows(f"SELECT count(*) FROM files WHERE {condition}", *values))  # noqa: S608 - constants


def _stamp(row: sqlite3.Row) -> FileStamp:
    return FileStamp(Path(os.fsdecode(row["path"])), row["size"], row["mtime_ns"])
