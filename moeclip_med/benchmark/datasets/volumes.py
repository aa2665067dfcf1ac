"""A user's own volumes, each with a mask of its lesions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Case, Dataset, Fault, Problem
from moeclip_med.benchmark.datasets.layouts import VOLUME_PAIRS
from moeclip_med.benchmark.datasets.scan import VOLUME_ENDINGS, Scan, list_files, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HOW = (
    "expected pairs such as CASE.nii.gz and CASE_mask.nii.gz, images/ and masks/, imagesTr/ and labelsTr/, or a folder "
    "per case with one image and one mask; or name both: NAME=PATH::*flair*::*seg*"
)
_IS_MASK = re.compile(
    r"(?:^|[^a-z])(?:mask|seg|segmentation|labels?|lesions?|gt|truth|gold|consensus|ot)", re.IGNORECASE
)


def read_volumes(name: str, path: Path, patterns: Sequence[str] = (), lesion_labels: tuple[int, ...] = ()) -> Dataset:
    """Read a folder of volumes with masks.

    Args:
        name: Its name in tables.
        path: The folder.
        patterns: Two file name patterns ("*flair*", "*seg*") that tell image and mask of one folder apart; empty to
            try the usual layouts.
        lesion_labels: Mask values that are lesions; empty where every value other than 0 is.

    Raises:
        InputError: If there is no folder or no pair in it.
    """
    if not path.is_dir():
        msg = f'{name}: "{path}" is not a folder; name one that holds volumes and their masks'
        raise InputError(msg)
    result = _by_pattern(path, *patterns) if patterns else _by_layout(path)
    paired = [case for case in result.cases if case.mask is not None]
    if not paired:
        msg = f'{name}: "{path}" holds no volume with a mask; {_HOW}'
        raise InputError(msg)
    alone = [Problem(Fault.LABEL_UNKNOWN, case.key, "no mask") for case in result.cases if case.mask is None]
    return Dataset(
        name,
        path,
        tuple(replace(case, unit=case.key) for case in paired),
        (*result.problems, *alone),
        is_volumes=True,
        units_are="volumes",
        lesion_labels=lesion_labels,
    )


def _by_layout(path: Path) -> Scan:
    for layout in VOLUME_PAIRS:
        result = scan(path, layout)
        if any(case.mask for case in result.cases):
            return result
    return _one_pair_per_folder(path)


def _one_pair_per_folder(path: Path) -> Scan:
    """Pair the files of a folder that holds exactly one mask and one image by their names."""
    cases, problems = [], []
    for folder, files in _by_folder(path).items():
        masks = [file for file in files if _IS_MASK.search(file.name)]
        images = [file for file in files if file not in masks]
        if len(masks) == 1 and len(images) == 1:
            cases.append(_case(path, images[0], masks[0]))
        elif masks:
            where = folder.relative_to(path).as_posix()
            detail = f"{len(images)} images and {len(masks)} masks in one folder; name them: NAME=PATH::*flair*::*seg*"
            problems.append(Problem(Fault.LABEL_UNKNOWN, where, detail))
    if not cases and problems:
        msg = f'"{path}": {problems[0].key} holds {problems[0].detail}'
        raise InputError(msg)
    return Scan(tuple(cases), tuple(problems), has_patients=True)


def _by_pattern(path: Path, image_pattern: str, mask_pattern: str) -> Scan:
    cases, problems = [], []
    for folder, files in _by_folder(path).items():
        masks = [file for file in files if _fits(file, mask_pattern)]
        images = [file for file in files if _fits(file, image_pattern) and file not in masks]
        where = folder.relative_to(path).as_posix()
        if len(images) == 1 and len(masks) == 1:
            cases.append(_case(path, images[0], masks[0]))
        elif images:
            problems.append(Problem(Fault.LABEL_UNKNOWN, where, f"{len(images)} images and {len(masks)} masks match"))
        elif masks:
            problems.append(Problem(Fault.IMAGE_MISSING, where))
    return Scan(tuple(cases), tuple(problems), has_patients=True)


def _by_folder(path: Path) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for file, _ in list_files(path, VOLUME_ENDINGS):
        folders.setdefault(file.parent, []).append(file)
    return folders


def _fits(file: Path, pattern: str) -> bool:
    from fnmatch import fnmatch

    return fnmatch(file.name.lower(), pattern.lower())


def _case(root: Path, image: Path, mask: Path) -> Case:
    key = image.relative_to(root).as_posix()
    return Case(key, image, mask, None, "", key)
