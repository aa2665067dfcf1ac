"""Industrial images to quantise with: from a folder, or synthetic. Never medical ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from moeclip_med.model.architecture import AnyArchitecture

    Draw = Callable[[int, Generator], NDArray[np.float32]]

CALIBRATION_VARIABLE = "MOECLIP_MED_CALIBRATION"
"""Environment variable that names a folder of industrial images."""
_SEED = 20


@dataclass(frozen=True)
class CalibrationImages:
    """Images that show a network what its activations range over.

    Attributes:
        folder: Folder of industrial images, searched with its folders; None for synthetic ones.
        count: How many.
    """

    folder: Path | None
    count: int

    @classmethod
    def find(cls, folder: Path | None, count: int) -> CalibrationImages:
        """Take the folder given, else the one that MOECLIP_MED_CALIBRATION names, else synthetic images."""
        named = os.environ.get(CALIBRATION_VARIABLE)
        return cls(folder or (Path(named).expanduser() if named else None), count)

    def describe(self) -> str:
        """What they are, for reports; no path, which may name a person."""
        return f"{self.count} {'synthetic' if self.folder is None else 'of the given industrial'} images"

    def key(self) -> str:
        """What identifies them: for a folder, a hash of its content.

        Raises:
            InputError: The folder does not exist or holds no image.
        """
        if self.folder is None:
            return f"synthetic {_SEED} {self.count}"
        from moeclip_med.industrial.datasets import LayoutName, find_images, images_hash

        return f"{images_hash(find_images(self.folder, LayoutName.INDUSTRIAL))} {self.count}"

    def batches(self, architecture: AnyArchitecture) -> Iterator[NDArray[np.float32]]:
        """Return (1, 3, S, S) float32, normalised as the architecture says.

        Raises:
            InputError: The folder does not exist or holds no image.
        """
        mean = np.array(architecture.mean, dtype=np.float32)[:, None, None]
        std = np.array(architecture.std, dtype=np.float32)[:, None, None]
        draw = _synthetic if self.folder is None else _crops(self.folder)
        for index in range(self.count):
            rng = np.random.default_rng([_SEED, index])
            image = draw(architecture.image_size, rng)
            yield ((image.transpose(2, 0, 1) - mean) / std)[None].astype(np.float32)


def _crops(folder: Path) -> Draw:
    from moeclip_med.industrial.crops import CropSource
    from moeclip_med.industrial.datasets import LayoutName, find_images

    source = CropSource(find_images(folder, LayoutName.INDUSTRIAL))
    return lambda size, rng: source.any_crop(size, rng)[0]


def _synthetic(size: int, rng: Generator) -> NDArray[np.float32]:
    """A made texture with a synthetic defect, or a mirrored composite of two, as in training."""
    from moeclip_med.industrial.composites import symmetric_composite
    from moeclip_med.industrial.crops import photometric
    from moeclip_med.industrial.synthetic import synthetic_defect

    textures = made_texture(size, rng), made_texture(size, rng)
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        return symmetric_composite(*textures, rng)[0]
    return photometric(synthetic_defect(*textures, rng)[0], rng)


def made_texture(size: int, rng: Generator) -> NDArray[np.float32]:
    """A coloured ground with grain of three sizes and, on half of them, stripes; (size, size, 3) in [0, 1]."""
    from moeclip_med.industrial.fields import smooth_noise

    spans = ((0.7, 2), (3, 9), (15, 50))
    grain = np.sum([smooth_noise(size, size / 256 * rng.uniform(*span), rng) for span in spans], axis=0)
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        rows, columns = np.mgrid[:size, :size].astype(np.float32) * (2 * np.pi / size)
        angle, waves = rng.uniform(0, np.pi), rng.uniform(4, 40)
        grain = grain + np.sin(waves * (rows * np.cos(angle) + columns * np.sin(angle)))
    ground = rng.uniform(0.2, 0.8, 3).astype(np.float32)
    texture: NDArray[np.float32] = ground + np.float32(rng.uniform(0.02, 0.1)) * grain[..., None]
    return texture.clip(0, 1).astype(np.float32)
