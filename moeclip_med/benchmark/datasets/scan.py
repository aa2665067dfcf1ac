"""Find the images of a layout under a folder, each with its mask; nothing is opened."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Case, Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moeclip_med.benchmark.datasets.facts import Layout, Rule

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


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
    """Find the cases of a layout.

    Args:
        root: The folder of the set.
        layout: Its rules.

    Returns:
        The cases; none if the folder has another layout.

    Raises:
        InputError: If the layout's list of test images is missing or cannot be understood.
    """
    listing = list_files(root, VOLUME_ENDINGS if layout.is_volumes else IMAGE_ENDINGS)
    by_place = {stem.lower(): path for path, stem in listing}
    matches = _shallowest(list(_matches(listing, layout)), layout)
    wanted = _split(root, layout) if layout.split and matches else None
    cases, problems, used = [], [], set()
    for path, rule, groups in matches:
        key = path.relative_to(root).as_posix()
        mask = next((by_place[place] for place in _places(rule, groups) if place in by_place), None)
        if mask is not None:
            used.add(mask)
        if wanted is not None and key.lower() not in wanted:
            continue
        if mask is None and rule.is_abnormal and rule.masks:
            problems.append(Problem(Fault.MASK_MISSING, key))
        cases.append(Case(key, path, mask, rule.is_abnormal, groups.get("group", ""), groups.get("patient") or key))
    if cases and layout.masks:
        problems += [
            Problem(Fault.IMAGE_MISSING, path.relative_to(root).as_posix())
            for path, stem in listing
            if path not in used and re.fullmatch(layout.masks, stem, re.IGNORECASE)
        ]
    if wanted is not None:
        found = {case.key.lower() for case in cases}
        problems += [Problem(Fault.NOT_IN_SPLIT, name) for name in sorted(wanted - found)]
    has_patients = any("(?P<patient>" in rule.images for rule in layout.rules)
    return FolderScan(
        tuple(sorted(cases, key=lambda case: (case.group, case.unit, case.key))), tuple(problems), has_patients
    )


def list_files(root: Path, endings: tuple[str, ...]) -> list[tuple[Path, str]]:
    """List files with some endings, sorted: each with its path inside the root, without ending, with "/"."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            ending = next((end for end in endings if name.lower().endswith(end)), None)
            if ending is not None and not name.startswith("."):
                path = Path(folder, name)
                found.append((path, path.relative_to(root).as_posix()[: -len(ending)]))
    return sorted(found, key=lambda item: item[1])


def _matches(listing: Iterable[tuple[Path, str]], layout: Layout) -> Iterator[tuple[Path, Rule, dict[str, str]]]:
    for path, stem in listing:
        for rule in layout.rules:
            match = re.fullmatch(rule.images, stem, re.IGNORECASE)
            if match and not (rule.unless and re.fullmatch(rule.unless, stem, re.IGNORECASE)):
                yield path, rule, {name: value or "" for name, value in match.groupdict().items()}
                break


def _shallowest(
    matches: list[tuple[Path, Rule, dict[str, str]]], layout: Layout
) -> list[tuple[Path, Rule, dict[str, str]]]:
    """Keep one copy of a set that was packed twice into itself, as some downloads are; volumes may lie in parts."""
    if layout.is_volumes or not matches:
        return matches
    depth = min(groups.get("top", "").count("/") for _, _, groups in matches)
    return [match for match in matches if match[2].get("top", "").count("/") == depth]


def _places(rule: Rule, groups: dict[str, str]) -> Iterator[str]:
    """Where the mask may lie; a folder in front of the set's own name is part of the `top` group."""
    for template in rule.masks:
        yield template.format(**groups).lower()


def _split(root: Path, layout: Layout) -> set[str]:
    """Return the paths (lower case) of the images that the published split tests on."""
    files = sorted(root.glob(f"**/{layout.split}"))
    if not files:
        msg = (
            f'"{root}": {layout.split} is missing, which names the test images; '
            "expected it as published: unpack it beside the classes"
        )
        raise InputError(msg)
    top = files[0].parents[len(Path(layout.split).parts) - 1].relative_to(root).as_posix()
    prefix = "" if top == "." else f"{top}/"
    with files[0].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"split", "image"} <= rows[0].keys():
        msg = f'"{files[0]}": expected columns "split" and "image", as published; unpack it anew'
        raise InputError(msg)
    return {f"{prefix}{row['image']}".lower() for row in rows if row["split"] == "test"}
