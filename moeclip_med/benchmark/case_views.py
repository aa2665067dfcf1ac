"""One case made ready: slices in [0, 1], the square around the foreground, and the true mask on the same grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import BadCaseError, Fault, Problem
from moeclip_med.benchmark.datasets.truth import Truth, read_truth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeclip_transforms import SliceView, SquareBox, Volume, Window
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.benchmark.datasets.case import Case, Dataset

PAPER_SIZE = 518
_BATCH = 8
_KEPT_VALUES = 1 << 26  # 256 MB as float32


@dataclass(frozen=True)
class Views:
    """A case as it is, ready for any system.

    Attributes:
        volume: The image; a photograph is a volume of one slice.
        view: How it is cut into slices.
        window: Stored values to [0, 1].
        box: The square around the foreground, in pixels of a slice.
        truth: What the mask says, (x, y, z); None where the case has none.
        foreground: (x, y, z), True on the body or object.
    """

    volume: Volume
    view: SliceView
    window: Window
    box: SquareBox
    truth: Truth | None
    foreground: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """(x, y, z), True where abnormal; None where the case has no mask."""
        return None if self.truth is None else self.truth.abnormal

    def compared(self, *, only_foreground: bool) -> NDArray[np.bool_] | None:
        """(x, y, z), True where map and mask are compared; None for everywhere."""
        ignored = None if self.truth is None else self.truth.ignored
        inside = self.foreground if only_foreground else None
        if ignored is None:
            return inside
        return ~ignored if inside is None else inside & ~ignored

    def batches(self) -> Iterator[tuple[list[int], Tensor]]:
        """Return the slices, a few at a time: their numbers and (slices, channel, rows, columns) in [0, 1]."""
        if self._is_small:
            yield from self._kept
            return
        yield from self._prepared()

    @cached_property
    def _kept(self) -> list[tuple[list[int], Tensor]]:
        """The slices made ready once for all systems, where they fit in memory beside everything else."""
        return list(self._prepared())

    @property
    def _is_small(self) -> bool:
        return self.volume.tensor.numel() <= _KEPT_VALUES

    def _prepared(self) -> Iterator[tuple[list[int], Tensor]]:
        for start in range(0, self.view.n_slices, _BATCH):
            indices = list(range(start, min(start + _BATCH, self.view.n_slices)))
            yield indices, self.window.apply(self.view.take(self.volume.tensor, indices))


def read_views(case: Case, dataset: Dataset) -> Views:
    """Read a case on its own grid, as `moeclip-med score` does.

    Raises:
        BadCaseError: If the image or its mask cannot be used.
    """
    from moeclip_transforms import Plane, fit_window, foreground_box, read_volume, slice_views

    from moeclip_med.scoring.scored_plane import plane_to_score

    try:
        volume = read_volume(case.image, time_point=dataset.time_point)
    except (InputError, OSError) as error:
        raise BadCaseError(Problem(Fault.UNREADABLE, case.key, str(error))) from error
    window = fit_window(volume, volume.series.image_type)
    view = slice_views(volume, plane_to_score(volume, Plane.AUTO))[0]
    truth = None if case.mask is None else read_truth(case, volume, dataset)
    foreground = window.foreground(volume.tensor).any(dim=0).numpy()
    return Views(volume, view, window, foreground_box(volume, view, window), truth, foreground)


def read_paper_image(case: Case) -> tuple[Tensor, NDArray[np.bool_] | None]:
    """Read an image as the published runs do: stretched to a square of 518 pixels, bicubic; masks nearest, not 0.

    Returns:
        (1, 3, 518, 518) in [0, 1], and the mask (518, 518) or None.

    Raises:
        BadCaseError: If the image or its mask cannot be read.
    """
    import torch
    from moeclip_transforms.pictures import PICTURE_FORMATS
    from PIL import Image

    size = (PAPER_SIZE, PAPER_SIZE)
    try:
        with Image.open(case.image, formats=PICTURE_FORMATS) as image:
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    except (OSError, ValueError) as error:
        raise BadCaseError(Problem(Fault.UNREADABLE, case.key, _words(error))) from error
    slices = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None] / 255
    if case.mask is None:
        return slices, None
    mask = read_mask(case.mask, case.key)
    nearest = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return slices, np.asarray(nearest) != 0


def read_mask(path: Path, key: str) -> NDArray[np.bool_]:
    """Read a mask image: (rows, columns), True where any colour channel is not 0.

    Raises:
        BadCaseError: If it cannot be read.
    """
    from moeclip_transforms.pictures import PICTURE_FORMATS
    from PIL import Image

    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            colours = image.convert("RGB") if image.mode in {"P", "RGBA", "LA", "PA"} else image
            values = np.asarray(colours)
    except (OSError, ValueError) as error:
        raise BadCaseError(Problem(Fault.MASK_UNREADABLE, key, _words(error))) from error
    inside: NDArray[np.bool_] = np.count_nonzero(values.reshape(*values.shape[:2], -1), axis=-1) > 0
    return inside


def _words(error: Exception) -> str:
    """The reader's own words, without the path."""
    return type(error).__name__ if isinstance(error, OSError) and error.filename else str(error).split(" '")[0]
