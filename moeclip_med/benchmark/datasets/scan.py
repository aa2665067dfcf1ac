"""The images that a layout finds under a folder, as cases to be evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.image_sets import find_set
from moeclip_transforms.mask_names import is_named_as_map, is_named_as_mask

from moeclip_med.benchmark.datasets.case import Case, Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moeclip_transforms.image_sets import Layout


@dataclass(frozen=True)
class FolderScan:
    """What a layout found.

    Attributes:
        cases: Sorted by class, patient and key.
        problems: What was wrong with the rest.
        has_patients: Whether the layout tells patients apart.
    """

    cases: tuple[Case, ...]
    problems: tuple[Problem, ...]
    has_patients: bool


def scan(root: Path, layout: Layout) -> FolderScan:
    """Find the test cases of a layout.

    Args:
        root: The folder of the set.
        layout: Its rules.

    Returns:
        The cases; none if the folder has another layout.

    Raises:
        InputError: If the layout's list of test images is missing or cannot be understood.
    """
    found = find_set(root, layout)
    tested = [match for match in found.matches if match.is_test]
    problems = [Problem(Fault.MASK_MISSING, match.key) for match in tested if match.lacks_mask]
    if tested:
        alone = (path.relative_to(root).as_posix() for path in found.masks_alone)
        problems += [Problem(Fault.IMAGE_MISSING, key) for key in alone]
    problems += [Problem(Fault.NOT_IN_SPLIT, key) for key in found.unlisted]
    cases = [
        Case(
            match.key,
            match.path,
            match.mask,
            match.rule.is_abnormal,
            match.groups.get("group", ""),
            match.groups.get("patient") or match.key,
        )
        for match in tested
    ]
    has_patients = any("(?P<patient>" in rule.images for rule in layout.rules)
    return FolderScan(
        tuple(sorted(cases, key=lambda case: (case.group, case.unit, case.key))), tuple(problems), has_patients
    )


def set_maps_aside(cases: Iterable[Case]) -> tuple[list[Case], list[Problem]]:
    """Part cases without mask that are masks or maps of probabilities themselves from the others.

    Those are opened that are named as one.

    Returns:
        The others, and what was wrong with those.
    """
    kept, problems = [], []
    for case in cases:
        is_named = is_named_as_mask(case.image) or is_named_as_map(case.image)
        reason = _map_reason(case.image) if case.mask is None and is_named else ""
        if reason:
            problems.append(Problem(Fault.NO_IMAGE, case.key, reason))
        else:
            kept.append(case)
    return kept, problems


def _map_reason(path: Path) -> str:
    from moeclip_transforms.discovery import scan as scan_files
    from moeclip_transforms.label_maps import label_map_reason

    found = scan_files([path]).series
    return label_map_reason(found[0]) if len(found) == 1 else ""
