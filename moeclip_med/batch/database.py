"""SQLite as the ledger needs it: write-ahead log, short transactions, errors as sentences."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_WAIT_SECONDS = 30.0
"""How long a writer waits for another one: `batch status` reads while the run writes."""


class StorageError(InputError):
    """The output folder cannot take what has to be written: the run stops and can be taken up again."""


def open_database(path: Path, schema: str, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database, made with its schema if missing, readable by its owner alone.

    The write-ahead log (https://www.sqlite.org/wal.html) keeps readers and the writer out of each other's way, and
    what is committed survives `kill -9`. On file systems without it SQLite falls back to its rollback journal, which
    is as safe.

    Raises:
        StorageError: If it cannot be opened or is damaged.
    """
    with explained(path):
        if read_only:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # its log takes the same permissions
            connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(schema)
        connection.row_factory = sqlite3.Row
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do several things at once or not at all; other writers wait.

    Raises:
        StorageError: If the disk is full or the database cannot be written.
    """
    with explained():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:  # a full disk has rolled back already
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def explained(path: Path | None = None) -> Iterator[None]:
    """Turn errors of SQLite into one sentence."""
    where = f'"{path}"' if path else "the ledger"
    try:
        yield
    except sqlite3.OperationalError as error:
        reason = "the disk is full" if "full" in str(error) else f"it cannot be read or written ({error})"
        raise StorageError(
            f"{where}: {reason}; free space or check the folder, then run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"{where} is damaged ({error}); restore it from a copy, or start again in another output folder"
        ) from error
    except PermissionError as error:
        raise StorageError(
            f'"{error.filename or path}": {error.strerror}; it may belong to another user: change its permissions, or '
            "choose another output folder"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{where}: {error.strerror or error}; check the output folder, then run the same command again"
        ) from error


class Database:
    """A database of an output folder."""

    schema: ClassVar[str]
    """What makes its tables."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._connection = open_database(path, self.schema, read_only=read_only)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Do several things at once or not at all."""
        return transaction(self._connection)

    def _rows(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        with explained():
            yield from self._connection.execute(query, values)

    def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        return next(self._rows(query, *values), None)


_LOCK_WAIT_SECONDS = 1.0
"""`batch status` holds the lock for a moment to see whether a run does."""


class RunLock:
    """Held by the one run that works on an output folder; the system lets go of it when the process dies.

    It is SQLite's own file lock on an empty database, which works alike on Linux, macOS and Windows.
    """

    def __init__(self, path: Path, output: Path) -> None:
        with explained(path):
            path.touch(mode=0o600)  # its journal gets the same mode
        self._connection = sqlite3.connect(path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._connection.close()
            if "locked" not in str(error):
                raise StorageError(
                    f'"{path}" cannot be locked ({error}); choose an output folder on another file system'
                ) from error
            raise InputError(
                f'another run is working on "{output}"; wait for it ("moeclip-med batch status" tells how far it is), '
                "or choose another output folder"
            ) from error

    def release(self) -> None:
        """Let go."""
        self._connection.close()
