"""The output folder of a batch: what lies where, and whether this run may work in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import PRIVATE_FOLDER

from moeclip_med._version import RESULT_SCHEMA
from moeclip_med.batch.catalogue import Catalogue
from moeclip_med.batch.database import RunLock, explained
from moeclip_med.batch.ledger import SCHEMA_VERSION, Ledger
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.study import MARK_NAME

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PRIVATE_NAME = PRIVATE_FOLDER
LEDGER_NAME = "ledger.sqlite"
CATALOGUE_NAME = "private.sqlite"

_FORMAT = "format"
_GENERATION = "generation"
_IDENTITY = "model identity"
_SETTINGS = "settings"


class BatchOutput:
    """An output folder that this run holds: ledger, catalogue and pseudonyms, locked against other runs.

    ```
    OUT/triage.html, triage.csv, triage.parquet
    OUT/findings.csv, findings.parquet
    OUT/drift.html, drift.csv          with a calibrated model
    OUT/studies/<study>/<series>/      results of one series
    OUT/.batch/                        for the owner alone (mode 0700)
        ledger.sqlite                  names nobody
        private.sqlite, key            real names behind the pseudonyms
        unfinished/                    results being written
    ```
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, made if missing.

        Raises:
            InputError: If it holds something else, or another run is working on it.
        """
        self.folder = folder
        self.private = folder / PRIVATE_NAME
        self._cleanup = ExitStack()
        check_usable(folder)
        with explained(folder):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask: nobody else may put lists there
            self.private.mkdir(mode=0o700, exist_ok=True)
            for kept in (self.private, *folder.glob("studies")):
                kept.chmod(0o700)
            lock = RunLock(self.private / "lock", folder)
            self._cleanup.callback(lock.release)
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        self.pseudonyms = Pseudonyms.kept_in(self.private / MARK_NAME)
        shutil.rmtree(self.private / "unfinished", ignore_errors=True)
        (self.private / "unfinished").mkdir(mode=0o700, exist_ok=True)
        self.ledger = Ledger(self.private / LEDGER_NAME)
        self._cleanup.callback(self.ledger.close)
        self.catalogue = Catalogue(self.private / CATALOGUE_NAME)
        self._cleanup.callback(self.catalogue.close)
        _check_format(self.folder, self.ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._cleanup.close()

    def agree_on(self, settings: dict[str, Any], *, redo: bool) -> str:
        """Check that the settings are those of earlier runs; returns the fingerprint of all that changes a result.

        Args:
            settings: JSON-ready: what changes a result.
            redo: Score everything again, whatever was before.

        Raises:
            InputError: If they differ; it says in what.
        """
        if not redo:
            check_settings(self.folder, self.ledger, settings)
        settings = {**settings, "result schema": RESULT_SCHEMA}
        if redo:
            self.ledger.forget_results()
            self.ledger.set_meta(_GENERATION, str(int(self.ledger.meta(_GENERATION) or 0) + 1))
            self.ledger.set_meta(_IDENTITY, "")
        self.ledger.set_meta(_SETTINGS, json.dumps(settings, sort_keys=True))
        content = json.dumps([settings, self.ledger.meta(_GENERATION)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def check_model(self, identity: str) -> None:
        """Check that a worker's model is that of earlier runs and of the other workers.

        Raises:
            InputError: If it is another one.
        """
        known = self.ledger.meta(_IDENTITY)
        if not known:
            self.ledger.set_meta(_IDENTITY, identity)
        elif known != identity:
            raise InputError(
                f'the results in "{self.folder}" were made with another model (SHA-256 {known[:12]}…, now '
                f"{identity[:12]}…); add --redo to score everything again, or name another output folder"
            )


def check_usable(folder: Path) -> None:
    """Check that a folder can take a batch: it is missing, empty, or holds an earlier one.

    Raises:
        InputError: If it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--output "{folder}" is a file; name a folder')
    if folder.is_dir() and not (folder / PRIVATE_NAME).is_dir() and any(folder.iterdir()):
        raise InputError(f'--output "{folder}" is not empty and holds no earlier batch; name another folder')


def check_settings(folder: Path, ledger: Ledger, settings: dict[str, Any]) -> None:
    """Check that settings are those of the earlier runs that a ledger knows, if any.

    Raises:
        InputError: If they differ; it says in what.
    """
    settings = {**settings, "result schema": RESULT_SCHEMA}
    known = ledger.meta(_SETTINGS)
    if known and json.loads(known) != settings:
        difference = _difference(json.loads(known), settings)
        raise InputError(
            f'the results in "{folder}" were made with other settings ({difference}); '
            "add --redo to score everything again, or name another output folder"
        )


def _check_format(folder: Path, ledger: Ledger) -> None:
    known = ledger.meta(_FORMAT)
    if not known:
        ledger.set_meta(_FORMAT, SCHEMA_VERSION)
    elif known != SCHEMA_VERSION:
        raise InputError(
            f'the ledger in "{folder}" has format {known}, this version of moeclip-med writes {SCHEMA_VERSION}; '
            "name another output folder"
        )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name what differs: `threshold 0.5, now 0.6`."""
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {_show(before.get(name))}, now {_show(now.get(name))}" for name in names)


def _show(value: object) -> str:
    if value is None:
        return "unset"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
