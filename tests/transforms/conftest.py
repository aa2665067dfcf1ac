"""DICOM files made on the spot, so that every header can be wrong in the way a test wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from uids import next_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def make_slice(
    *,
    position: Sequence[float] | None = (0.0, 0.0, 0.0),
    orientation: Sequence[float] | None = AXIAL,
    pixels: np.ndarray | None = None,
    series_uid: str = "1.2.3",
    number: int = 1,
    modality: str = "CT",
    sop_class: str = CTImageStorage,
    **attributes: Any,
) -> FileDataset:
    """One single-frame image of 8 columns and 6 rows, unless told otherwise."""
    stored = np.arange(48, dtype=np.int16).reshape(6, 8) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = attributes.pop("SOPInstanceUID", None) or next_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series_uid, "1.2"
    dataset.Modality, dataset.InstanceNumber = modality, number
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "secret-4711"
    if position is not None:
        dataset.ImagePositionPatient = [float(value) for value in position]
    if orientation is not None:
        dataset.ImageOrientationPatient = [float(value) for value in orientation]
    dataset.PixelSpacing = [0.5, 0.25]
    dataset.SliceThickness = 2.0
    set_pixels(dataset, stored)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


@pytest.fixture(name="make_slice")
def make_slice_fixture() -> Callable[..., FileDataset]:
    return make_slice


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """Write slices at the given positions along z; `change` may alter each before it is written."""

    def write(
        positions: Sequence[float | Sequence[float]],
        *,
        change: Callable[[int, FileDataset], None] | None = None,
        folder: str = "series",
        **attributes: Any,
    ) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        # Names and instance numbers run against the positions: neither may decide the order.
        for index, place in enumerate(positions):
            position = (0.0, 0.0, float(place)) if np.isscalar(place) else tuple(place)
            pixels = np.full((6, 8), 100 * (index % 300), dtype=np.int16)
            pixels[0, 0] = index
            settings = {"pixels": pixels, "number": len(positions) - index, **attributes}
            dataset = make_slice(position=position, **settings)
            if change:
                change(index, dataset)
            dataset.save_as(target / f"{len(positions) - index:04d}{attributes.get('series_uid', '')}")
        return target

    return write


@pytest.fixture(scope="session")
def shared_dicom() -> Path:
    """The folder with real series, where the machine has one."""
    place = os.environ.get("MOECLIP_SHARED")
    if not place or not Path(place, "data", "dicom").is_dir():
        pytest.skip("MOECLIP_SHARED does not name a folder with data/dicom")
    return Path(place, "data", "dicom")
