"""The sample images as volumes; runs in the scoring process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import FileFormat, ImageType, Series
from moeclip_transforms.assemble import make_volume

if TYPE_CHECKING:
    from moeclip_transforms import Volume


def make_sample(name: str) -> Volume:
    """Simulate an image.

    Args:
        name: "brain" or "endoscopy".

    Raises:
        MissingExtraError: If the package that ships the brain's template is not installed.
    """
    return _brain() if name == "brain" else _endoscopy()


def _brain() -> Volume:
    from moeclip_med.demo import simulate_brain

    brain = simulate_brain()
    series = _series("simulated brain, simulated lesion", brain.image.shape, ImageType.MR, channels=1)
    return make_volume(brain.image.astype(np.float32)[None], brain.affine, series, slice_axis=2)


def _endoscopy() -> Volume:
    from moeclip_med.demo import simulate_endoscopy

    frames = simulate_endoscopy().astype(np.float32)
    array = np.ascontiguousarray(frames.transpose(3, 2, 1, 0))
    series = _series("simulated endoscopy, simulated polyp", array.shape[1:], ImageType.ENDOSCOPY, channels=3)
    return make_volume(array, np.eye(4), series, slice_axis=2, display_range=(0.0, 255.0), has_orientation=False)


def _series(description: str, shape: tuple[int, ...], image_type: ImageType, channels: int) -> Series:
    x, y, z = shape
    return Series(
        uid=description,
        format=FileFormat.IMAGE,
        files=(),
        modality="",
        image_type=image_type,
        study_uid="",
        shape=(x, y, z, 1),
        channels=channels,
        is_cine=image_type is ImageType.ENDOSCOPY,
        description=description,
    )
