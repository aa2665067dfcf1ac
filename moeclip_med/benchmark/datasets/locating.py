"""The published sets: found under one root or one by one, and named with their home and terms where missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Dataset
from moeclip_med.benchmark.datasets.industrial import INDUSTRIAL
from moeclip_med.benchmark.datasets.medical import MEDICAL
from moeclip_med.benchmark.datasets.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moeclip_med.benchmark.datasets.facts import SetFacts

CATALOGUE: tuple[SetFacts, ...] = (*MEDICAL, *INDUSTRIAL)
"""Every published set that is known: the paper's 14, and others."""

_SEARCH_DEPTH = 2


def find_facts(name: str) -> SetFacts | None:
    """Return the published set of that name or folder name, or None."""
    wanted = _plain(name)
    return next((facts for facts in CATALOGUE if wanted in {_plain(facts.name), *map(_plain, facts.folders)}), None)


def find_sets(root: Path) -> tuple[list[Dataset], list[SetFacts]]:
    """Find the published sets under a root.

    Args:
        root: A folder with the sets' folders in it, or one or two levels further down.

    Returns:
        The sets found, and those of the paper that are missing.

    Raises:
        InputError: If the root does not exist or holds none of them.
    """
    if not root.is_dir():
        raise InputError(f'"{root}" is not a folder; name the one that holds the data sets')
    folders = _folders(root)
    found = []
    for facts in CATALOGUE:
        names = {_plain(name) for name in facts.folders}
        for folder in folders:
            if _plain(folder.name) in names:
                dataset = _read(facts, folder)
                if dataset is not None:
                    found.append(dataset)
                    break
    if not found:
        raise InputError(
            f'"{root}" holds none of the published sets; expected folders such as "Brain_AD" or "CVC-ClinicDB"; '
            "for images of your own use --folder NAME=PATH"
        )
    names = {dataset.name for dataset in found}
    return found, [facts for facts in CATALOGUE if facts.in_paper and facts.name not in names]


def read_set(name: str, path: Path) -> Dataset:
    """Read one published set from its folder.

    Raises:
        InputError: If the name is unknown, or the folder is not laid out as published.
    """
    facts = find_facts(name)
    if facts is None:
        raise InputError(
            f'"{name}" is not a published set that is known; choose from: {", ".join(f.name for f in CATALOGUE)}'
        )
    if not path.is_dir():
        raise InputError(f'{facts.name}: "{path}" is not a folder; name the one that holds the set')
    dataset = _read(facts, path)
    if dataset is None:
        raise InputError(
            f'{facts.name}: "{path}" is not laid out as published, no image was found; unpack it anew from '
            f"{facts.home}, or use --folder for a layout of your own"
        )
    return dataset


def missing_sentence(facts: SetFacts) -> str:
    """Say of a missing set where it is published and under which terms."""
    return f"{facts.name} is missing: published at {facts.home}; terms: {facts.terms}"


def _read(facts: SetFacts, path: Path) -> Dataset | None:
    for layout in facts.layouts:
        result = scan(path, layout)
        if not result.cases:
            continue
        groups = {case.group for case in result.cases}
        notes = tuple(filter(None, (facts.note, _count_note(facts, len(result.cases), len(groups)))))
        units_are = "patients" if result.has_patients else "images"
        return Dataset(
            name=facts.name,
            root=path,
            cases=result.cases,
            problems=result.problems,
            facts=facts,
            is_volumes=layout.is_volumes,
            is_industrial=facts.is_industrial,
            units_are=units_are,
            lesion_labels=layout.mask_values,
            time_point=layout.time_point,
            prompts=_prompts(facts, groups),
            notes=notes,
        )
    return None


def _count_note(facts: SetFacts, images: int, groups: int) -> str:
    if facts.images is None or (images == facts.images and groups == facts.groups):
        return ""
    classes = f" in {facts.groups} classes" if facts.groups > 1 else ""
    here = f" in {groups} classes" if facts.groups > 1 else ""
    return f"The published test set has {facts.images} images{classes}; here are {images}{here}: not comparable as is."


def _prompts(facts: SetFacts, groups: Iterable[str]) -> dict[str, str]:
    if facts.prompts.get("") != "*":
        return facts.prompts
    return {group: group.split("_")[0] for group in groups}


def _folders(root: Path) -> list[Path]:
    """The root and the folders below it, the shallowest first."""
    level = [root]
    folders = [root]
    for _ in range(_SEARCH_DEPTH):
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
        folders += level
    return folders


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
