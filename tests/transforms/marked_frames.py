"""Frames whose pixel [0, 0] says which slice of which time they are, as 10 z + t."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from moeclip_transforms import open_source
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedMRImageStorage


def item(**values: Any) -> DicomSequence:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return DicomSequence([made])


def marked(z: int, t: int) -> np.ndarray:
    pixels = np.full((6, 8), 7, dtype=np.int16)
    pixels[0, 0] = 10 * z + t
    return pixels


def marks(volume) -> list[int]:
    return volume.array[0, 0, 0].astype(int).tolist()


def all_marks(path) -> list[list[int]]:
    """The marks of every time point of the only series."""
    with open_source(path) as source:
        (series,) = source.series
        return [marks(source.read(series, time_point=t)) for t in range(series.shape[3])]


def expected(n_slices: int, times) -> list[list[int]]:
    return [[10 * z + t for z in range(n_slices)] for t in times]


CELLS = list(product(range(4), range(3)))


TIME_BY_TIME = sorted(CELLS, key=lambda cell: cell[1])


def enhanced(make_slice, cells, change=lambda group, z, t: None, gap=3.0, **attributes):
    """One multi-frame file of (slice, time) frames; `change` may add to the functional groups of each."""
    settings = {"modality": "MR", "sop_class": EnhancedMRImageStorage, **attributes}
    dataset = make_slice(position=None, orientation=None, **settings)
    del dataset.PixelSpacing
    dataset.NumberOfFrames = len(cells)
    dataset.PixelData = np.stack([marked(z, t) for z, t in cells]).tobytes()
    dataset.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.25], SliceThickness=3),
    )
    groups = []
    for z, t in cells:
        group = item(PlanePositionSequence=item(ImagePositionPatient=[0, 0, gap * z]))[0]
        change(group, z, t)
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    return dataset


JUMBLED = [CELLS[k] for k in np.random.default_rng(1).permutation(len(CELLS))]
