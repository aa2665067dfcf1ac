"""A user's own volumes, each with a mask of its lesions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError
from moeclip_transforms.image_sets import IMAGE_ENDINGS, VOLUME_ENDINGS, list_files

from moeclip_med.benchmark.datasets.case import Case, Dataset, Fault, Problem
from moeclip_med.benchmark.datasets.dicom_pairs import dicom_pairs
from moeclip_med.benchmark.datasets.layouts import VOLUME_PAIRS, nnunet
from moeclip_med.benchmark.datasets.nnunet import RawFacts, read_raw_facts
from moeclip_med.benchmark.datasets.scan import FolderScan, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HOW = (
    "expected pairs such as CASE.nii.gz and CASE_mask.nii.gz, images/ and masks/, imagesTr/ and labelsTr/, "
    "derivatives/ of BIDS, or a folder per case with one image and one mask; or name both: NAME=PATH::*flair*::*seg*"
)
_IS_MASK = re.compile(
    r"(?:^|[^a-z])(?:mask|msk|d?seg|segmentation|labels?|lesions?|roi|gt|truth|gold|consensus|ot)", re.IGNORECASE
)
_SUBJECT = re.compile(r"(?:^|/)(sub-[^/]+/)")
_DERIVED = re.compile(r"(?:^|/)derivatives/")


def holds_volumes_alone(path: Path) -> bool:
    """Return whether a folder holds volumes, and no picture that could be meant instead."""
    return path.is_dir() and not list_files(path, IMAGE_ENDINGS) and bool(list_files(path, VOLUME_ENDINGS))


def read_volumes(name: str, path: Path, patterns: Sequence[str] = (), channel: str | None = None) -> Dataset:
    """Read a folder of volumes with masks.

    Args:
        name: Its name in tables.
        path: The folder.
        patterns: Two file name patterns ("*flair*", "*seg*") that tell image and mask of one folder apart; empty to
            try the usual layouts.
        channel: Name or number of the channel that is evaluated, of nnU-Net's raw layout; the first if None.

    Raises:
        InputError: If there is no folder, no pair in it, or no such channel.
    """
    if not path.is_dir():
        raise InputError(f'{name}: "{path}" is not a folder; name one that holds volumes and their masks')
    facts = read_raw_facts(path)
    number = min(facts.channels, default=0) if channel is None else facts.number_of(channel, name)
    result = _by_pattern(path, *patterns) if patterns else _by_layout(path, number)
    paired = [case for case in result.cases if case.mask is not None]
    if not paired:
        raise InputError(f'{name}: "{path}" holds no volume with a mask; {_HOW}')
    alone = [Problem(Fault.LABEL_UNKNOWN, case.key, "no mask") for case in result.cases if case.mask is None]
    return Dataset(
        name,
        path,
        tuple(replace(case, unit=case.key) for case in paired),
        (*result.problems, *alone),
        is_volumes=True,
        units_are="volumes",
        ignore_labels=facts.ignore_labels,
        notes=_channel_notes(facts, number) if channel is None else (),
    )


def _channel_notes(facts: RawFacts, number: int) -> tuple[str, ...]:
    if len(facts.channels) < 2:  # noqa: PLR2004
        return ()
    others = ", ".join(title for other, title in facts.channels.items() if other != number)
    return (f'Of the channels, "{facts.channels[number]}" is evaluated; choose another ({others}) with --channel.',)


def _by_layout(path: Path, channel: int) -> FolderScan:
    for layout in (nnunet(channel), *VOLUME_PAIRS):
        result = scan(path, layout)
        if any(case.mask for case in result.cases):
            return result
    bids = _bids(path)
    if bids.cases:
        return bids
    drawn = dicom_pairs(path)
    return drawn if drawn.cases or drawn.problems else _one_pair_per_folder(path)


def _bids(path: Path) -> FolderScan:
    """Pair images with the masks that BIDS keeps under derivatives/, in a folder of the same subject and kind."""
    images: dict[str, list[tuple[Path, str]]] = {}
    masks: list[tuple[Path, str, str]] = []
    for file, stem in list_files(path, VOLUME_ENDINGS):
        place, _, title = stem.rpartition("/")
        subject = place[found.start(1) :] if (found := _SUBJECT.search(f"{place}/")) else ""
        if not subject:
            continue
        if _DERIVED.search(stem) is None:
            images.setdefault(subject, []).append((file, title))
        elif _IS_MASK.search(title):
            masks.append((file, subject, title))
    found_masks: dict[Path, list[Path]] = {}
    problems = []
    for mask, subject, title in masks:
        beside = images.get(subject, [])
        fitting = [file for file, image in beside if title.startswith(f"{image}_")]
        if not fitting and len(beside) == 1:
            fitting = [beside[0][0]]
        if len(fitting) == 1:
            found_masks.setdefault(fitting[0], []).append(mask)
        else:
            problems.append(Problem(Fault.IMAGE_MISSING, mask.relative_to(path).as_posix()))
    cases = []
    for image, belonging in found_masks.items():
        if len(belonging) == 1:
            cases.append(_case(path, image, belonging[0]))
        else:
            detail = f"{len(belonging)} masks; name one kind: NAME=PATH::*FLAIR*::*lesion*"
            problems.append(Problem(Fault.LABEL_UNKNOWN, image.relative_to(path).as_posix(), detail))
    return FolderScan(tuple(sorted(cases, key=lambda case: case.key)), tuple(problems), has_patients=True)


def _one_pair_per_folder(path: Path) -> FolderScan:
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
        raise InputError(f'"{path}": {problems[0].key} holds {problems[0].detail}')
    return FolderScan(tuple(cases), tuple(problems), has_patients=True)


def _by_pattern(path: Path, image_pattern: str, mask_pattern: str) -> FolderScan:
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
    return FolderScan(tuple(cases), tuple(problems), has_patients=True)


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
