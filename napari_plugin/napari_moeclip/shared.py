"""Arrays in memory that the viewer and the scoring process share, so that no pixel is copied or pickled."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import sys
import weakref
from dataclasses import dataclass
from math import prod
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

_LINUX_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it; only its free space is asked for
_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of Linux: neither Python nor NumPy has a name for it."""
_AT_ONCE = 16 * 2**20
_owned: dict[str, SharedMemory] = {}


@dataclass(frozen=True)
class SharedArrayReference:
    """What the other process needs to find an array.

    Attributes:
        name: Name of the block, known to the operating system.
        shape: Shape of the array.
        dtype: NumPy's name of its type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class SharedArray:
    """An array in shared memory.

    The process that owns it removes the block when the last view of `array` is gone, and at exit at the latest.

    Attributes:
        array: The values, C-contiguous.
        reference: How the other process finds it.
    """

    def __init__(self, block: SharedMemory, reference: SharedArrayReference, *, owns: bool) -> None:
        self.reference = reference
        self.array: NDArray[Any] = np.ndarray(reference.shape, reference.dtype, buffer=block.buf)
        if owns:
            _owned[reference.name] = block
        # NumPy keeps no hold on the block's memory, so the block has to outlive every view of the array: each view
        # keeps the array alive, the array's finalizer keeps the block.
        weakref.finalize(self.array, _release, block, owns=owns).atexit = False

    @classmethod
    def create(cls, shape: Sequence[int], dtype: DTypeLike) -> SharedArray:
        """Make an array of zeros that this process owns.

        Raises:
            InputError: When there is not enough memory for it.
        """
        kind = np.dtype(dtype)
        size = max(1, prod(shape) * kind.itemsize)
        _check_free(size)
        try:
            block = SharedMemory(create=True, size=size)
        except OSError as error:
            raise InputError(_too_large(size)) from error
        return cls(block, SharedArrayReference(block.name, tuple(int(n) for n in shape), kind.str), owns=True)

    def find_pages(self) -> None:
        """Let the system find the memory of the whole array in a thread, where it is about to be filled at once."""
        if sys.platform == "linux":
            Thread(target=_find_pages, args=(self.array,), daemon=True).start()

    @classmethod
    def attach(cls, reference: SharedArrayReference) -> SharedArray:
        """Find an array that the other process owns."""
        return cls(_open(reference.name), reference, owns=False)

    @classmethod
    def adopt(cls, reference: SharedArrayReference) -> SharedArray:
        """Find an array that the other process made and own it from now on."""
        return cls(SharedMemory(reference.name), reference, owns=True)

    def hand_over(self) -> SharedArrayReference:
        """Give the array away: the other process `adopt`s it; keep this object until it has."""
        block = _owned.pop(self.reference.name)
        _forget(block)
        return self.reference


def _find_pages(array: NDArray[Any]) -> None:
    """Let the system find an array's memory while others read headers: a page met in writing costs ten times as much.

    Linux before 5.14 does not know the advice and goes without. The array is held meanwhile, so its memory stays.
    """
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    start = array.ctypes.data
    for offset in range(0, array.nbytes, _AT_ONCE):
        if advise(start + offset, min(_AT_ONCE, array.nbytes - offset), _POPULATE_WRITE):
            return


def _release(block: SharedMemory, *, owns: bool) -> None:
    if owns and _owned.pop(block.name, None) is not None:
        block.unlink()
    block.close()


@atexit.register
def _unlink_all() -> None:
    """Remove what is still owned; not closed, since something may still draw from it."""
    while _owned:
        _, block = _owned.popitem()
        block.unlink()


def _open(name: str) -> SharedMemory:
    """Open a block without becoming its owner (before Python 3.13 opening one meant to remove it at exit)."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    block = SharedMemory(name)
    _forget(block)
    return block


def _forget(block: SharedMemory) -> None:
    if os.name == "posix":
        from multiprocessing import resource_tracker

        resource_tracker.unregister(f"/{block.name.lstrip('/')}", "shared_memory")


def _check_free(size: int) -> None:
    """Linux promises memory that it does not have and kills who touches it, so ask before."""
    if _LINUX_SHARED_MEMORY.is_dir() and shutil.disk_usage(_LINUX_SHARED_MEMORY).free < size:
        raise InputError(_too_large(size))


def _too_large(size: int) -> str:
    return (
        f"The image needs {size / 2**20:.0f} MiB of shared memory, more than is free; close other images, "
        f"or score with the command moeclip-med score, which needs none."
    )
