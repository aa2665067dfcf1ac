"""One case made ready: slices in [0, 1], the square around the foreground, and the true mask on the same grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeclip_transforms import SliceView, SquareBox, Volume, Window
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.benchmark.datasets.case import Case, Dataset

PAPER_SIZE = 518
_GRID_TOLERANCE_MM = 0.01
_BATCH = 8
_KEPT_VALUES = 1 << 26  # 256 MB as float32


class BadCaseError(Exception):
    """A case that has to be left out."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.key}: {problem.fault.value} {problem.detail}")
        self.problem = problem


@dataclass(frozen=True)
class Views:
    """A case as it is, ready for any system.

    Attributes:
        volume: The image; a photograph is a volume of one slice.
        view: How it is cut into slices.
        window: Stored values to [0, 1].
        box: The square around the foreground, in pixels of a slice.
        mask: (x, y, z), True where abnormal; None where the case has no mask.
        foreground: (x, y, z), True on the body or object.
    """

    volume: Volume
    view: SliceView
    window: Window
    box: SquareBox
    mask: NDArray[np.bool_] | None
    foreground: NDArray[np.bool_]

    def batches(self) -> Iterator[tuple[list[int], Tensor]]:
        """Give the slices, a few at a time: their numbers and (slices, channel, rows, columns) in [0, 1]."""
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
    from moeclip_transforms import fit_window, foreground_box, read_volume, slice_views

    try:
        volume = read_volume(case.image, time_point=dataset.time_point)
    except (InputError, OSError) as error:
        raise BadCaseError(Problem(Fault.UNREADABLE, case.key, str(error))) from error
    window = fit_window(volume, volume.series.kind)
    view = slice_views(volume)[0]
    mask = None
    if case.mask is not None:
        mask = _volume_mask(case, volume, dataset) if dataset.is_volumes else _image_mask(case, volume)
    foreground = window.foreground(volume.tensor).any(dim=0).numpy()
    return Views(volume, view, window, foreground_box(volume, view, window), mask, foreground)


def read_paper_image(case: Case) -> tuple[Tensor, NDArray[np.bool_] | None]:
    """Read an image as the published runs do: stretched to a square of 518 pixels, bicubic; masks nearest, not 0.

    Returns:
        (1, 3, 518, 518) in [0, 1], and the mask (518, 518) or None.

    Raises:
        BadCaseError: If the image or its mask cannot be read.
    """
    import torch
    from PIL import Image

    size = (PAPER_SIZE, PAPER_SIZE)
    try:
        with Image.open(case.image) as image:
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
    from PIL import Image

    try:
        with Image.open(path) as image:
            colours = image.convert("RGB") if image.mode in {"P", "RGBA", "LA", "PA"} else image
            values = np.asarray(colours)
    except (OSError, ValueError) as error:
        raise BadCaseError(Problem(Fault.MASK_UNREADABLE, key, _words(error))) from error
    inside: NDArray[np.bool_] = np.count_nonzero(values.reshape(*values.shape[:2], -1), axis=-1) > 0
    return inside


def _image_mask(case: Case, volume: Volume) -> NDArray[np.bool_]:
    assert case.mask is not None  # noqa: S101 - for the type checker; the caller looked
    mask = read_mask(case.mask, case.key)
    columns, rows, _ = volume.shape
    if mask.shape != (rows, columns):
        found = f"image {columns} × {rows}, mask {mask.shape[1]} × {mask.shape[0]}"
        raise BadCaseError(Problem(Fault.MASK_SIZE, case.key, found))
    return mask.T[:, :, None]


def _volume_mask(case: Case, volume: Volume, dataset: Dataset) -> NDArray[np.bool_]:
    from moeclip_transforms import read_volume

    assert case.mask is not None  # noqa: S101 - for the type checker; the caller looked
    try:
        labels = read_volume(case.mask)
    except (InputError, OSError) as error:
        raise BadCaseError(Problem(Fault.MASK_UNREADABLE, case.key, str(error))) from error
    if labels.shape != volume.shape:
        found = f"image {volume.shape}, mask {labels.shape}"
        raise BadCaseError(Problem(Fault.MASK_SIZE, case.key, found))
    apart = float(np.abs(_corners(labels) - _corners(volume)).max())
    if apart > _GRID_TOLERANCE_MM:
        raise BadCaseError(Problem(Fault.MASK_GRID, case.key, f"corners up to {apart:.1f} mm apart"))
    values = labels.array[0]
    if dataset.lesion_labels:
        return np.isin(np.rint(values), dataset.lesion_labels)
    inside: NDArray[np.bool_] = values != 0
    return inside


def _corners(volume: Volume) -> NDArray[np.float64]:
    """World positions of the first and last voxel along each axis, mm."""
    last = np.array(volume.shape) - 1.0
    corners = np.vstack([np.zeros(3), np.diag(last)])
    return volume.affine.to_world(corners)


def _words(error: Exception) -> str:
    """The reader's own words, without the path."""
    return type(error).__name__ if isinstance(error, OSError) and error.filename else str(error).split(" '")[0]
