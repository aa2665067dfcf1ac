import warnings

import numpy as np
import pytest
import torch
from moeclip_transforms import ImageType, Plane, dictionary, fit_window, foreground_box, read_volume, slice_views
from moeclip_transforms.array import CropForegroundSquare, SliceAlongPlane, WindowIntensity
from moeclip_transforms.dictionary import CropForegroundSquared, SliceAlongPlaned, WindowIntensityd
from moeclip_transforms.monai_reader import SeriesReader
from moeclip_transforms.presets import preset
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImage, LoadImaged
from PIL import Image


@pytest.fixture
def head(write_series):
    """A CT head: air, a skull of 700 HU, brain of 40 HU, longer than wide."""

    def change(index, dataset):
        pixels = np.full((60, 40), -1000, dtype=np.int16)
        if 0 < index < 7:
            pixels[10:40, 10:30] = 700
            pixels[12:38, 12:28] = 40
        dataset.Rows, dataset.Columns, dataset.PixelData = 60, 40, pixels.tobytes()
        dataset.PixelSpacing = [1, 1]

    return write_series([3.0 * k for k in range(8)], change=change, BodyPartExamined="HEAD")


def test_load_image_reads_a_dicom_folder(head):
    image = LoadImage(reader=SeriesReader(), ensure_channel_first=True)(head)
    volume = read_volume(head)
    assert isinstance(image, MetaTensor)
    assert image.shape == (1, 40, 60, 8)
    assert torch.equal(image.as_tensor(), volume.tensor)
    np.testing.assert_array_equal(image.affine.numpy(), volume.affine.matrix)
    assert (image.meta["image_type"], image.meta["slice_axis"], image.meta["is_regular"]) == ("ct-brain", 2, True)


def test_load_imaged_reads_photographs_with_channels_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = LoadImaged("image", reader=SeriesReader(), ensure_channel_first=True)({"image": tmp_path / "a.png"})
    assert data["image"].shape == (3, 7, 5, 1)


def test_several_files_become_channels(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((5, 7), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match="Every voxel has the same value"):
        image = LoadImage(reader=SeriesReader(), ensure_channel_first=True)([tmp_path / "a.png", tmp_path / "b.png"])
    assert image[:, 0, 0, 0].tolist() == [97, 98]


def test_notes_become_warnings(write_series):
    folder = write_series([0, 2, 4, 8])
    with pytest.warns(UserWarning, match="1 slice is missing"):
        image = LoadImage(reader=SeriesReader())(folder)
    assert image.meta["is_regular"] is False
    assert image.meta["notes"].startswith("1 slice is missing")


def test_preset_shares_the_arithmetic_of_scoring(head):
    volume = read_volume(head)
    (view,) = slice_views(volume)
    window = fit_window(volume, volume.series.image_type)
    box = foreground_box(volume, view, window)
    image = preset()({"image": head})["image"]
    assert image.shape == (1, 8, box.row_stop - box.row_start, box.column_stop - box.column_start)
    assert image.shape[2] == image.shape[3] == 30
    whole = window.apply(view.take(volume.tensor, range(8)))[:, 0]
    expected = whole[:, box.row_start : box.row_stop, box.column_start : box.column_stop]
    assert torch.equal(image.as_tensor()[0], expected)
    assert set(image.unique().tolist()) == {0, 0.5, 1}


def test_affine_follows_every_pixel(head):
    volume = read_volume(head)
    image = preset()({"image": head})["image"]
    brightest = np.argwhere(image.as_tensor()[0].numpy() == 1)
    world = brightest @ image.affine.numpy()[:3, :3].T + image.affine.numpy()[:3, 3]
    voxels = np.round((world - volume.affine.matrix[:3, 3]) @ np.linalg.inv(volume.affine.matrix[:3, :3]).T).astype(int)
    assert (volume.tensor[0].numpy()[tuple(voxels.T)] == 700).all()


@pytest.mark.parametrize("plane", list(Plane)[:4])
def test_preset_is_undone_onto_the_volumes_own_grid(head, plane):
    transforms = preset(plane=plane)
    data = transforms({"image": head})
    back = transforms.inverse(data)["image"]
    volume = read_volume(head)
    assert back.shape == volume.tensor.shape
    np.testing.assert_allclose(back.affine.numpy(), volume.affine.matrix, atol=1e-12)
    assert torch.equal(back.as_tensor(), fit_window(volume, ImageType.CT_BRAIN).apply(volume.tensor))


def test_slicing_alone_is_exactly_invertible():
    image = MetaTensor(torch.randn(2, 4, 5, 6), affine=torch.diag(torch.tensor([-1.0, 2, 3, 1])).double())
    for plane in ("axial", "coronal", "sagittal"):
        transform = SliceAlongPlane(plane)
        back = transform.inverse(transform(image))
        assert torch.equal(back.as_tensor(), image.as_tensor())
        assert torch.equal(back.affine, image.affine)
        assert back.applied_operations == []


def test_crop_may_reach_outside_and_fills_with_black():
    values = torch.full((1, 2, 10, 40), 5.0)
    values[:, :, :, 3:33] = 100
    image = MetaTensor(values, affine=torch.eye(4).double(), meta={"image_type": "ct-soft-tissue"})
    cropped = CropForegroundSquare(ImageType.MR)(image)
    assert cropped.shape[2] == cropped.shape[3]
    windowed = WindowIntensity(ImageType.MR)(cropped)
    assert float(windowed[0, 0, 0].max()) == 0
    assert float(windowed.max()) == 1


@pytest.mark.parametrize("transform", [SliceAlongPlaned, CropForegroundSquared, WindowIntensityd])
def test_missing_keys_follow_monais_convention(transform):
    image = MetaTensor(torch.rand(1, 4, 4, 4), affine=torch.eye(4).double())
    with pytest.raises(KeyError, match="label"):
        transform(["image", "label"])({"image": image})
    out = transform(["image", "label"], allow_missing_keys=True)({"image": image, "other": 3})
    assert set(out) == {"image", "other"}
    assert isinstance(out["image"], MetaTensor)


def test_monai_aliases():
    for name in ("SliceAlongPlane", "CropForegroundSquare", "WindowIntensity"):
        main = getattr(dictionary, f"{name}d")
        assert getattr(dictionary, f"{name}D") is getattr(dictionary, f"{name}Dict") is main


def test_transforms_take_part_in_a_compose():
    image = MetaTensor(torch.rand(1, 6, 6, 6), affine=torch.eye(4).double())
    pipeline = Compose([SliceAlongPlaned("image"), CropForegroundSquared("image"), WindowIntensityd("image")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = pipeline({"image": image})
        back = pipeline.inverse(data)["image"]
    assert back.shape == image.shape
    assert torch.equal(back.affine, image.affine)


@pytest.mark.parametrize("transform", [SliceAlongPlane(), WindowIntensity(), CropForegroundSquare()])
@pytest.mark.parametrize("image", [torch.zeros(1, 4, 4, 4), np.zeros((1, 4, 4, 4), dtype=np.float32)])
def test_an_image_without_metadata_is_told_how_to_get_some(transform, image):
    with pytest.raises(TypeError, match=r"MetaTensor.*LoadImage"):
        transform(image)
