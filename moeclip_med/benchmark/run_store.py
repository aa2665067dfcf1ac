"""What a run has counted so far, on disk: it can stop at any moment and go on there.

Rows of finished cases are written in chunks and dropped from memory, so memory does not grow with the set. The last
step of a save is the replacement of one small file that names all others; what it does not name does not count.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.set_progress import PROGRESS_NAME, SetProgress, SetRecord, damaged_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Store:
    """The folder of one set's counts.

    Args:
        folder: It holds the arrays.
        progress: What was done; saved with every chunk.
    """

    def __init__(self, folder: Path, progress: SetProgress) -> None:
        self.folder, self.progress = folder, progress

    @classmethod
    def begin(cls, folder: Path, settings_hash: str, about: SetRecord) -> Store:
        """Begin a set in a folder, or go on there.

        Raises:
            InputError: The folder holds a run with other settings, or a damaged one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / PROGRESS_NAME).exists():
            return cls(folder, SetProgress(settings_hash, about))
        progress = SetProgress.read(folder)
        if progress.settings_hash != settings_hash:
            raise InputError(
                f'"{folder.parent.parent}" holds a run with another model, data or settings; '
                "name another output folder, or start anew with --restart"
            )
        return cls(folder, progress)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open what an earlier run counted.

        Raises:
            InputError: It is damaged.
        """
        return cls(folder, SetProgress.read(folder))

    def save(self, rows: Arrays, counts: Arrays) -> None:
        """Save the rows of the cases since the last save, the running counts, and `progress`."""
        progress = self.progress
        _write(self._chunk(progress.chunks), rows)
        before, after = progress.counts, f"counts-{progress.chunks:05d}.npz"
        _write(self.folder / after, counts)
        progress.chunks, progress.counts = progress.chunks + 1, after
        progress.write(self.folder)
        if before:
            (self.folder / before).unlink(missing_ok=True)

    def counts(self) -> dict[str, NDArray[Any]]:
        """Load the running counts of the last save; empty at the start.

        Raises:
            InputError: They are damaged.
        """
        return _read(self.folder / self.progress.counts) if self.progress.counts else {}

    def column(self, name: str) -> NDArray[Any]:
        """Load one array of all rows, the chunks joined along the first axis.

        Raises:
            InputError: They are damaged.
        """
        chunks = (_read(self._chunk(number), name) for number in range(self.progress.chunks))
        parts = [arrays[name] for arrays in chunks if name in arrays]
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


def _read(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file: those that are named, where any is."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if not names or name in names}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise damaged_run(path) from error
