"""From stored values to [0, 1]: fixed CT windows, MR percentiles, the stored range of photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms.hounsfield import hu_scale
from moeclip_transforms.volume import ImageType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_transforms.slicing import Array
    from moeclip_transforms.volume import Volume

CT_WINDOWS: dict[ImageType, tuple[float, float]] = {
    ImageType.CT_BRAIN: (40.0, 80.0),
    ImageType.CT_SOFT_TISSUE: (40.0, 400.0),
    ImageType.CT_LUNG: (-600.0, 1500.0),
}
"""Window level and width in HU, the usual ones of radiology teaching (e.g. Hofer, CT Teaching Manual; Radiopaedia,
"Windowing (CT)"). Conventions: they are not tuned to any result."""

MR_PERCENTILES = (0.5, 99.5)
"""Percentiles of the foreground that become 0 and 1 where intensities have no unit. A convention, not tuned."""

_CT_BODY = -300.0  # HU; above it lie fat, soft tissue and bone, below it air and lung
_DISPLAY_BACKGROUND = 0.04  # share of the display range that still counts as black surround
_CLEAN_BORDER = 0.5
_CLEAN_SHARE = 0.1
_THIN = 16
_BINS = 65536


@dataclass(frozen=True)
class Window:
    """A linear map of stored values to [0, 1].

    Attributes:
        low: The value that becomes 0.
        high: The value that becomes 1. Where it is not above `low` (a constant volume) everything becomes 0.
        background: A value that stands for "no measurement" wherever it lies (skull-stripped, masked volumes);
            it becomes 0. None where there is none.
        foreground_above: Values above it belong to the foreground; None takes `low`.
        notes: Why it is not the window that the image type stands for, where it is not.
    """

    low: float
    high: float
    background: float | None = None
    foreground_above: float | None = None
    notes: tuple[str, ...] = ()

    def apply(self, slices: Array) -> Array:
        """Map values to [0, 1], clipped, float32; NaN, infinities and the background become 0.

        Args:
            slices: Stored values of any shape, torch or numpy; not changed.
        """
        if isinstance(slices, np.ndarray):
            import torch

            array: NDArray[np.float32] = self._apply(torch.from_numpy(np.ascontiguousarray(slices))).numpy()
            return array
        return self._apply(slices.as_tensor() if hasattr(slices, "as_tensor") else slices)

    def foreground(self, slices: Tensor) -> Tensor:
        """Which values belong to the body or object: bool of the same shape; NaN and infinities do not."""
        above = self.low if self.foreground_above is None else self.foreground_above
        inside = slices.isfinite() & (slices > above)
        return inside if self.background is None else inside & (slices != self.background)

    def _apply(self, values: Tensor) -> Tensor:
        import torch

        if self.high <= self.low:
            return torch.zeros(values.shape, dtype=torch.float32, device=values.device)
        unusable = ~values.isfinite()
        if self.background is not None:
            unusable |= values == self.background
        scaled = (values.float() - self.low).div_(self.high - self.low).clamp_(0.0, 1.0)
        return scaled.masked_fill_(unusable, 0.0)


def fit_window(volume: Volume, image_type: ImageType) -> Window:
    """The window for a volume, given its image type; see `fit_image_window`."""
    return _window_of(volume.tensor, volume.display_range, image_type)


def fit_image_window(image: MetaTensor, image_type: ImageType) -> Window:
    """The window for an image, given its image type.

    CT images have fixed windows in HU (`CT_WINDOWS`); values that are no HU are recognised, see `hu_scale`. Images
    stored ready for display (8-bit photographs, endoscopy) keep their stored range. All others, whose values have no
    unit, map the 0.5th and 99.5th percentile of the foreground to 0 and 1. The foreground excludes a value that fills
    at least half of the volume's border and a tenth of the volume (masked background), else what lies below the
    triangle threshold of the histogram (Zack et al. 1977, J Histochem Cytochem 25:741): it cuts off the noise of air.

    Args:
        image: (channel, x, y, z) stored values, with the reader's `meta`.
        image_type: The image type, from its header or a user.
    """
    from moeclip_transforms.conversion import DISPLAY_RANGE_KEY

    return _window_of(image.as_tensor(), image.meta.get(DISPLAY_RANGE_KEY), image_type)


def _window_of(voxels: Tensor, display_range: tuple[float, float] | None, image_type: ImageType) -> Window:
    if image_type in CT_WINDOWS:
        return _ct_window(voxels, display_range, image_type)
    if display_range is not None and image_type is not ImageType.MR:
        low, high = (float(bound) for bound in display_range)
        return Window(low, high, foreground_above=low + _DISPLAY_BACKGROUND * (high - low))
    return _percentile_window(voxels.cpu().numpy())


def _ct_window(voxels: Tensor, display_range: tuple[float, float] | None, image_type: ImageType) -> Window:
    """The fixed window, moved where values are HU plus an offset; the image's own range where they are no HU."""
    scale = hu_scale(voxels, display_range)
    if not scale.is_hu:
        own = _window_of(voxels, display_range, ImageType.PLAIN)
        return replace(own, notes=(scale.note,))
    level, width = CT_WINDOWS[image_type]
    centre = level + scale.offset
    return Window(
        centre - width / 2,
        centre + width / 2,
        foreground_above=_CT_BODY + scale.offset,
        notes=(scale.note,) if scale.note else (),
    )


