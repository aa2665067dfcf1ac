"""What is measured on: industrial images and defects, a made volume, the files of ViT-L/14-336."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from moeclip_med.weights import LoadedModel

HELD_OUT = ("steel_strip", "road_crack")
"""Sets that no training of lite has seen."""


def held_out() -> Path | None:
    """The folder of industrial sets, where it is known."""
    shared = os.environ.get("MOECLIP_SHARED")
    return Path(shared, "data", "industrial") if shared else None


def defects(loaded: LoadedModel, count: int) -> tuple[Tensor, Tensor]:
    """Return normalised images (count, 3, S, S) and masks (count, M, M) bool."""
    import numpy as np
    import torch
    from torch.nn import functional

    architecture = loaded.metadata.architecture
    draw = made_defect if held_out() is None else crops_with_masks()
    images, masks = [], []
    for index in range(count):
        image, mask = draw(architecture.image_size, index)
        images.append(torch.from_numpy(image).permute(2, 0, 1))
        masks.append(torch.from_numpy(np.asarray(mask, dtype=np.float32)))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (architecture.mean, architecture.std))
    shares = functional.adaptive_avg_pool2d(torch.stack(masks)[:, None], architecture.map_size)[:, 0]
    return (torch.stack(images).float() - mean) / std, shares >= 0.5  # noqa: PLR2004 - most of the pixel


def crops_with_masks() -> Callable[[int, int], tuple[Any, Any]]:
    """Crops of the held-out sets, (size, size, 3) in [0, 1] and (size, size) bool, by size and number."""
    import numpy as np

    from moeclip_med.industrial.crops import CropSource
    from moeclip_med.industrial.datasets import LayoutName, find_images

    folder = held_out() or Path()
    sources = [CropSource(find_images(folder / name, LayoutName.INDUSTRIAL)) for name in HELD_OUT]
    return lambda size, index: sources[index % len(sources)].any_crop(size, np.random.default_rng([991, index]))


def made_defect(size: int, index: int) -> tuple[Any, Any]:
    """A mirrored composite or a synthetic defect of made textures, by its number; as `crops_with_masks`."""
    import numpy as np

    from moeclip_med.engines.quantization_images import made_texture
    from moeclip_med.industrial.composites import symmetric_composite
    from moeclip_med.industrial.synthetic import synthetic_defect

    rng = np.random.default_rng([991, index])
    make = (symmetric_composite, synthetic_defect)[index % 2]
    return make(made_texture(size, rng), made_texture(size, rng), rng)[:2]


def industrial_images(loaded: LoadedModel, count: int) -> Tensor:
    """Return (count, 3, S, S) of made industrial images, normalised for a model."""
    import numpy as np
    import torch

    from moeclip_med.engines.quantization_images import CalibrationImages

    batches = CalibrationImages(None, count).batches(loaded.metadata.architecture)
    return torch.from_numpy(np.concatenate(list(batches)))


@contextmanager
def made_volume(side: int, slices: int) -> Iterator[Any]:
    """Write an ellipsoid with a bright, off-centre lesion as NIfTI, 1 mm voxels, and give it as a `Volume`."""
    from moeclip_transforms import read_volume

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "volume.nii.gz"
        write_made_volume(target, side, slices)
        yield read_volume(target)


def write_made_volume(path: Path, side: int, slices: int) -> None:
    """Write the made volume as NIfTI."""
    import numpy as np

    from moeclip_med.demo.files import write_nifti

    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in (side, side, slices)], indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 1.2) ** 2 < 1
    lesion = (x - 0.35) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2 < 0.2**2
    noise = np.random.default_rng(1).standard_normal(body.shape, dtype=np.float32)
    write_nifti(path, (body * (400 + 20 * noise) + lesion * 300).clip(0, 2000).astype(np.int16), np.eye(4))


def write_full_model(folder: str, volume: str, side: int, slices: int) -> dict[str, str]:
    """Write ViT-L/14-336's tower and model folder with rebuilt weights, and a made volume; give the former's place."""
    from paper_path import import_model

    write_made_volume(Path(volume), side, slices)
    return {"model": str(import_model(Path(folder)))}
