"""Volumes for the scoring tests, built as the readers build them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from moeclip_transforms import FileFormat, ImageKind, Series, Volume
from monai.data import MetaTensor


@pytest.fixture
def make_volume():
    """Give a function that wraps an array (x, y, z) or (channel, x, y, z) as a regular volume."""

    def make(array, affine=None, **changes):
        image = np.asarray(array, dtype=np.float32)
        image = image[None] if image.ndim == 3 else image
        affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
        series = Series(
            uid="1.2.3",
            format=FileFormat.NIFTI,
            files=changes.pop("files", (Path(__file__),)),
            modality="MR",
            kind=changes.pop("kind", ImageKind.MR),
            study_uid="",
            shape=(*image.shape[1:], 1),
            channels=image.shape[0],
            is_clip=changes.pop("is_clip", False),
        )
        meta = MetaTensor(torch.from_numpy(image), affine=torch.from_numpy(affine))
        return Volume(image=meta, series=series, slice_axis=changes.pop("slice_axis", 2), **changes)

    return make
