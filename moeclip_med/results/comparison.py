"""`comparison.csv`: how the findings of a run changed since a prior."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.prior import FindingChange
    from moeclip_med.scoring.registration import RigidFit

COMPARISON_NAME = "comparison.csv"
COMPARISON_COLUMNS = (
    "findings",
    "prior_findings",
    "matched_by",
    "volume_ml",
    "prior_volume_ml",
    "growth_ml",
    "growth_percent",
    "dice",
    "distance_mm",
    "is_registered",
    "shift_mm",
    "rotation_degrees",
    "correlation",
    "mutual_information_bits",
)


def write_comparison(changes: tuple[FindingChange, ...], fit: RigidFit | None, folder: Path) -> None:
    """Write `comparison.csv` beside the results of a run: one line per change; unknown values are empty.

    Args:
        changes: The changes, as `match_findings` gives them.
        fit: How the prior lay on the image; None without a prior: then a file of an earlier run is removed.
        folder: The run's folder; it exists.

    Raises:
        InputError: When the file cannot be written.
    """
    path = folder / COMPARISON_NAME
    try:
        path.unlink(missing_ok=True)
        if fit is not None:
            _write(changes, fit, path)
    except OSError as error:
        raise InputError(
            f"{path}: the comparison could not be written ({error.strerror or error}); choose another folder."
        ) from error


def _write(changes: tuple[FindingChange, ...], fit: RigidFit, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COMPARISON_COLUMNS)
        for change in changes:
            growth = change.growth_percent
            values = (
                change.volume_ml,
                change.prior_volume_ml,
                change.growth_ml,
                growth,
                change.dice,
                change.distance_mm,
            )
            placed = (fit.shift_mm, fit.rotation_degrees, fit.correlation, fit.mutual_information)
            writer.writerow(
                [
                    "+".join(map(str, change.current)),
                    "+".join(map(str, change.prior)),
                    change.basis.value,
                    *("" if value is None else round(value, 4) for value in values),
                    str(fit.is_registered).lower(),
                    *("" if value is None else round(value, 4) for value in placed),
                ]
            )
