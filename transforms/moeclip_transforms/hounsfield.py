"""Whether values are Hounsfield units, as a CT window takes for granted: air near -1000, water near 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_SAMPLE = 1 << 20
_OFFSETS = (1024.0, 32768.0, 33792.0)
"""What is added to HU where they are stored without sign: by CT scanners, by DeepLesion, and both."""
_PADDING = -1500.0
_BODY = (-1100.0, 300.0)
"""HU of air, lung, fat, water and soft tissue."""
_SPECKS = 0.01
_PLAUSIBLE = 0.2
_CLEARLY_BETTER = 0.1
_UNIT_RANGE = 2.5
_BYTE = (0.0, 255.0)


@dataclass(frozen=True)
class HuScale:
    """What was found out about the unit of a CT's values.

    Attributes:
        is_hu: Whether they are HU plus an offset.
        offset: What was added to HU.
        note: What a user has to know, or "".
    """

    is_hu: bool = True
    offset: float = 0.0
    note: str = ""


def hu_scale(values: Tensor, display_range: tuple[float, float] | None) -> HuScale:
    """Find out whether values are HU, by the share of them that are air or soft tissue under each known offset.

    Args:
        values: Stored values of any shape; not changed.
        display_range: Lowest and highest value of an image stored ready for display; else None.
    """
    flat = values.reshape(-1)
    sample: NDArray[np.float32] = flat[:: max(1, len(flat) // _SAMPLE)].float().numpy()
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        return HuScale()
    low, high = float(sample.min()), float(sample.max())
    if high <= low:
        return HuScale()
    if high - low <= _UNIT_RANGE or display_range is not None or (low, high) == _BYTE:
        return HuScale(
            is_hu=False,
            note=(
                f"The values lie between {low:g} and {high:g}: they are no HU, which a CT window needs, so the range "
                "of the image itself is shown instead; give the CT in HU."
            ),
        )
    plain = _plausibility(sample, 0.0)
    measured = sample[sample > low]  # padding is the lowest value
    possible = [offset for offset in _OFFSETS if np.mean(measured < offset + _BODY[0]) < _SPECKS]
    best = max(possible, default=0.0, key=lambda offset: _plausibility(sample, offset))
    if _plausibility(sample, best) > plain + _CLEARLY_BETTER:
        return HuScale(
            offset=best,
            note=(
                f"The values are no HU but look like HU + {best:g} (lowest {low:g}), so the CT window was moved by "
                f"{best:g}; subtract {best:g} in the file to have intensities in HU."
            ),
        )
    if plain < _PLAUSIBLE:
        return HuScale(
            is_hu=False,
            note=(
                f"Only {plain:.0%} of the values (lowest {low:g}, highest {high:g}) are HU of air or soft tissue, so "
                "the range of the image itself is shown instead of the CT window; give the CT in HU."
            ),
        )
    return HuScale()


def looks_like_ct(lowest: float) -> bool:
    """Whether the lowest value is that of air in HU, or of the padding around a CT."""
    return lowest <= -900.0  # noqa: PLR2004


def _plausibility(sample: NDArray[np.float32], offset: float) -> float:
    hu = sample - np.float32(offset)
    measured = hu > _PADDING
    total = int(np.count_nonzero(measured))
    inside = np.count_nonzero(measured & (hu >= _BODY[0]) & (hu <= _BODY[1]))
    return inside / total if total else 0.0
