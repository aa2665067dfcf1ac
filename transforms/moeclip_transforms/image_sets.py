"""Sets of images with masks, found by rules about their paths; nothing but a list of test images is opened."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


@dataclass(frozen=True)
class Rule:
    """Where a layout keeps some of its images, and their masks.

    Attributes:
        images: Regular expression that a path matches, relative to the set, without its extension, case ignored. The
            groups `group` (class), `patient` and `split` ("train" or "test") mean what they say; the others only serve
            `masks`.
        is_abnormal: What the place says about the image; None where its mask decides.
        masks: Places of its mask, tried in order: the groups of `images` in braces, no extension.
        unless: Paths that match this are not meant, although they match `images`; unless they have a mask.
    """

    images: str
    is_abnormal: bool | None
    masks: tuple[str, ...] = ()
    unless: str = ""


@dataclass(frozen=True)
class Layout:
    """The rules that together find the images of a set; the first rule that matches a path counts.

    Attributes:
        rules: The rules.
        masks: Regular expression of paths that are masks, to notice those without image; "" where none can be told.
        split: A file with comma-separated values that names the test images (columns `split` and `image`), relative
            to the set; "" where places tell, or every image is one.
        mask_values: Mask values that are lesions; empty where every value other than 0 is.
        is_volumes: Whether the images are volumes (NIfTI, MHA, NRRD).
        time_point: Which time point of 4-D volumes is evaluated.
        endings: Extensions of images that are no volumes.
    """

    rules: tuple[Rule, ...]
    masks: str = ""
    split: str = ""
    mask_values: tuple[int, ...] = ()
    is_volumes: bool = False
    time_point: int = 0
    endings: tuple[str, ...] = IMAGE_ENDINGS


@dataclass(frozen=True)
class Match:
    """An image that a rule found.

    Attributes:
        key: Its path inside the set, with "/" on every system.
        path: The file.
        mask: The file of its mask; None where there is none.
        rule: The rule.
        groups: What the groups of the rule matched.
        is_test: Whether it belongs to the published test split.
    """

    key: str
    path: Path
    mask: Path | None
    rule: Rule
    groups: dict[str, str]
    is_test: bool

    @property
    def lacks_mask(self) -> bool:
        """Whether it is abnormal by its place, and its mask is not where it should be."""
        return self.mask is None and bool(self.rule.is_abnormal) and bool(self.rule.masks)


@dataclass(frozen=True)
class ImageSet:
    """What a layout found.

    Attributes:
        matches: The images, sorted by path.
        masks_alone: Masks without image.
        unlisted: Test images of the published split that are not there, lower case.
    """

    matches: tuple[Match, ...]
    masks_alone: tuple[Path, ...]
    unlisted: tuple[str, ...]


def find_set(root: Path, layout: Layout) -> ImageSet:
    """Find the images of a layout, each with its mask.

    Args:
        root: The folder of the set.
        layout: Its rules.

    Returns:
        The images; none if the folder has another layout.

    Raises:
        InputError: If the layout's list of test images is missing or cannot be understood.
    """
    listing = list_files(root, VOLUME_ENDINGS if layout.is_volumes else layout.endings)
    by_place = {stem.lower(): path for path, stem in listing}
    found = _shallowest(list(_ruled(listing, layout, by_place)), layout)
    test = _listed(root, layout) if layout.split and found else None
    matches = []
    for path, rule, groups in found:
        key = path.relative_to(root).as_posix()
        mask = next((by_place[place] for place in _places(rule, groups) if place in by_place), None)
        is_test = groups.get("split", "test").lower() == "test" if test is None else key.lower() in test
        matches.append(Match(key, path, mask, rule, groups, is_test))
    used = {file for match in matches for file in (match.path, match.mask)}
    masks_alone = [
        path
        for path, stem in listing
        if matches and layout.masks and path not in used and re.fullmatch(layout.masks, stem, re.IGNORECASE)
    ]
    unlisted = sorted((test or set()) - {match.key.lower() for match in matches})
    return ImageSet(tuple(matches), tuple(masks_alone), tuple(unlisted))


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


def _ruled(
    listing: Iterable[tuple[Path, str]], layout: Layout, by_place: Mapping[str, Path]
) -> Iterator[tuple[Path, Rule, dict[str, str]]]:
    for path, stem in listing:
        for rule in layout.rules:
            match = re.fullmatch(rule.images, stem, re.IGNORECASE)
            if not match:
                continue
            groups = {name: value or "" for name, value in match.groupdict().items()}
            is_meant = not (rule.unless and re.fullmatch(rule.unless, stem, re.IGNORECASE))
            if is_meant or any(place in by_place for place in _places(rule, groups)):
                yield path, rule, groups
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


def _listed(root: Path, layout: Layout) -> set[str]:
    """Return the paths (lower case) of the images that the published split tests on."""
    files = sorted(root.glob(f"**/{layout.split}"))
    if not files:
        raise InputError(
            f'"{root}": {layout.split} is missing, which names the test images; '
            "expected it as published: unpack it beside the classes"
        )
    top = files[0].parents[len(Path(layout.split).parts) - 1].relative_to(root).as_posix()
    prefix = "" if top == "." else f"{top}/"
    with files[0].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"split", "image"} <= rows[0].keys():
        raise InputError(f'"{files[0]}": expected columns "split" and "image", as published; unpack it anew')
    return {f"{prefix}{row['image']}".lower() for row in rows if row["split"] == "test"}
