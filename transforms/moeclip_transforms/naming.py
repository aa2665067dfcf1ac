"""Names for files and failures, the same in every reader."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OWN_NAME = "MoECLIP-Med"
"""What our own results carry, as manufacturer or description, so that they are never taken for images."""

OWN_RESULT = f"a result of {OWN_NAME} itself"


def stable_uid(path: Path) -> str:
    """An identifier for a file that has none: made from its name, the same wherever the file lies."""
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"file-{digest}"


def reason(error: BaseException) -> str:
    """The first line of what a library complained about, or the name of its error, without a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which may name a patient
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
