"""Groups of cases that a user wants to see apart (scanner, sequence, age, sex), from a CSV file beside the data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.case_level import BANDS_ML, BANDS_PIXELS
from moeclip_med.benchmark.datasets.case import Fault, Problem
from moeclip_med.metrics.bootstrap import MINIMUM_UNITS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_med.benchmark.stored_rows import Rows

_MOST_VALUES = 8
"""A column of numbers with more distinct values than this is cut into thirds."""

SIZE = "lesion size"


@dataclass(frozen=True)
class Stratum:
    """Some cases of a set.

    Attributes:
        column: What the cases have in common ("scanner").
        value: Which ("Prisma").
        chosen: (cases,) True for its cases.
        units: How many patients they belong to.
    """

    column: str
    value: str
    chosen: NDArray[np.bool_]
    units: int

    @property
    def is_small(self) -> bool:
        """Whether it has too few patients for an interval."""
        return self.units < MINIMUM_UNITS


def read_strata(path: Path, rows: Rows) -> tuple[list[Stratum], list[Problem]]:
    """Read the strata of a set.

    Args:
        path: A CSV file: a column "case" (path of the image inside the set, or its name) or "patient", and a column
            for each property. Numbers with more than eight distinct values are cut into thirds.
        rows: The cases that were evaluated.

    Returns:
        The strata, column by column; the lines that name no case of the set, and the cases that no line names.

    Raises:
        InputError: If the file cannot be read or has no such column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'strata "{path}": cannot be read ({error}); expected a CSV file in UTF-8') from error
    columns = list(lines[0]) if lines else []
    name = next((column for column in columns if (column or "").strip().lower() in {"case", "patient"}), None)
    if name is None or len(columns) < 2:  # noqa: PLR2004 - a name and one property
        raise InputError(f'strata "{path}": columns {columns}; expected "case" or "patient", and at least one property')
    places = _places(rows)
    values = {column: np.full(len(rows.keys), "", dtype=object) for column in columns if column and column != name}
    seen = np.zeros(len(rows.keys), dtype=bool)
    problems = []
    for line in lines:
        found = places.get((line[name] or "").strip())
        if found is None:
            problems.append(Problem(Fault.STRATUM_UNKNOWN, (line[name] or "").strip()))
            continue
        seen[found] = True
        for column, texts in values.items():
            texts[found] = (line[column] or "").strip()
    problems += [Problem(Fault.STRATUM_MISSING, str(key)) for key in rows.keys[~seen]]
    strata = [stratum for column, texts in values.items() for stratum in _cut(column, texts, rows)]
    return strata, problems


def size_strata(rows: Rows, truth_size: NDArray[np.float64]) -> list[Stratum]:
    """Return strata by the total size of what is abnormal in a case, ml or pixels."""
    starts, unit = (BANDS_ML, "ml") if rows.has_mm else (BANDS_PIXELS, "pixels")
    strata = []
    for low, high in zip(starts, (*starts[1:], None), strict=True):
        chosen = (truth_size > 0) & (truth_size >= low) & (truth_size < (np.inf if high is None else high))
        text = f"{low:g} {unit} or more" if high is None else f"{low:g} to {high:g} {unit}"
        strata += _stratum(SIZE, text, chosen, rows)
    return strata


def _places(rows: Rows) -> dict[str, NDArray[np.intp]]:
    """Return the rows that each name means: a path, with its ending or without, a patient, a file's name.

    A path comes before a patient, and a file's name counts only where one file has it.
    """
    keys, units = rows.keys.tolist(), rows.units.tolist()
    places: dict[str, NDArray[np.intp]] = {}
    for row, key in enumerate(keys):
        for name in (key, key.removesuffix(".gz").rpartition(".")[0]):
            places.setdefault(name, np.array([row]))
    for unit in dict.fromkeys(units):
        places.setdefault(unit, np.flatnonzero(rows.units == unit))
    files: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        file = key.rpartition("/")[2]
        for name in {file, file.split(".")[0]}:
            files.setdefault(name, []).append(row)
    for name, found in files.items():
        if len(found) == 1:
            places.setdefault(name, np.array(found))
    return places


def _cut(column: str, texts: NDArray[np.object_], rows: Rows) -> list[Stratum]:
    distinct = sorted({text for text in texts if text})
    try:
        numbers = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        numbers = None
    if numbers is None or len(distinct) <= _MOST_VALUES:
        return [stratum for text in distinct for stratum in _stratum(column, text, texts == text, rows)]
    edges = np.nanquantile(numbers, (1 / 3, 2 / 3))
    low, high = (f"{edge:g}" for edge in edges)
    with np.errstate(invalid="ignore"):
        parts = (
            (f"≤ {low}", numbers <= edges[0]),
            (f"> {low} to {high}", (numbers > edges[0]) & (numbers <= edges[1])),
            (f"> {high}", numbers > edges[1]),
        )
    return [stratum for text, chosen in parts for stratum in _stratum(column, text, chosen, rows)]


def _stratum(column: str, value: str, chosen: NDArray[np.bool_], rows: Rows) -> list[Stratum]:
    chosen = np.asarray(chosen, dtype=bool)
    return [Stratum(column, value, chosen, len(np.unique(rows.units[chosen])))] if chosen.any() else []
