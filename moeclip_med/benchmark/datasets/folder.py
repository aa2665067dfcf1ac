"""A user's own images: masks beside them, or folders named normal and otherwise."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Case, Dataset, Fault, Problem
from moeclip_med.benchmark.datasets.layouts import BESIDE, FOLDER_LAYOUTS
from moeclip_med.benchmark.datasets.scan import FolderScan, scan, set_maps_aside

if TYPE_CHECKING:
    from collections.abc import Iterable

NORMAL_NAMES = frozenset({"normal", "good", "ok", "healthy", "negative", "free", "no", "control", "controls"})
"""Names of folders whose images are normal."""


class Unmasked(StrEnum):
    """What an image without a mask beside it is taken for, where the set has masks."""

    AUTO = "auto"
    NORMAL = "normal"
    EXCLUDE = "exclude"


def read_folder(name: str, path: Path, unmasked: Unmasked = Unmasked.AUTO) -> Dataset:
    """Read a folder of images.

    `NAME_mask.*` beside `NAME.*` holds its true regions (see `truth.interpret`); or the folder is laid out as anomalib
    and BMAD do it (test/good, test/DEFECT, ground_truth/DEFECT; good, DEFECT, mask/DEFECT; test/ungood/img and label),
    or as images/ beside masks/. Sub-folders are patients.
    Images in a folder with a name such as "normal" or "good" are normal. An image without mask is normal too, unless
    the set has such folders and it lies in another one: then its label is unknown and it is skipped. Where no image
    has a mask, folders give the labels.

    Args:
        name: Its name in tables.
        path: The folder.
        unmasked: What other images without mask are taken for.

    Raises:
        InputError: If there is no folder, no image in it, or nothing that tells normal from abnormal.
    """
    if not path.is_dir():
        raise InputError(f'{name}: "{path}" is not a folder; name one that holds images and NAME_mask.png beside them')
    found = _scan(path)
    if not found.cases:
        raise InputError(f'{name}: "{path}" holds no image (PNG, JPEG, BMP or TIFF); name a folder that does')
    has_masks = any(case.mask for case in found.cases)
    has_normal_folder = any(_in_normal_folder(case) for case in found.cases)
    if not has_masks and not has_normal_folder:
        raise InputError(
            f'{name}: "{path}" tells nothing about what is normal; expected NAME_mask.png beside NAME.png, '
            'or a sub-folder named "normal"'
        )
    if not has_masks:
        cases = [replace(case, is_abnormal=not _in_normal_folder(case)) for case in found.cases]
        return _dataset(
            name, path, cases, found.problems, notes=("There are no masks, so pixel metrics are undefined.",)
        )
    exclude = unmasked is Unmasked.EXCLUDE or (unmasked is Unmasked.AUTO and has_normal_folder)
    cases, problems, assumed = [], list(found.problems), 0
    for case in found.cases:
        if case.mask is not None or case.is_abnormal is not None:
            cases.append(case)
        elif _in_normal_folder(case) or not exclude:
            assumed += not _in_normal_folder(case)
            cases.append(replace(case, is_abnormal=False))
        else:
            problems.append(Problem(Fault.LABEL_UNKNOWN, case.key))
    notes = (f"{assumed} images have no mask beside them and count as normal.",) if assumed else ()
    return _dataset(name, path, cases, problems, notes)


def _scan(path: Path) -> FolderScan:
    """Find the images by the first layout in which one has a mask, else with masks beside them."""
    scans = (scan(path, layout) for layout in FOLDER_LAYOUTS)
    found = next((one for one in scans if any(case.mask for case in one.cases)), None) or scan(path, BESIDE)
    cases, problems = set_maps_aside(found.cases)
    return replace(found, cases=tuple(cases), problems=(*found.problems, *problems))


def _dataset(name: str, path: Path, cases: list[Case], problems: Iterable[Problem], notes: tuple[str, ...]) -> Dataset:
    """Take sub-folders for patients; where folders tell labels, those inside them, of one name in all of them."""
    depths = [depth for case in cases if (depth := _label_depth(case)) is not None]
    if depths:
        cases = [replace(case, unit=_without_label(case, min(depths))) for case in cases]
    in_folders = len({case.unit for case in cases if case.unit != case.key}) > 1
    if not in_folders:
        cases = [replace(case, unit=case.key) for case in cases]
    cases.sort(key=lambda case: (case.group, case.unit, case.key))
    units_are = "patients" if in_folders else "images"
    return Dataset(name, path, tuple(cases), tuple(problems), units_are=units_are, notes=notes)


def _label_depth(case: Case) -> int | None:
    """Return how deep the folder lies that says that a case is normal; None where none does."""
    parts = Path(case.key).parent.parts
    return next((depth for depth, part in enumerate(parts) if part.lower() in NORMAL_NAMES), None)


def _without_label(case: Case, depth: int) -> str:
    """Return the folders of a case but for the one that tells its label: "EXAM" of "normal/EXAM/1.png"."""
    parts = Path(case.key).parent.parts
    return "/".join((*parts[:depth], *parts[depth + 1 :])) or case.key


def _in_normal_folder(case: Case) -> bool:
    return any(part.lower() in NORMAL_NAMES for part in Path(case.key).parent.parts)
