"""Compiled models on disk: taken only if whole, rebuilt if damaged, done without where nothing can be kept.

A compiled model is foreign code's own format, loaded without any check of its own: one that was altered would score
other values and say nothing. So beside each lies its SHA-256, and what is hashed is what is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.naming import reason

from moeclip_med.engines.base import EngineWarning
from moeclip_med.weights.cache import CACHE_VARIABLE, cache_folder, written_whole

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 8 * 2**30
"""All compiled models together; those unused for longest go first."""
_LONGEST_RECORD = 4096
_STALE_SECONDS = 86_400.0
"""A draft older than this was left by a process that was ended."""
_OWN_NAME = re.compile(r"[0-9a-f]{64}\.(blob|json)|\.[0-9a-f]{64}\.(blob|json)\.[0-9a-f]{32}\.part")


@dataclass(frozen=True)
class Agreement:
    """How near the compiled model's maps are to PyTorch's in float32, on synthetic industrial images.

    Attributes:
        correlation: Of all pixels of the maps.
        largest: The largest difference of a pixel.
    """

    correlation: float
    largest: float


def load(key: str) -> tuple[bytes, Agreement] | None:
    """Return a compiled model and its agreement; None where there is none that is whole.

    Warns:
        EngineWarning: If there is one that was damaged or altered; it is removed.
    """
    blob, record = _paths(key)
    try:
        found = _read(blob, record)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _warn(f'the compiled model in "{blob}" cannot be read ({error.strerror or error}); it is compiled again')
        return None
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        _warn(f'the compiled model in "{blob}" is damaged ({reason(error)}); it is compiled again')
        discard(key)
        return None
    for path in (blob, record):
        with suppress(OSError):
            os.utime(path)
    return found


def _read(blob: Path, record: Path) -> tuple[bytes, Agreement]:
    for path in (blob, record):
        if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would keep the reader waiting
            raise ValueError(f'"{path.name}" is a link, a pipe or a device')
    with record.open("rb") as stream:
        facts = json.loads(stream.read(_LONGEST_RECORD))
    agreement = Agreement(float(facts["correlation"]), float(facts["largest"]))
    if not (math.isfinite(agreement.correlation) and math.isfinite(agreement.largest)):
        raise ValueError("its agreement with PyTorch is no number")
    content = blob.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise ValueError("its SHA-256 is another one")
    return content, agreement


def store(key: str, content: bytes, agreement: Agreement) -> None:
    """Keep a compiled model, and remove those unused for longest.

    Two processes may do this at once: each writes beside and renames, and a record that does not fit is noticed.

    Warns:
        EngineWarning: If nothing can be kept here: it is compiled at every start then.
    """
    blob, record = _paths(key)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), **asdict(agreement)}
    try:
        with written_whole(blob) as temporary:
            temporary.write_bytes(content)
        with written_whole(record) as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")
    except OSError as error:
        _warn(
            f'the compiled model cannot be kept in "{blob.parent}" ({error.strerror or error}), so each start compiles '
            f"it again; free space there, or name another folder in {CACHE_VARIABLE}"
        )
        return
    prune(blob.parent, keep=key)


def discard(key: str) -> None:
    """Remove a compiled model, if that can be done."""
    for path in _paths(key):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def prune(folder: Path, keep: str = "") -> None:
    """Remove drafts that were left behind, and the models unused for longest beyond `MOST_BYTES`."""
    left = MOST_BYTES
    with suppress(OSError):
        found = [(path.stat(), path) for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name)]
        for facts, path in sorted(found, key=lambda item: (item[1].stem != keep, -item[0].st_mtime)):
            if path.suffix == ".part":
                is_kept = time.time() - facts.st_mtime < _STALE_SECONDS
            else:
                left -= facts.st_size
                is_kept = left >= 0 or path.stem == keep
            if not is_kept:
                with suppress(OSError):
                    path.unlink()


def _paths(key: str) -> tuple[Path, Path]:
    blob = cache_folder() / "compiled" / f"{key}.blob"
    return blob, blob.with_suffix(".json")


def _warn(message: str) -> None:
    warnings.warn(message, EngineWarning, stacklevel=3)
