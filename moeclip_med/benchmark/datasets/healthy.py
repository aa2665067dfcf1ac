"""Normal cases beside a set of one's own: what specificity is measured on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.image_sets import IMAGE_ENDINGS, VOLUME_ENDINGS, list_files

from moeclip_med.benchmark.datasets.case import Case, Dataset
from moeclip_med.benchmark.datasets.scan import set_maps_aside

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "healthy"
"""In front of the keys of these cases, so that none is taken for one of the set."""


def add_healthy(dataset: Dataset, path: Path) -> Dataset:
    """Add normal cases to a set.

    Args:
        dataset: The set.
        path: A folder of images or volumes of the set's own kind, none of them abnormal; sub-folders are patients. For
            volumes, a sub-folder of other files is one DICOM series.

    Raises:
        InputError: If there is no folder, or nothing in it.
    """
    if not path.is_dir():
        raise InputError(f'--healthy {dataset.name}: "{path}" is not a folder; name one that holds normal cases')
    endings = VOLUME_ENDINGS if dataset.is_volumes else IMAGE_ENDINGS
    cases, problems = set_maps_aside(_case(path, file) for file, _ in list_files(path, endings))
    if dataset.is_volumes and not cases:
        cases = [_case(path, folder) for folder in _series_folders(path)]
    if not cases:
        raise InputError(f'--healthy {dataset.name}: "{path}" holds no case; expected {", ".join(endings)}')
    in_folders = any("/" in case.key.removeprefix(f"{PREFIX}/") for case in cases)
    if not in_folders:
        cases = [replace(case, unit=case.key) for case in cases]
    units_are = "patients" if in_folders and dataset.units_are != "volumes" else dataset.units_are
    group = dataset.groups[0] if len(dataset.groups) == 1 else ""
    added = tuple(replace(case, group=group) for case in cases)
    notes = (*dataset.notes, f"{len(added)} normal cases without masks were added.")
    return replace(
        dataset,
        cases=(*dataset.cases, *added),
        problems=(*dataset.problems, *problems),
        units_are=units_are,
        notes=notes,
    )


def _case(root: Path, image: Path) -> Case:
    inside = image.relative_to(root)
    patient = inside.parts[0] if len(inside.parts) > 1 else inside.name
    key = f"{PREFIX}/{inside.as_posix()}"
    return Case(key, image, None, is_abnormal=False, group="", unit=f"{PREFIX}/{patient}")


def _series_folders(root: Path) -> Iterator[Path]:
    """Return the folders that hold files themselves."""
    for folder, _, names in sorted(os.walk(root)):
        if any(not name.startswith(".") for name in names):
            yield Path(folder)
