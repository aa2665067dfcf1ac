"""Industrial data sets in the layouts they are published in: normal images, defective ones, their masks."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.pictures import PICTURE_FORMATS
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_FORMATS = (*PICTURE_FORMATS, "WEBP")
NORMAL_FOLDERS = frozenset({"good", "ok"})


class Layout(StrEnum):
    """How a data set is laid out on disk.

    `INDUSTRIAL` is any folder of images with `NAME_mask.png` beside `NAME.*`; without a mask, it is normal.
    """

    VISA = "visa"
    MVTEC = "mvtec"
    BTAD = "btad"
    DTD_SYNTHETIC = "dtd-synthetic"
    RSDD = "rsdd"
    INDUSTRIAL = "industrial"


@dataclass(frozen=True)
class IndustrialImage:
    """One image of an industrial data set.

    Attributes:
        path: The image.
        mask: Its defect mask (non-zero is defective); None for a normal image.
        category: What is shown: the class of the data set, or the first folder under the root.
        is_test: Whether it belongs to the data set's published test split.
    """

    path: Path
    mask: Path | None
    category: str
    is_test: bool = False

    @property
    def is_normal(self) -> bool:
        """True where nothing is marked as defective."""
        return self.mask is None

    def read(self) -> NDArray[np.uint8]:
        """The image: (rows, columns) for grey, (rows, columns, 3) for colour."""
        with Image.open(self.path, formats=_FORMATS) as image:
            grey = image.mode in {"L", "1", "I", "I;16", "F"}
            return np.asarray(image.convert("L" if grey else "RGB"))

    def read_mask(self) -> NDArray[np.bool_]:
        """The mask at its own size, True where it is not zero; all False for a normal image."""
        with Image.open(self.path if self.mask is None else self.mask, formats=_FORMATS) as image:
            if self.mask is None:
                return np.zeros((image.height, image.width), dtype=np.bool_)
            return np.asarray(np.asarray(image.convert("L")) != 0, dtype=np.bool_)


def find_images(root: Path, layout: Layout) -> tuple[IndustrialImage, ...]:
    """All images of a data set, sorted by path.

    Args:
        root: The data set's folder.
        layout: How it is laid out.

    Raises:
        InputError: The folder is missing, holds no image of this layout, or a defective image has no mask.
    """
    if not root.is_dir():
        msg = f'The data set folder "{root}" does not exist; give the folder it was unpacked to.'
        raise InputError(msg)
    finders = {Layout.VISA: find_visa, Layout.INDUSTRIAL: find_beside}
    images = sorted(finders.get(layout, find_mvtec)(root), key=lambda image: image.path.as_posix())
    if not images:
        msg = (
            f'The folder "{root}" holds no image in the layout "{layout}"; '
            f"check the path, or name another layout ({', '.join(Layout)})."
        )
        raise InputError(msg)
    return tuple(images)


def find_beside(root: Path) -> Iterable[IndustrialImage]:
    """Any folder: `NAME_mask.png` beside `NAME.*`; no mask means normal."""
    masks = {path.with_name(path.stem.removesuffix("_mask")): path for path in root.rglob("*_mask.png")}
    for path in root.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith("_mask"):
            parts = path.relative_to(root).parts
            category = parts[0] if len(parts) > 1 else root.name
            yield IndustrialImage(path, masks.get(path.with_suffix("")), category)


def find_visa(root: Path) -> Iterable[IndustrialImage]:
    """VisA: `CLASS/Data/{Images,Masks}/{Normal,Anomaly}`; `split_csv/1cls.csv` names the test images."""
    test = visa_test_images(root)
    for path in root.glob("*/Data/Images/*/*"):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        folder, category = path.parent.name, path.parents[3].name
        mask = None
        if folder == "Anomaly":
            mask = mask_named(root / category / "Data" / "Masks" / "Anomaly", path)
        yield IndustrialImage(path, mask, category, is_test=path.relative_to(root).as_posix() in test)


def visa_test_images(root: Path) -> frozenset[str]:
    """The paths (below the root) that VisA's one-class split tests on."""
    split = root / "split_csv" / "1cls.csv"
    if not split.is_file():
        msg = f'"{split}" is missing; VisA\'s test split is named there, take it from the data set.'
        raise InputError(msg)
    with split.open(newline="", encoding="utf-8") as lines:
        return frozenset(row["image"] for row in csv.DictReader(lines) if row["split"] == "test")


def find_mvtec(root: Path) -> Iterable[IndustrialImage]:
    """MVTec AD and its kin: `CLASS/{train,test}/DEFECT/*`, masks in `CLASS/ground_truth/DEFECT`."""
    for path in root.glob("*/*/*/*"):
        split, category = path.parents[1].name, path.parents[2].name
        if path.suffix.lower() not in IMAGE_SUFFIXES or split not in {"train", "test"}:
            continue
        defect = path.parent.name
        mask = None
        if defect.lower() not in NORMAL_FOLDERS:
            mask = mask_named(root / category / "ground_truth" / defect, path)
        yield IndustrialImage(path, mask, category, is_test=split == "test")


def mask_named(folder: Path, image: Path) -> Path:
    """The mask of an image: `NAME_mask.*` or `NAME.*`, the suffix varies between data sets."""
    for stem in (f"{image.stem}_mask", image.stem):
        for suffix in (".png", ".bmp", image.suffix):
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    msg = (
        f'The defective image "{image}" has no mask in "{folder}"; '
        f"expected {image.stem}_mask.png or {image.stem}.png: complete the data set."
    )
    raise InputError(msg)


def split_categories(
    images: Iterable[IndustrialImage], held_out: Iterable[str]
) -> tuple[tuple[IndustrialImage, ...], tuple[IndustrialImage, ...]]:
    """Cut a list of images into (trained on, held out) by category.

    Raises:
        InputError: A held-out category does not exist.
    """
    images, held_out = tuple(images), frozenset(held_out)
    known = Counter(image.category for image in images)
    if unknown := sorted(held_out - known.keys()):
        msg = f'The held-out category "{unknown[0]}" is not in the data; known are {", ".join(sorted(known))}.'
        raise InputError(msg)
    trained = tuple(image for image in images if image.category not in held_out)
    return trained, tuple(image for image in images if image.category in held_out)


def images_hash(images: Iterable[IndustrialImage]) -> str:
    """SHA-256 over the sorted (category, file name, content hash) of all images and masks.

    It says which images a model was trained on, wherever they lie.
    """
    lines = []
    for image in images:
        contents = [image.path.read_bytes(), b"" if image.mask is None else image.mask.read_bytes()]
        digests = " ".join(hashlib.sha256(content).hexdigest() for content in contents)
        lines.append(f"{image.category}/{image.path.name} {digests}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
