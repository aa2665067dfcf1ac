"""Truth as boxes around what is abnormal: a CSV file, or COCO's JSON."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.image_sets import IMAGE_ENDINGS, list_files

from moeclip_med.benchmark.datasets.case import Box, Case, Dataset, Fault, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_NOTE = "Truth is boxes, filled: pixel, surface and overlap figures compare with boxes; hits and FROC are as always."
_EXPECTED = (
    'columns "image", "x", "y", "width", "height" (or "x_min", "y_min", "x_max", "y_max"), '
    "or COCO's images and annotations"
)


def read_boxes(name: str, images: Path, file: Path, labels: tuple[str, ...] = ()) -> Dataset:
    """Read a folder of images whose truth is a list of boxes.

    An image that the file names without a box is normal, as is one that it does not name.

    Args:
        name: Its name in tables.
        images: The folder of images; sub-folders are patients.
        file: CSV or COCO JSON.
        labels: Categories (column "label", COCO's category names) that count; all if empty.

    Raises:
        InputError: If there is no image, or the file cannot be understood.
    """
    listed = [path for path, _ in list_files(images, IMAGE_ENDINGS)] if images.is_dir() else []
    if not listed:
        raise InputError(f'{name}: "{images}" holds no image ({", ".join(IMAGE_ENDINGS)})')
    boxes = _from_coco(file, labels) if file.suffix.lower() == ".json" else _from_csv(file, labels)
    by_key = {path.relative_to(images).as_posix(): path for path in listed}
    names: dict[str, list[str]] = {}
    for key in by_key:
        names.setdefault(key.rpartition("/")[2], []).append(key)
    found: dict[str, list[Box]] = {}
    problems = []
    for image, own in boxes.items():
        keys = [image] if image in by_key else names.get(image.rpartition("/")[2], [])
        if len(keys) == 1:
            found.setdefault(keys[0], []).extend(own)
        else:
            problems.append(Problem(Fault.IMAGE_MISSING, image))
    cases = [Case(key, path, file, None, "", key, tuple(found.get(key, ()))) for key, path in by_key.items()]
    in_folders = any("/" in key for key in by_key)
    if in_folders:
        cases = [replace(case, unit=case.key.rpartition("/")[0] or case.key) for case in cases]
    cases.sort(key=lambda case: (case.unit, case.key))
    units_are = "patients" if in_folders else "images"
    return Dataset(name, images, tuple(cases), tuple(problems), units_are=units_are, notes=(_NOTE,))


def box_mask(boxes: tuple[Box, ...], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Fill boxes: (x, y, z), True inside, every slice alike."""
    mask = np.zeros(shape, dtype=bool)
    for left, top, width, height in boxes:
        x, y = (
            slice(max(0, round(start)), max(0, round(start + size))) for start, size in ((left, width), (top, height))
        )
        mask[x, y] = True
    return mask


def _from_csv(file: Path, labels: tuple[str, ...]) -> dict[str, list[Box]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, str(error)) from error
    columns = set(lines[0]) if lines else set()
    is_corners = {"image", "x_min", "y_min", "x_max", "y_max"} <= columns
    if not is_corners and not {"image", "x", "y", "width", "height"} <= columns:
        raise _unreadable(file, f"columns {sorted(map(str, columns))}")
    boxes: dict[str, list[Box]] = {}
    for number, line in enumerate(lines, start=2):
        own = boxes.setdefault((line["image"] or "").strip(), [])
        names = ("x_min", "y_min", "x_max", "y_max") if is_corners else ("x", "y", "width", "height")
        if (labels and (line.get("label") or "").strip() not in labels) or not any(line[one] for one in names):
            continue
        try:
            a, b, c, d = (float(line[one] or "") for one in names)
        except ValueError as error:
            raise _unreadable(file, f"line {number}: {error}") from error
        own.append((a, b, c - a, d - b) if is_corners else (a, b, c, d))
    return boxes


def _from_coco(file: Path, labels: tuple[str, ...]) -> dict[str, list[Box]]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        categories = {one["id"]: str(one["name"]) for one in content.get("categories", ())}
        names = {one["id"]: str(one["file_name"]) for one in content["images"]}
        boxes: dict[str, list[Box]] = {name: [] for name in names.values()}
        for one in content["annotations"]:
            if labels and categories.get(one["category_id"]) not in labels:
                continue
            left, top, width, height = (float(value) for value in one["bbox"])
            boxes[names[one["image_id"]]].append((left, top, width, height))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, f"{type(error).__name__}: {error}") from error
    return boxes


def _unreadable(file: Path, found: str) -> InputError:
    return InputError(f'boxes "{file}": {found}; expected {_EXPECTED}')
