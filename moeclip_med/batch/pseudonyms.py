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
        self.key = key

    @classmethod
    def kept_in(cls, path: Path) -> Pseudonyms:
        """Read the key from a file, or make both if there is none; only the owner may read it."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(path.read_bytes())
        key = secrets.token_bytes(_KEY_BYTES)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key)
        return cls(key)

    @classmethod
    def for_once(cls) -> Pseudonyms:
        """Make a key that is not kept: where nothing is written, names need not last."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    def patient(self, identifier: str) -> str:
        """Name a patient after the PatientID."""
        return self._name("patient", identifier)

    def study(self, identifier: str) -> str:
        """Name a study after its StudyInstanceUID, or the path of a single file."""
        return self._name("study", identifier)

    def series(self, study: str, identifier: str) -> str:
        """Name a series after its SeriesInstanceUID within a study."""
        return self._name("series", f"{study}\0{identifier}")

    def signature(self, files: Iterable[FileStamp]) -> str:
        """Give one value that changes whenever a file is added, removed or changed."""
        digest = hmac.new(self.key, digestmod=hashlib.sha256)
        for stamp in sorted(files, key=lambda stamp: os.fsencode(stamp.path)):
            digest.update(b"%s\0%d\0%d\0" % (os.fsencode(stamp.path), stamp.size, stamp.mtime_ns))
        return digest.hexdigest()

    def _name(self, what: str, identifier: str) -> str:
        message = f"{what}\0{identifier}".encode("utf-8", "surrogateescape")
        digest = hmac.digest(self.key, message, "sha256")
        return f"{what}-{base64.b32encode(digest).decode()[:_LETTERS].lower()}"
