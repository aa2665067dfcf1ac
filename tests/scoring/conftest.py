"""Volumes for the scoring tests, built as the readers build them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from moeclip_transforms import Affine, FileFormat, ImageType, Series, Volume
from moeclip_transforms.volume import SourceRef


@pytest.fixture(scope="session")
def make_volume():
    """Return a function that wraps an array (x, y, z) or (channel, x, y, z) as a regular volume."""

    def make(array, affine=None, **changes):
        image = np.asarray(array, dtype=np.float32)
        image = image[None] if image.ndim == 3 else image
        affine = np.eye(4) if affine is None else affine
        series = Series(
            uid="1.2.3",
            format=FileFormat.NIFTI,
            files=changes.pop("files", (Path(__file__),)),
            modality="MR",
            image_type=changes.pop("image_type", ImageType.MR),
            study_uid="",
            shape=(*image.shape[1:], 1),
            channels=image.shape[0],
            is_cine=changes.pop("is_cine", False),
        )
        return Volume(torch.from_numpy(image), Affine(affine), SourceRef(series, "ab" * 32), **changes)

    return make
