"""A record of every look at a set: how often a test set was used is part of what a figure on it is worth.

One line of JSON per evaluation, in the user's own data folder. A set is known by the content of its images and truth,
so that neither name nor place of the folder matters.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moeclip_med.benchmark.datasets.case import Dataset

FILE_NAME = "benchmark-looks.jsonl"
ENVIRONMENT = "MOECLIP_MED_DATA"
"""Names another folder than the user's own."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Look:
    """One evaluation of one set.

    Attributes:
        set_sha256: Of the set's content.
        name: Of the set, as the user called it.
        model: Name and version.
        model_sha256: Of its weights.
        settings: What was asked for.
        created: When, UTC.
        figures: The headline figures.
    """

    set_sha256: str
    name: str
    model: str
    model_sha256: str
    settings: dict[str, str]
    created: str
    figures: dict[str, float | None]


def looks_path() -> Path:
    """Return the file of the record; its folder may not exist yet."""
    own = os.environ.get(ENVIRONMENT)
    if own:
        return Path(own) / FILE_NAME
    from platformdirs import user_data_path

    return user_data_path("moeclip-med") / FILE_NAME


def read_looks(path: Path) -> list[Look]:
    """Read the record; lines that are none (cut short by a full disk, or of a later version) are skipped.

    Raises:
        OSError: It is there and cannot be read.
    """
    looks = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            looks.append(Look(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return looks


def count_looks(looks: Iterable[Look], set_sha256: str) -> tuple[int, int]:
    """Return how often a set was looked at, and with how many different models."""
    models = [look.model_sha256 for look in looks if look.set_sha256 == set_sha256]
    return len(models), len(set(models))


def add_look(path: Path, look: Look) -> None:
    """Append one line, whole, whatever else writes there at the same time.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(look), ensure_ascii=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def hash_set(dataset: Dataset) -> str:
    """Hash the content of a set: of each image and its truth, in no particular order."""
    cases = sorted(_hash_files((case.image, case.mask)) for case in dataset.cases)
    return hashlib.sha256("\n".join(cases).encode()).hexdigest()


def _hash_files(paths: Iterable[Path | None]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"|")
        if path is None:
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
    return digest.hexdigest()
