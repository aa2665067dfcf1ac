"""Stable names for patients, studies and series that say nothing about them.

A pseudonym is a keyed hash (HMAC-SHA-256, RFC 2104) of the real identifier. The key is made once per output folder
and readable by its owner alone: without it nobody can find out by trying whether a patient is in the list, with it
the same patient has the same name in every run.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.batch.database import explained

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moeclip_med.batch.records import FileStamp

_KEY_BYTES = 32
_LETTERS = 12
"""60 bits: among a million names, two are the same with a chance of 4 in 10 million."""


class Pseudonyms:
    """The names of one output folder."""

    def __init__(self, key: bytes) -> None:
        """Take the key.

        Raises:
            InputError: If it is too short or all zeros, as a full disk leaves a file: names could be guessed.
        """
        if len(key) != _KEY_BYTES or not any(key):
            raise InputError(
                f"the key of the pseudonyms holds {len(key)} bytes that are no key; expected {_KEY_BYTES} random bytes"
            )
        self.key = key

    @classmethod
    def kept_in(cls, path: Path) -> Pseudonyms:
        """Read the key from a file, or make both if there is none; only the owner may read it.

        A new key is written beside its place, brought to the disk, renamed and read again, so that a full disk or a
        power cut never leaves a part of one.

        Raises:
            InputError: If the file holds no key.
            StorageError: If it cannot be written.
        """
        with explained(path.parent):
            if not path.exists():
                _write_key(path, secrets.token_bytes(_KEY_BYTES))
            found = path.read_bytes()
        try:
            return cls(found)
        except InputError as error:
            raise InputError(
                f'"{path}": {error}; restore it from a copy, or start again in another output folder'
            ) from error

    def patient(self, identifier: str) -> str:
        """Name a patient after the PatientID."""
        return self._name("patient", identifier)

    def study(self, identifier: str) -> str:
        """Name a study after its StudyInstanceUID, or the path of a single file."""
        return self._name("study", identifier)

    def series(self, study: str, identifier: str) -> str:
        """Name a series after its SeriesInstanceUID within a study."""
        return self._name("series", f"{study}\0{identifier}")

    def scanner(self, identifier: str) -> str:
        """Name a scanner after its maker, model and serial number; "" where none of them is known."""
        return self._name("scanner", identifier) if identifier.strip("\0 ") else ""

    def signature(self, files: Iterable[FileStamp]) -> str:
        """Return one value that changes whenever a file is added, removed or changed."""
        digest = hmac.new(self.key, digestmod=hashlib.sha256)
        for stamp in sorted(files, key=lambda stamp: os.fsencode(stamp.path)):
            digest.update(b"%s\0%d\0%d\0" % (os.fsencode(stamp.path), stamp.size, stamp.mtime_ns))
        return digest.hexdigest()

    def _name(self, what: str, identifier: str) -> str:
        text = f"{what}\0{identifier}"
        try:
            message = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # surrogates that stand for no byte, as damaged headers hold
            message = text.encode("utf-8", "surrogatepass")
        digest = hmac.digest(self.key, message, "sha256")
        return f"{what}-{base64.b32encode(digest).decode()[:_LETTERS].lower()}"


def _write_key(path: Path, key: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(key)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, path)  # unlike a rename, it never replaces a key that another process made meanwhile
        except FileExistsError:
            return
        except OSError:  # a file system without links
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