def _percentile_window(image: NDArray[np.float32]) -> Window:
    low, high = finite_range(image)
    if high <= low:
        return Window(low, low)
    background = _masked_background(image)
    counts, edges = _histogram(image, low, high, background)
    centres = (edges[:-1] + edges[1:]) / 2
    first = 0 if background is not None else _triangle_bin(counts)
    foreground = counts.copy()
    foreground[:first] = 0
    shares = np.cumsum(foreground) / foreground.sum()
    bottom, top = (float(centres[np.searchsorted(shares, share / 100)]) for share in MR_PERCENTILES)
    if top <= bottom:  # nearly constant: the whole range, so that what little there is stays visible
        bottom, top = low, high
    above = float(edges[first]) if first else low - 1.0
    return Window(bottom, top, background=background, foreground_above=above)


def _planes(image: NDArray[np.float32], without: float | None = None) -> Iterator[NDArray[np.float32]]:
    """The finite values slice by slice, so that no second copy of the volume is held."""
    for index in range(image.shape[-1]):
        plane = image[..., index]
        usable = np.isfinite(plane)
        if without is not None:
            usable &= plane != without
        yield plane[usable]


def finite_range(image: NDArray[np.float32]) -> tuple[float, float]:
    """Lowest and highest finite value; (0, 0) where there is none."""
    low, high = np.inf, -np.inf
    for values in _planes(image):
        if len(values):
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _masked_background(image: NDArray[np.float32]) -> float | None:
    """The value that was written where nothing was measured, or None."""
    first = image[0]
    # The ends of a thin stack are whole slices of tissue, no border.
    thick = [axis for axis in range(3) if first.shape[axis] >= _THIN]
    sides = [np.moveaxis(first, axis, 0)[index] for axis in thick for index in (0, -1)]  # views; take copies the volume
    if not sides:
        return None
    border: NDArray[np.float32] = np.concatenate([side.ravel() for side in sides])
    values, counts = np.unique(border[np.isfinite(border)], return_counts=True)
    if len(values) == 0 or counts.max() < _CLEAN_BORDER * len(border):
        return None
    value = float(values[counts.argmax()])
    share = np.count_nonzero(first == value) / first.size
    return value if share >= _CLEAN_SHARE else None


def _histogram(
    image: NDArray[np.float32], low: float, high: float, background: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    edges = low + np.linspace(0.0, high - low, _BINS + 1)
    counts = np.zeros(_BINS, dtype=np.int64)
    for values in _planes(image, without=background):
        # From 0 up and in float64: a narrow range far from 0 has too few float32 values for the bins.
        counts += np.histogram(values.astype(np.float64) - low, bins=_BINS, range=(0.0, high - low))[0]
    return counts, edges


def _triangle_bin(counts: NDArray[np.int64], coarse: int = 256) -> int:
    """The first bin of the foreground by the triangle method, or 0 when the peak is not at the dark end.

    The histogram is cut at its 99.9th percentile first: a few very bright voxels would flatten the triangle.
    """
    top = int(np.searchsorted(np.cumsum(counts), 0.999 * counts.sum())) + 1
    width = max(1, top // coarse)
    usable = counts[: top // width * width].reshape(-1, width).sum(axis=1)
    peak = int(usable.argmax())
    if len(usable) <= 1 or peak > len(usable) // 4:
        return 0
    bins = np.arange(peak, len(usable))
    line = usable[peak] + (usable[-1] - usable[peak]) * (bins - peak) / max(1, len(usable) - 1 - peak)
    return int(bins[(line - usable[peak:]).argmax()]) * width
