"""Figures of single lesions: BraTS' lesion-wise Dice and HD95, and panoptic quality.

Own code, since `panoptica` (2.1) allows no NumPy newer than 2.2 and BraTS' script copies the whole volume for each
lesion; tests hold both measures to what these programs give on the same masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from moeclip_med.metrics.histogram import label_regions
from moeclip_med.metrics.surfaces import bounding_box, hausdorff, surface_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Labels = NDArray[np.integer]


class LesionRule(NamedTuple):
    """How lesions are told apart and paired.

    Attributes:
        dilation: True regions whose borders widened by this (mm, or pixels) touch are one lesion, and what is found
            within it belongs to the lesion.
        smallest: Lesions of this size or less (mm³, or pixels) do not count.
        penalty: HD95 of a lesion that was missed, and of a found region that belongs to no lesion (mm or pixels).
    """

    dilation: float = 3.0
    smallest: float = 50.0
    penalty: float = 374.0


BRATS_GLIOMA = LesionRule()
"""The rule of the BraTS 2023 adult glioma challenge, whose images have voxels of 1 mm."""


class Lesion(NamedTuple):
    """One true lesion against what was found of it.

    Attributes:
        size: mm³, or pixels.
        dice: With all found regions that reach it; 0 where there are none.
        hd95: mm, or pixels; the penalty where there are none.
    """

    size: float
    dice: float
    hd95: float


@dataclass(frozen=True)
class LesionWise:
    """The lesion-wise figures of one case.

    Attributes:
        lesions: Those that count.
        false_regions: How many found regions reach no lesion.
        dice: Mean over lesions and false regions, which count 0.
        hd95: Mean over lesions and false regions, which count the penalty.
    """

    lesions: tuple[Lesion, ...]
    false_regions: int
    dice: float
    hd95: float


def measure_lesions(
    truth: Mask, found: Mask, spacing: tuple[float, ...], rule: LesionRule = BRATS_GLIOMA
) -> LesionWise:
    """Measure each lesion of a case by the rule of the BraTS challenge (Saluja et al., BraTS-2023-Metrics).

    Args:
        truth: (x, y) or (x, y, z), True where abnormal.
        found: Same shape, True where something was found.
        spacing: Voxel size along each axis, mm (1 for pixels without a size).
        rule: Of the challenge.

    Returns:
        The figures; Dice 1 and HD95 0 where nothing is true (of a size that counts) and nothing found.
    """
    everything = truth | found
    if not everything.any():
        return LesionWise((), 0, 1.0, 0.0)
    steps = tuple(int(rule.dilation / step + 0.5) for step in spacing)
    box = tuple(
        slice(max(0, part.start - step), part.stop + step)
        for part, step in zip(bounding_box(everything), steps, strict=True)
    )
    truth, found = truth[box], found[box]
    wide, count = label_regions(_dilated(truth, steps))
    regions, n_regions = label_regions(found)
    places = found & (wide > 0)
    pairs = np.bincount(wide[places].astype(np.int64) * (n_regions + 1) + regions[places])
    reached = np.stack(np.divmod(np.flatnonzero(pairs), n_regions + 1), axis=1)
    lesion_labels = np.where(truth, wide, 0)
    lesion_size = np.bincount(lesion_labels.ravel(), minlength=count + 1)
    region_size = np.bincount(regions.ravel(), minlength=n_regions + 1)
    boxes = (ndimage.find_objects(lesion_labels), ndimage.find_objects(regions))
    voxel = float(np.prod(spacing))
    lesions = []
    for lesion in range(1, count + 1):
        size = lesion_size[lesion] * voxel
        if size <= rule.smallest:
            continue
        partners = reached[reached[:, 0] == lesion, 1]
        if not len(partners):
            lesions.append(Lesion(size, 0.0, rule.penalty))
            continue
        around = _union([boxes[0][lesion - 1], *(boxes[1][partner - 1] for partner in partners)])
        own = lesion_labels[around] == lesion
        theirs = np.isin(regions[around], partners)
        dice = 2 * np.count_nonzero(own & theirs) / (lesion_size[lesion] + region_size[partners].sum())
        lesions.append(Lesion(size, float(dice), hausdorff(surface_distances(own, theirs, spacing))))
    false_regions = n_regions - len(np.unique(reached[:, 1]))
    total = len(lesions) + false_regions
    if not total:
        return LesionWise((), 0, 1.0, 0.0)
    return LesionWise(
        tuple(lesions),
        false_regions,
        sum(lesion.dice for lesion in lesions) / total,
        (sum(lesion.hd95 for lesion in lesions) + false_regions * rule.penalty) / total,
    )


class Panoptic(NamedTuple):
    """Panoptic quality (Kirillov et al., CVPR 2019) of one case, by its parts.

    Attributes:
        matched: Lesions paired one to one with a found region.
        missed: Lesions that are not.
        false: Found regions that are not.
        iou_sum: IoU of the pairs, summed.
    """

    matched: int
    missed: int
    false: int
    iou_sum: float

    @property
    def quality(self) -> float:
        """Summed IoU over pairs + (missed + false) / 2; NaN where there is neither lesion nor region."""
        total = self.matched + (self.missed + self.false) / 2
        return self.iou_sum / total if total else float("nan")


def panoptic(truth: Labels, found: Labels, smallest_iou: float) -> Panoptic:
    """Pair lesions with found regions one to one, those of the highest IoU first.

    Args:
        truth: Any shape, the number of the lesion, 0 outside.
        found: Same shape, the number of the region, 0 outside.
        smallest_iou: Pairs of a smaller IoU do not match. Above 0.5 pairs are unique; below, the order decides.
    """
    lesion_of, region_of = truth[truth > 0], found[found > 0]
    truth_size, found_size = np.bincount(lesion_of, minlength=1), np.bincount(region_of, minlength=1)
    n_lesions, n_regions = int(np.count_nonzero(truth_size)), int(np.count_nonzero(found_size))
    partner = found[truth > 0]
    pairs = lesion_of[partner > 0].astype(np.int64) * len(found_size) + partner[partner > 0]
    keys, common = np.unique(pairs, return_counts=True)
    lesions, regions = np.divmod(keys, len(found_size))
    iou = common / (truth_size[lesions] + found_size[regions] - common)
    free_lesions, free_regions = set(lesions.tolist()), set(regions.tolist())
    kept = []
    for pair in np.argsort(-iou, kind="stable"):
        lesion, region = int(lesions[pair]), int(regions[pair])
        if iou[pair] >= smallest_iou and lesion in free_lesions and region in free_regions:
            free_lesions.remove(lesion)
            free_regions.remove(region)
            kept.append(float(iou[pair]))
    return Panoptic(len(kept), n_lesions - len(kept), n_regions - len(kept), sum(kept))


def _dilated(mask: Mask, steps: tuple[int, ...]) -> Mask:
    """Widen a mask step by step over its 18 neighbours (8 in 2-D), along each axis as often as asked.

    Region by region, since a step over a whole volume takes longer than those over all of its few regions.
    """
    labels, _ = label_regions(mask)
    wide = np.zeros_like(mask)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        around = tuple(
            slice(max(0, part.start - step), part.stop + step) for part, step in zip(box, steps, strict=True)
        )
        region = labels[around] == number
        for turn in range(max(steps)):
            axes = [axis for axis, step in enumerate(steps) if step > turn]
            region = ndimage.binary_dilation(region, _structure(mask.ndim, axes))
        wide[around] |= region
    return wide


def _structure(dims: int, axes: list[int]) -> Mask:
    """Return the neighbours that differ along at most two of the given axes."""
    offsets = np.abs(np.indices((3,) * dims) - 1)
    others = [axis for axis in range(dims) if axis not in axes]
    structure: Mask = (offsets.sum(axis=0) <= 2) & (offsets[others].sum(axis=0) == 0)  # noqa: PLR2004 - two axes
    return structure


def _union(boxes: list[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes, strict=True))
