"""Where a command writes to, looked at before it starts to work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def check_writable(output: Path) -> None:
    """Refuse an output folder that cannot be made or written to, before hours of work are lost for it.

    Raises:
        InputError: When it is a file, or the folder that it would be made in cannot be written to.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f'--output "{output}" is a file; name a folder')
    place = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f'--output "{output}": "{place}" cannot be written to; change its permissions or name another folder'
        )
