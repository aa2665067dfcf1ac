"""How well a found region agrees with the true one in one case: Dice, IoU, HD95, NSD, volume error.

Empty masks follow Metrics Reloaded (Maier-Hein et al., Nature Methods 2024): without anything true, overlap and
distances say nothing and are undefined (such cases are measured by specificity, not here); where something true was
missed altogether each figure takes its worst value: 0, or for distances the diagonal of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.metrics.surfaces import hausdorff, surface_dice, surface_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE_MM = 2.0
"""Surfaces closer than this agree (NSD)."""

TOLERANCE_PIXELS = 3.0
"""The same for images without a size in mm."""

EMPTY_RULES = (
    "Nothing true in a case: Dice, IoU, sensitivity, precision, HD95 and NSD are undefined there and not part of the "
    "averages; the specificity table measures such cases. Something true, nothing found: Dice, IoU, sensitivity and "
    "NSD are 0, HD95 is the diagonal of the image, precision is undefined."
)

_NAN = float("nan")


@dataclass(frozen=True)
class Overlap:
    """The figures of one case; NaN where undefined.

    Attributes:
        truth_size: Size of the true region, ml (pixels where there are no mm).
        found_size: Size of the found region, same unit.
        dice: 0 to 1.
        iou: 0 to 1.
        sensitivity: Share of the true region that was found.
        precision: Share of the found region that is true.
        hd95: Hausdorff distance, 95th percentile, mm or pixels.
        nsd: Surface Dice at the tolerance.
    """

    truth_size: float
    found_size: float
    dice: float = _NAN
    iou: float = _NAN
    sensitivity: float = _NAN
    precision: float = _NAN
    hd95: float = _NAN
    nsd: float = _NAN

    @property
    def size_error(self) -> float:
        """Found minus true size, in the unit of both."""
        return self.found_size - self.truth_size

    @property
    def relative_size_error(self) -> float:
        """The same as a share of the true size; NaN where nothing is true."""
        return self.size_error / self.truth_size if self.truth_size else _NAN


def measure_overlap(
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    spacing: tuple[float, ...],
    *,
    element_size: float = 1.0,
    tolerance: float = TOLERANCE_MM,
    worst: float | None = None,
) -> Overlap:
    """Compare two masks of one case.

    Args:
        truth: (x, y) or (x, y, z), True where abnormal.
        found: Same shape, True where something was found.
        spacing: Voxel size along each axis, mm (1 for pixels without a size).
        element_size: Size of one voxel in the unit wanted for sizes, such as ml.
        tolerance: Of the NSD, mm or pixels.
        worst: The HD95 where nothing was found; the diagonal of the masks if None (give it where they were cropped).

    Returns:
        The figures, by the rules of the module where a mask is empty.
    """
    both = int(np.count_nonzero(truth & found))
    true, positive = int(np.count_nonzero(truth)), int(np.count_nonzero(found))
    sizes = (true * element_size, positive * element_size)
    if not true:
        return Overlap(*sizes)
    dice, iou = 2 * both / (true + positive), both / (true + positive - both)
    if not positive:
        return Overlap(*sizes, dice, iou, 0.0, _NAN, diagonal(truth.shape, spacing) if worst is None else worst, 0.0)
    distances = surface_distances(truth, found, spacing)
    return Overlap(
        *sizes,
        dice,
        iou,
        both / true,
        both / positive,
        hausdorff(distances),
        surface_dice(distances, tolerance),
    )


def diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Return the diagonal of an image in mm: the worst value of a distance."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))
