"""Pixel size from every attribute that may tell it, in the order of the standard, and said."""

from __future__ import annotations

import pytest
from moeclip_transforms import read_volume
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import DigitalXRayImageStorageForPresentation


def region(size: tuple[int, int] = (8, 6), units: int = 3, deltas: tuple[float, float] = (0.02, 0.04)) -> Dataset:
    made = Dataset()
    made.RegionSpatialFormat, made.RegionDataType, made.RegionFlags = 1, 1, 0
    made.RegionLocationMinX0 = made.RegionLocationMinY0 = 0
    made.RegionLocationMaxX1, made.RegionLocationMaxY1 = size[0] - 1, size[1] - 1
    made.PhysicalUnitsXDirection = made.PhysicalUnitsYDirection = units
    made.PhysicalDeltaX, made.PhysicalDeltaY = deltas
    return made


def spacing_of(tmp_path, make_slice, **attributes):
    dataset = make_slice(
        position=None, orientation=None, modality="DX", sop_class=DigitalXRayImageStorageForPresentation
    )
    del dataset.PixelSpacing
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "image")
    volume = read_volume(tmp_path / "image")
    return volume.affine.spacing[:2], volume.notes


@pytest.mark.parametrize(
    ("attributes", "spacing", "said"),
    [
        ({"PixelSpacing": [0.4, 0.2]}, (0.2, 0.4), ""),
        ({"ImagerPixelSpacing": [0.4, 0.2]}, (0.2, 0.4), "at the detector"),
        (
            {"ImagerPixelSpacing": [0.4, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.32),
            "magnification of 1.25",
        ),
        ({"NominalScannedPixelSpacing": [0.4, 0.2]}, (0.2, 0.4), "of the film"),
        ({"SequenceOfUltrasoundRegions": DicomSequence([region()])}, (0.2, 0.4), "Ultrasound Regions"),
        ({"PixelAspectRatio": [2, 1]}, (1.0, 2.0), "their size is unknown"),
        ({"PixelAspectRatio": [3, 4]}, (4 / 3, 1.0), "their size is unknown"),
        ({"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [0.5, 0.5], "PixelAspectRatio": [1, 3]}, (0.2, 0.4), ""),
        ({"ImagerPixelSpacing": [0.4, 0.2], "PixelAspectRatio": [1, 3]}, (0.2, 0.4), "at the detector"),
        ({"PixelSpacing": [0, 0], "NominalScannedPixelSpacing": [0.4, 0.2]}, (0.2, 0.4), "of the film"),
        ({"PixelAspectRatio": [1, 1]}, (1.0, 1.0), ""),
        ({}, (1.0, 1.0), ""),
    ],
)
def test_the_first_attribute_that_tells_counts(tmp_path, make_slice, attributes, spacing, said):
    found, notes = spacing_of(tmp_path, make_slice, **attributes)
    assert found == pytest.approx(spacing)
    assert any(said in note for note in notes) if said else notes == ()


def test_the_largest_two_dimensional_region_in_centimetres_counts(tmp_path, make_slice):
    small = region(size=(3, 3), deltas=(0.5, 0.5))
    doppler = region(size=(60, 60), units=4)
    regions = DicomSequence([small, doppler, region()])
    found, _ = spacing_of(tmp_path, make_slice, SequenceOfUltrasoundRegions=regions)
    assert found == pytest.approx((0.2, 0.4))


def test_a_line_raster_of_oct_is_read_and_its_shape_said(write_series):
    volume = read_volume(write_series([0.25 * z for z in range(5)], modality="OPT", PixelSpacing=[0.00195, 0.0117]))
    assert volume.shape == (8, 6, 5)
    assert any("128 times as long" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("changes", "is_known"),
    [
        ({}, True),
        ({"SliceThickness": None}, False),
        ({"PixelSpacing": None}, False),
        ({"PixelSpacing": None, "PixelAspectRatio": [2, 1]}, False),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.4, 0.2]}, True),
        ({"Modality": "US"}, False),
    ],
)
def test_a_voxel_has_a_size_where_the_header_tells_all_three_sides(tmp_path, make_slice, changes, is_known):
    dataset = make_slice(position=None, orientation=None)
    dataset.NumberOfFrames, dataset.PixelData = 2, 2 * dataset.PixelData
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "image")
    volume = read_volume(tmp_path / "image")
    assert (volume.has_orientation, volume.has_spacing) == (False, is_known)


def test_the_shape_of_a_pixel_places_nothing_in_space(write_series):
    volume = read_volume(write_series([0, 2, 4], PixelSpacing=None, PixelAspectRatio=[2, 1]))
    assert not volume.has_orientation
    assert not volume.has_spacing
    assert volume.affine.spacing == pytest.approx((1.0, 2.0, 2.0))
    assert any("cannot be placed in space" in note for note in volume.notes)
