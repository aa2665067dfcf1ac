"""From slices to the square that a network sees, and back.

A slice may be a thousand times longer than wide, and the square around it a thousand times its area. Resizing goes axis
by axis, so there the long axis is shortened before the short one is padded: memory grows with the length of the slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch.nn import functional

if TYPE_CHECKING:
    from moeclip_transforms import SquareBox
    from torch import Tensor

_LONG = 4
"""A square this many times the area of its slice is made axis by axis."""


class Crop(NamedTuple):
    """The part of a slice that a network sees.

    Attributes:
        rows: Rows of the slice.
        columns: Columns of the slice.
        left: Columns that the part reaches beyond the slice on the left; negative where it is cropped.
        right: The same on the right.
        top: The same above.
        bottom: The same below.
    """

    rows: int
    columns: int
    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @classmethod
    def of(cls, box: SquareBox | None, rows: int, columns: int) -> Crop:
        """Return the crop of a box in slices of a size; all of the slice without one."""
        if box is None:
            return cls(rows, columns)
        return cls(rows, columns, -box.column_start, box.column_stop - columns, -box.row_start, box.row_stop - rows)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the part."""
        return self.rows + self.top + self.bottom, self.columns + self.left + self.right

    @property
    def is_long(self) -> bool:
        """Whether padding to the part would take many times the memory of the slice."""
        height, width = self.size
        return height * width > _LONG * self.rows * self.columns

    def to_square(self, slices: Tensor, size: int) -> Tensor:
        """Cut the part out, black outside the slice, and resize it.

        Args:
            slices: (batch, channel, rows, columns) float32.
            size: Rows and columns that the network takes.
        """
        across, along = [self.left, self.right, 0, 0], [0, 0, self.top, self.bottom]
        if not self.is_long:
            return _smaller(functional.pad(slices, [self.left, self.right, self.top, self.bottom]), (size, size))
        if self.columns > self.rows:
            narrowed = _smaller(functional.pad(slices, across), (self.rows, size))
            return _smaller(functional.pad(narrowed, along), (size, size))
        shortened = _smaller(functional.pad(slices, along), (size, self.columns))
        return _smaller(functional.pad(shortened, across), (size, size))

    def from_square(self, maps: Tensor, *, outside: float, mode: str = "bilinear") -> Tensor:
        """Resize maps to the part and put them into slices.

        Args:
            maps: (batch, channel, size, size).
            outside: The value where the part does not reach.
            mode: "bilinear", or "nearest-exact" for labels.

        Returns:
            (batch, channel, rows, columns).
        """
        height, width = self.size
        across, along = [-self.left, -self.right, 0, 0], [0, 0, -self.top, -self.bottom]
        if not self.is_long:
            whole = _larger(maps, (height, width), mode)
            return functional.pad(whole, [-self.left, -self.right, -self.top, -self.bottom], value=outside)
        if self.columns > self.rows:
            tall = functional.pad(_larger(maps, (height, maps.shape[-1]), mode), along, value=outside)
            return functional.pad(_larger(tall, (self.rows, width), mode), across, value=outside)
        wide = functional.pad(_larger(maps, (maps.shape[-2], width), mode), across, value=outside)
        return functional.pad(_larger(wide, (height, self.columns), mode), along, value=outside)


def _smaller(images: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def _larger(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    corners = False if mode == "bilinear" else None
    enlarged: Tensor = functional.interpolate(maps, size=size, mode=mode, align_corners=corners)
    return enlarged
