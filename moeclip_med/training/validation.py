"""What chooses the checkpoint: categories never trained on, and synthetic defects on images never trained on.

Only industrial images and what is made from them are seen here. No medical image chooses anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from PIL import Image

from moeclip_med.metrics.binning import Binning
from moeclip_med.metrics.curves import auroc, average_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.industrial.mix import Mix

MapsOf: TypeAlias = "Callable[[NDArray[np.uint8], str], NDArray[np.float32]]"
"""From images (n, size, size, 3) uint8 and the name of their group to raw anomaly maps (n, m, m)."""

BINNING = Binning(centre=0.0, spread=1.0, bins=1 << 16)


HALF = 0.5
"""A cell of the map is defective where at least this share of its pixels is."""


@dataclass(frozen=True)
class ValidationGroup:
    """Images that are evaluated together.

    Attributes:
        name: A held-out category, or a kind of synthetic defect.
        images: (n, size, size, 3) uint8.
        masks: (n, size, size) bool.
    """

    name: str
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        score: The number that chooses the checkpoint; larger is better.
        values: Every figure behind it, by name, for the log.
        pictures: RGB pictures by name, (rows, columns, 3) uint8.
    """

    score: float
    values: dict[str, float]
    pictures: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class GroupScores:
    """Scores of one group, as fractions of 1; NaN where undefined (no normal image, say)."""

    pixel_auroc: float
    pixel_ap: float
    image_auroc: float


def hold_out_normals(
    images: Iterable[IndustrialImage], share: float
) -> tuple[tuple[IndustrialImage, ...], tuple[IndustrialImage, ...]]:
    """Cut off a share of the normal images, chosen by the hash of category and name: (trained on, held out)."""
    images = tuple(images)
    held = {image for image in images if image.is_normal and fraction(f"{image.category}/{image.path.name}") < share}
    return tuple(i for i in images if i not in held), tuple(i for i in images if i in held)


def fraction(text: str) -> float:
    """A text's own number in [0, 1), the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def central_square(image: IndustrialImage, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The largest central square at the network's size: (size, size, 3) uint8 and (size, size) bool."""
    pixels, mask = image.read(), image.read_mask()
    rows, columns = mask.shape
    side = min(rows, columns)
    left, top = (columns - side) // 2, (rows - side) // 2
    box = (left, top, left + side, top + side)
    square = Image.fromarray(pixels).convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
    small = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST, box=box)
    return np.asarray(square), np.asarray(small, dtype=np.bool_)


def category_groups(images: Sequence[IndustrialImage], *, size: int, most: int) -> list[ValidationGroup]:
    """One group per category, of at most `most` images each, chosen by the hash of their names.

    Categories without a defective image are skipped: they have nothing to find.
    """
    groups = []
    for category in sorted({image.category for image in images}):
        members = sorted(
            (image for image in images if image.category == category),
            key=lambda image: fraction(f"{image.category}/{image.path.name}"),
        )[:most]
        pairs = [central_square(image, size) for image in members]
        masks = np.stack([mask for _, mask in pairs])
        if masks.any():
            groups.append(ValidationGroup(category, np.stack([pixels for pixels, _ in pairs]), masks))
    return groups


def synthetic_groups(mix: Mix, count: int) -> list[ValidationGroup]:
    """The first `count` images of a held-out mix, one group per kind."""
    samples = [mix[number] for number in range(count)]
    groups = []
    for kind in sorted({sample.kind for sample in samples}):
        chosen = [sample for sample in samples if sample.kind == kind]
        groups.append(
            ValidationGroup(
                kind.name.lower(),
                np.stack([sample.image for sample in chosen]),
                np.stack([sample.mask for sample in chosen]),
            )
        )
    return groups


def held_out_normal_samples(mix: Mix, count: int) -> NDArray[np.uint8]:
    """The first `count` images of a mix that have no defect, (count, size, size, 3)."""
    found: list[NDArray[np.uint8]] = []
    for number in range(20 * count):
        sample = mix[number]
        if not sample.mask.any():
            found.append(sample.image)
        if len(found) == count:
            break
    return np.stack(found)


def validate(groups: Iterable[ValidationGroup], maps_of: MapsOf) -> Validation:
    """Evaluate groups of images by the raw maps that a network makes of them."""
    scores: dict[str, GroupScores] = {}
    values: dict[str, float] = {}
    pictures: dict[str, NDArray[np.uint8]] = {}
    for group in groups:
        maps = maps_of(group.images, group.name)
        scores[group.name] = score_group(group, maps)
        values |= {f"{group.name}_{name}": value for name, value in vars(scores[group.name]).items()}
        low, high = np.quantile(maps, [0.02, 0.998])
        pictures[group.name] = validation_picture(group, maps, (float(low), float(high)))
    return Validation(selection_score(scores), values, pictures)


def score_group(group: ValidationGroup, maps: NDArray[np.float32]) -> GroupScores:
    """Evaluate a group's raw anomaly maps (n, m, m); an image's score is its map's maximum."""
    masks = shrunk_masks(group.masks, maps.shape[1])
    labels: NDArray[np.bool_] = np.asarray(group.masks.any(axis=(1, 2)), dtype=np.bool_)
    pixel_auroc, pixel_ap = areas(maps, masks)
    image_auroc, _ = areas(maps.max(axis=(1, 2)), labels)
    return GroupScores(pixel_auroc, pixel_ap, image_auroc)


def shrunk_masks(masks: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Masks (n, size, size) at (n, side, side): where at least half of a cell is defective."""
    cover = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks).float(), side)
    return np.asarray(cover.numpy() >= HALF, dtype=np.bool_)


def areas(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """AUROC and average precision; NaN where one class is missing."""
    index = BINNING.index(scores)
    flat = labels.reshape(-1)
    normal = np.bincount(index[~flat], minlength=BINNING.bins)
    abnormal = np.bincount(index[flat], minlength=BINNING.bins)
    return float(auroc(normal, abnormal)), float(average_precision(normal, abnormal))


def selection_score(scores: Mapping[str, GroupScores]) -> float:
    """The one number that chooses: the mean of pixel AUROC, pixel AP and image AUROC, each a mean over groups."""
    parts = [
        [group.pixel_auroc for group in scores.values()],
        [group.pixel_ap for group in scores.values()],
        [group.image_auroc for group in scores.values()],
    ]
    defined = [[value for value in part if not np.isnan(value)] for part in parts]
    return float(np.mean([np.mean(part) for part in defined if part]))


def validation_picture(
    group: ValidationGroup, maps: NDArray[np.float32], scale: tuple[float, float], count: int = 8
) -> NDArray[np.uint8]:
    """Image, mask and map of the first images of a group, side by side, one row each kind.

    Args:
        group: Images and masks.
        maps: (n, m, m) raw maps.
        scale: (raw value shown black, raw value shown white), the same for every image of a run.
        count: How many images.
    """
    low, high = scale
    columns = []
    for image, mask, raw in zip(group.images[:count], group.masks[:count], maps[:count], strict=True):
        shown = np.clip((raw - low) / max(high - low, 1e-6), 0, 1)
        size = image.shape[0]
        grey = np.asarray(Image.fromarray((shown * 255).astype(np.uint8)).resize((size, size)))
        rows = [image, *(np.repeat(field[..., None], 3, axis=2) for field in (mask.astype(np.uint8) * 255, grey))]
        columns.append(np.vstack(rows))
    return np.hstack(columns)
