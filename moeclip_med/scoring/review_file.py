"""A review beside its run, as `review.json`: written whole or not at all, checked before it is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.review import Review

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.review import Decision, Voxel

REVIEW_NAME = "review.json"
REVIEW_SCHEMA = 1
_FILE_AT_MOST = 256 * 2**20


def write_review(review: Review, run_id: str, folder: Path) -> Path:
    """Write `review.json`, whole or not at all.

    Raises:
        InputError: When the folder cannot be written.
    """
    path, partial = folder / REVIEW_NAME, folder / f".{REVIEW_NAME}.partial"
    document = {
        "format": "moeclip-med review",
        "format_version": REVIEW_SCHEMA,
        "run_id": run_id,
        **msgspec.to_builtins(review),
    }
    try:
        partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: the review could not be written ({error.strerror or error}); choose another folder."
        ) from error
    return path


def read_review(folder: Path, run_id: str, shape: Voxel) -> Review:
    """Read the review beside a run; an empty one where there is none.

    Args:
        folder: The run's folder.
        run_id: The run's id: a review of another run is refused.
        shape: The run's shape (x, y, z), which outlines must fit.

    Raises:
        InputError: When the file is damaged or belongs to another run.
    """
    path = folder / REVIEW_NAME
    if not path.exists():
        return Review()
    review, found = _load(path)
    if found != run_id:
        raise InputError(
            f"{REVIEW_NAME} belongs to run {found}, and this is run {run_id}; move it to its own run's folder."
        )
    if not all(entry.outline is None or entry.outline.fits(shape) for entry in review.entries):
        raise InputError(
            f"{REVIEW_NAME} holds an outline that does not fit the run's shape {shape}; move the file away."
        )
    return review


def read_decisions(folder: Path) -> dict[Voxel, Decision]:
    """Read what was decided of the findings in a run's folder, by the voxel of each peak; empty without a review.

    Raises:
        InputError: When the file is damaged.
    """
    path = folder / REVIEW_NAME
    return {entry.voxel: entry.decision for entry in _load(path)[0].entries} if path.exists() else {}


def _load(path: Path) -> tuple[Review, str]:
    """Read a review, whatever run it is of, and the id of that run."""
    try:
        if path.stat().st_size > _FILE_AT_MOST:
            raise InputError(
                f"{REVIEW_NAME} has {path.stat().st_size} bytes; a review has at most {_FILE_AT_MOST}: move it away."
            )
        document = json.loads(path.read_text(encoding="utf-8"))
        review = msgspec.convert(document, Review)
        if "changed" not in document:  # earlier versions kept no time
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            review = replace(review, changed=written.isoformat(timespec="seconds"))
        datetime.fromisoformat(review.changed)
        return review, str(document.get("run_id"))
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:  # no ValueError below msgspec 0.21
        raise InputError(
            f"{REVIEW_NAME} is no review ({type(error).__name__}); expected JSON that this program wrote: move it away."
        ) from error
