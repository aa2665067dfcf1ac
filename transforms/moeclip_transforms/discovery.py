"""What a path holds, from headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.nifti import scan_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms.volume import Series


def discover(path: Path) -> tuple[tuple[Series, ...], tuple[tuple[Path, str], ...]]:
    """Find the series under a path."""
    if not path.exists():
        raise InputError(f'"{path}" does not exist.')
    return (scan_nifti(path),), ()
