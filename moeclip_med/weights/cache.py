"""Where downloaded weights, imported models and text embeddings are kept."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "MOECLIP_MED_CACHE"
"""Environment variable that moves the cache folder."""


def cache_folder() -> Path:
    """The cache folder: where MOECLIP_MED_CACHE says, else the system's place for caches. Need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("moeclip-med")


def towers_folder() -> Path:
    """Where weights of towers lie, downloaded or put there by hand."""
    return cache_folder() / "towers"


def models_folder() -> Path:
    """Where imported and trained models lie, one folder each."""
    return cache_folder() / "models"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Return a temporary path beside `path`, which takes its place when the block ends well and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors and tempfile leave files that only their owner may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
