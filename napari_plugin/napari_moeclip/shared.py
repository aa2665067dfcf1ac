"""Arrays in memory that the viewer and the scoring process share, so that no pixel is copied or pickled.

Each array is a file that both processes map. On Linux the files lie in `/dev/shm`, which is memory; elsewhere in the
folder for temporary files, of which the operating system keeps what is in use in memory.
"""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

_LINUX_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_PREFIX = "moeclip-med-"
_owned: set[str] = set()


class _Viewer:
    """Whose arrays this process makes: the viewer's, which may outlive a scoring process."""

    pid = os.getpid()


def belong_to(pid: int) -> None:
    """Name the arrays that this process makes after a viewer, whose end makes them waste.

    Args:
        pid: The viewer's process.
    """
    _Viewer.pid = pid


@dataclass(frozen=True)
class SharedArrayReference:
    """What the other process needs to find an array.

    Attributes:
        path: The file that both processes map.
        shape: Shape of the array.
        dtype: NumPy's name of its type.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str


class SharedArray:
    """An array in shared memory.

    The process that owns it removes the file when the last view of `array` is gone, and at exit at the latest.

    Attributes:
        array: The values, C-contiguous.
        reference: How the other process finds it.
    """

    def __init__(self, reference: SharedArrayReference, *, owns: bool) -> None:
        self.reference = reference
        with Path(reference.path).open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        count = prod(reference.shape)
        values: NDArray[Any] = np.frombuffer(memory, reference.dtype, count)
        self.array: NDArray[Any] = values.reshape(reference.shape)
        if owns:
            _owned.add(reference.path)
        weakref.finalize(memory, _remove, reference.path).atexit = False  # every view keeps the memory alive

    @classmethod
    def create(cls, shape: Sequence[int], dtype: DTypeLike) -> SharedArray:
        """Make an array of zeros that this process owns.

        Raises:
            InputError: When there is not enough memory for it.
        """
        _remove_left_behind()
        kind = np.dtype(dtype)
        size = max(1, prod(shape) * kind.itemsize)
        folder = _folder()
        if shutil.disk_usage(folder).free < size:  # a sparse file would promise memory that is not there
            raise InputError(
                f"The image needs {size / 2**20:.0f} MiB of shared memory, more than is free; close other images, "
                f"or score with the command moeclip-med score, which needs none."
            )
        handle, path = tempfile.mkstemp(prefix=f"{_PREFIX}{_Viewer.pid}-", dir=folder)
        os.truncate(handle, size)
        os.close(handle)
        return cls(SharedArrayReference(path, tuple(int(n) for n in shape), kind.str), owns=True)

    @classmethod
    def attach(cls, reference: SharedArrayReference) -> SharedArray:
        """Find an array that the other process owns."""
        return cls(reference, owns=False)

    @classmethod
    def adopt(cls, reference: SharedArrayReference) -> SharedArray:
        """Find an array that the other process made and own it from now on."""
        return cls(reference, owns=True)

    def hand_over(self) -> SharedArrayReference:
        """Hand the array over: the other process `adopt`s it; keep this object until it has."""
        _owned.discard(self.reference.path)
        return self.reference


def _folder() -> Path:
    return _LINUX_MEMORY if _LINUX_MEMORY.is_dir() else Path(tempfile.gettempdir())


@cache
def _remove_left_behind() -> None:
    """Once per process: give back what processes of this user hold that were killed; their names tell who they were."""
    for path in _folder().glob(f"{_PREFIX}*-*"):
        with contextlib.suppress(OSError):
            owner = path.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                path.unlink()


def _remove(path: str) -> None:
    if path in _owned:
        with contextlib.suppress(OSError):  # Windows keeps a file that the other process maps; removed at exit
            Path(path).unlink(missing_ok=True)
            _owned.discard(path)


@atexit.register
def _remove_all() -> None:
    for path in list(_owned):
        _remove(path)
