"""One hash for an input, whatever its files are called and in whatever order they come."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def hash_of_hashes(digests: Iterable[str]) -> str:
    """Return one SHA-256, in hexadecimal, for the SHA-256 of each file."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def hash_files(files: Iterable[Path]) -> str:
    """Return one SHA-256 for a set of files, each opened once."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hash_of_hashes(digests)


def hash_array(array: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for index in range(len(array)):  # part by part: no copy of the whole
        digest.update(np.ascontiguousarray(array[index]).tobytes())
    return digest.hexdigest()
