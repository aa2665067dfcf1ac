"""Industrial data sets in the layouts they are published in: normal images, defective ones, their masks."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.image_sets import IMAGE_ENDINGS, Layout, Rule, find_set
from moeclip_transforms.pictures import PICTURE_FORMATS
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_FORMATS = (*PICTURE_FORMATS, "WEBP")
_GROUP = r"(?P<top>(?:.*/)?)(?P<group>[^/]+)"
_STEM = r"(?P<stem>[^/]+)"
_DEFECT = "{top}{group}/ground_truth/{defect}/{stem}"
MVTEC_LAYOUT = Layout(
    rules=(
        Rule(rf"{_GROUP}/(?P<split>train|test)/(?:good|ok)/{_STEM}", is_abnormal=False),
        Rule(
            rf"{_GROUP}/(?P<split>train|test)/(?P<defect>[^/]+)/{_STEM}",
            is_abnormal=True,
            masks=(f"{_DEFECT}_mask", _DEFECT),
        ),
    ),
    masks=rf"{_GROUP}/ground_truth/[^/]+/{_STEM}",
)
"""MVTec AD and its kin: `CLASS/{train,test}/DEFECT/*`, masks in `CLASS/ground_truth/DEFECT`."""

VISA_LAYOUT = Layout(
    rules=(
        Rule(rf"{_GROUP}/Data/Images/Normal/{_STEM}", is_abnormal=False),
        Rule(
            rf"{_GROUP}/Data/Images/Anomaly/{_STEM}",
            is_abnormal=True,
            masks=("{top}{group}/Data/Masks/Anomaly/{stem}",),
        ),
    ),
    masks=rf"{_GROUP}/Data/Masks/Anomaly/{_STEM}",
    split="split_csv/1cls.csv",
)

_BESIDE = Layout(
    rules=(
        Rule(r"(?P<place>(?P<group>[^/]+)/.+)", is_abnormal=None, masks=("{place}_mask",), unless=r".*_mask"),
        Rule(r"(?P<place>[^/]+)", is_abnormal=None, masks=("{place}_mask",), unless=r".*_mask"),
    ),
    endings=(*IMAGE_ENDINGS, ".webp"),
)


class LayoutName(StrEnum):
    """How a data set is laid out on disk.

    `INDUSTRIAL` is any folder of images with `NAME_mask.png` beside `NAME.*`; without a mask, it is normal.
    """

    VISA = "visa"
    MVTEC = "mvtec"
    BTAD = "btad"
    DTD_SYNTHETIC = "dtd-synthetic"
    RSDD = "rsdd"
    INDUSTRIAL = "industrial"


_LAYOUTS = {LayoutName.VISA: VISA_LAYOUT, LayoutName.INDUSTRIAL: _BESIDE}


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


def find_images(root: Path, name: LayoutName) -> tuple[IndustrialImage, ...]:
    """All images of a data set, sorted by path.

    Args:
        root: The data set's folder.
        name: How it is laid out.

    Raises:
        InputError: The folder is missing, holds no image of this layout, or a defective image has no mask.
    """
    if not root.is_dir():
        raise InputError(f'The data set folder "{root}" does not exist; give the folder it was unpacked to.')
    layout = _LAYOUTS.get(name, MVTEC_LAYOUT)
    matches = find_set(root, layout).matches
    if not matches:
        raise InputError(
            f'The folder "{root}" holds no image in the layout "{name}"; '
            f"check the path, or name another layout ({', '.join(LayoutName)})."
        )
    for match in matches:
        if match.lacks_mask:
            expected = match.rule.masks[0].format(**match.groups)
            raise InputError(
                f'The defective image "{match.path}" has no mask in "{root}"; '
                f"expected {expected}.png: complete the data set."
            )
    tells_test = layout is not _BESIDE
    images = (
        IndustrialImage(match.path, match.mask, match.groups.get("group") or root.name, match.is_test and tells_test)
        for match in matches
    )
    return tuple(sorted(images, key=lambda image: image.path.as_posix()))


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
        raise InputError(
            f'The held-out category "{unknown[0]}" is not in the data; known are {", ".join(sorted(known))}.'
        )
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
