"""What a run has counted so far, on disk: it can stop at any moment and go on there.

Rows of finished cases are written in chunks and dropped from memory, so memory does not grow with the set. The last
step of a save is the replacement of one small file that names all others; what it does not name does not count.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

_PROGRESS = "progress.json"


class Store:
    """The folder of one set's counts.

    Args:
        folder: Made if missing.
        settings_hash: Of all settings that change a figure.

    Attributes:
        progress: JSON-ready facts about what was done; saved with every chunk.

    Raises:
        InputError: If the folder holds a run with other settings.
    """

    def __init__(self, folder: Path, settings_hash: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.progress: dict[str, Any] = {"settings_hash": settings_hash, "done": 0, "chunks": 0, "counts": ""}
        path = folder / _PROGRESS
        if path.exists():
            self.progress = json.loads(path.read_text(encoding="utf-8"))
            if self.progress["settings_hash"] != settings_hash:
                raise InputError(
                    f'"{folder.parent.parent}" holds a run with another model, data or settings; '
                    "name another output folder, or start anew with --restart"
                )

    def save(self, rows: Arrays, counts: Arrays) -> None:
        """Save the rows of the cases since the last save, the running counts, and `progress`."""
        chunk = self.progress["chunks"]
        _write(self._chunk(chunk), rows)
        before, after = self.progress["counts"], f"counts-{chunk:05d}.npz"
        _write(self.folder / after, counts)
        self.progress |= {"chunks": chunk + 1, "counts": after}
        self.save_progress()
        if before:
            (self.folder / before).unlink(missing_ok=True)

    def save_progress(self) -> None:
        """Save `progress` alone."""
        beside = self.folder / f"{_PROGRESS}.new"
        beside.write_text(json.dumps(self.progress, indent=1), encoding="utf-8")
        beside.replace(self.folder / _PROGRESS)

    def counts(self) -> dict[str, NDArray[Any]]:
        """Load the running counts of the last save; empty at the start."""
        return _read(self.folder / self.progress["counts"]) if self.progress["counts"] else {}

    def column(self, name: str) -> NDArray[Any]:
        """Load one array of all rows, the chunks joined along the first axis."""
        parts = []
        for chunk in range(self.progress["chunks"]):
            with np.load(self._chunk(chunk), allow_pickle=False) as arrays:
                if name in arrays:
                    parts.append(arrays[name])
        return np.concatenate(parts) if parts else np.zeros(0)

    def _chunk(self, number: int) -> Path:
        return self.folder / f"rows-{number:05d}.npz"


def _write(path: Path, arrays: Arrays) -> None:
    beside = path.with_suffix(".new")
    with beside.open("wb") as stream:
        np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
