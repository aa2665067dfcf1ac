"""Folders for what may hold patients' data for a while: unpacked archives, fetched studies, databases of a dry run.

Each is new, of an unguessable name, and open to its owner alone (mode 0700, as `tempfile.mkdtemp` makes it). The
output folder remembers its name, so that the next run removes what a killed one left.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

_PREFIX = "moeclip-med-"
RECORD_NAME = "scratch"


def new_scratch(private: Path) -> Path:
    """Make a folder on this machine, and remove the one that an earlier run with the same output left.

    Args:
        private: The private folder of the output, which keeps the name.
    """
    record = private / RECORD_NAME
    left = _read(record)
    if left is not None:
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    record.write_text(str(folder), encoding="utf-8")
    record.chmod(0o600)
    return folder


def remove_scratch(private: Path, folder: Path) -> None:
    """Remove a folder that `new_scratch` made."""
    shutil.rmtree(folder, ignore_errors=True)
    (private / RECORD_NAME).unlink(missing_ok=True)


def _read(record: Path) -> Path | None:
    """The folder an earlier run left, if it is one of ours: nothing else is ever removed."""
    try:
        folder = Path(record.read_text(encoding="utf-8").strip())
        facts = folder.lstat()
    except (OSError, ValueError):
        return None
    is_ours = stat.S_ISDIR(facts.st_mode) and (not hasattr(os, "getuid") or facts.st_uid == os.getuid())
    is_in_place = folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith(_PREFIX)
    return folder if is_ours and is_in_place else None


def close_to_others(folder: Path) -> None:
    """Let only the owner read a folder and what is in it (0700, 0600): results may hold names, and show bodies."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
