"""Whether there is room for what a header declares: a few bytes can declare gigabytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat

if TYPE_CHECKING:
    from moeclip_transforms.volume import Series


def check_memory(series: Series) -> None:
    """Refuse a series whose values, as stored and as float32, need more memory than this machine has free.

    Raises:
        InputError: When they do.
    """
    import psutil

    n_stored = series.shape[3] if series.format is FileFormat.ITK else 1  # all its time points are unpacked
    needed = 4 * math.prod(series.shape[:3]) * series.channels * (1 + n_stored)
    free = psutil.virtual_memory().available
    if needed > free:
        x, y, z, _ = series.shape
        what = f'"{series.files[0].name}"' if len(series.files) == 1 else f"Series {series.uid}"
        raise InputError(
            f"{what} declares {x}×{y}×{z} voxels, which take {needed / 2**30:.1f} GiB to read, and this machine has "
            f"{free / 2**30:.1f} GiB of memory free; it is damaged, or read it on a larger machine."
        )
