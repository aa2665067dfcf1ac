import numpy as np
import PIL.Image
import pytest
import SimpleITK
import tifffile
from moeclip_transforms import ImageType, InputError, isolation, open_source, read_volume
from PIL import Image
from sentences import facts

RANDOM = np.random.default_rng(5)


def message_of(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp"])
@pytest.mark.parametrize("colour", [False, True])
def test_lossless_images_come_as_stored(tmp_path, suffix, colour):
    pixels = RANDOM.integers(0, 256, size=(5, 7, 3) if colour else (5, 7), dtype=np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    volume = read_volume(path)
    assert volume.series.shape == (7, 5, 1, 1)
    shown = volume.tensor[..., 0].numpy()
    np.testing.assert_array_equal(shown.transpose(2, 1, 0).squeeze(), pixels)
    assert (volume.series.image_type, volume.has_orientation) == (ImageType.PLAIN, False)
    assert volume.display_range == (0.0, 255.0)


def test_jpeg_is_known_by_its_content(tmp_path):
    Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "no suffix")
    assert float(read_volume(tmp_path / "no suffix").tensor.mean()) == pytest.approx(128, abs=2)


def test_sixteen_bit_png_keeps_its_values(tmp_path):
    pixels = RANDOM.integers(0, 65536, size=(5, 7), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.tensor[0, :, :, 0].numpy().T, pixels)
    assert volume.display_range is None


def test_pages_of_a_tiff_are_a_stack(tmp_path):
    pages = [Image.fromarray(np.full((5, 7), 10 * page, np.uint8)) for page in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read_volume(tmp_path / "a.tif")
    assert volume.shape == (7, 5, 4)
    assert volume.tensor[0, 3, 2].tolist() == [0, 10, 20, 30]


def test_pages_of_different_size_are_refused(tmp_path):
    pages = [Image.fromarray(np.zeros(size, np.uint8)) for size in [(5, 7), (6, 7)]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert facts(message_of(tmp_path / "a.tif")) == facts(
        'Page 2 of "a.tif" has 7×6 pixels, the first 7×5; expected pages of one size: save them as single files.'
    )


def test_a_thumbnail_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.arange(35, dtype=np.uint16).reshape(5, 7))
        file.write(np.zeros((2, 3), np.uint16), subfiletype=1)
    assert read_volume(tmp_path / "a.tif").array[0, :, :, 0].T.ravel().tolist() == list(range(35))


def test_images_in_a_folder_are_series_of_their_own(tmp_path):
    for name in ("b", "a"):
        Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / f"{name}.png")
    with open_source(tmp_path) as source:
        assert len({series.uid for series in source.series}) == 2


def test_transparency_is_laid_on_black(tmp_path):
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[0, 0, 3], pixels[1, 1, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_volume(tmp_path / "a.png").tensor
    assert image[:, 0, 0, 0].tolist() == [0, 0, 0]
    assert image[:, 1, 1, 0].tolist() == [200, 200, 200]


def test_palette_image_is_colour(tmp_path):
    Image.fromarray(RANDOM.integers(0, 256, (6, 6, 3), np.uint8)).quantize(8).save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").series.channels == 3


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_image(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RANDOM.integers(0, 256, (200, 200, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f'"a.{suffix}"' in message_of(path)


def test_not_an_image_in_spite_of_its_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello" * 100)
    assert facts(message_of(tmp_path / "a.png")) == facts(
        '"a.png" is not a readable image; expected PNG, JPEG, TIFF or BMP.'
    )


def test_decompression_bomb(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(isolation, "_is_expendable", True)  # the limit holds in this process alone
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    assert facts(message_of(tmp_path / "a.png")) == facts(
        '"a.png" declares more than 1000 pixels; cut it into smaller images.'
    )


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
def test_itk_files_agree_with_simpleitk(tmp_path, suffix):
    pixels = RANDOM.normal(size=(4, 5, 6)).astype(np.float32)
    image = SimpleITK.GetImageFromArray(pixels)
    image.SetSpacing((0.5, 0.75, 3))
    image.SetOrigin((-10, 20, 30))
    angle = 0.2
    image.SetDirection((1, 0, 0, 0, np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle)))
    path = tmp_path / f"a.{suffix}"
    SimpleITK.WriteImage(image, str(path))
    volume = read_volume(path)
    assert volume.series.shape == (6, 5, 4, 1)
    np.testing.assert_array_equal(volume.tensor[0].numpy().transpose(2, 1, 0), pixels)
    index = (5, 3, 2)
    expected = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
    np.testing.assert_allclose(volume.affine.to_world(index), expected, atol=1e-4)
    assert volume.slice_axis == 2


def test_itk_colour_and_time(tmp_path):
    pixels = RANDOM.integers(0, 255, size=(2, 3, 4, 3), dtype=np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=True), str(tmp_path / "colour.nrrd"))
    colour = read_volume(tmp_path / "colour.nrrd")
    np.testing.assert_array_equal(colour.tensor.numpy().transpose(3, 2, 1, 0), pixels)
    stack = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(np.full((2, 3, 4), t, np.int16)) for t in (5, 6)])
    SimpleITK.WriteImage(stack, str(tmp_path / "time.nrrd"))
    later = read_volume(tmp_path / "time.nrrd", time_point=1)
    assert later.series.shape == (4, 3, 2, 2)
    assert float(later.tensor.min()) == 6


def test_itk_header_without_data(tmp_path):
    SimpleITK.WriteImage(SimpleITK.Image(2, 2, 2, SimpleITK.sitkUInt8), str(tmp_path / "a.mhd"))
    (tmp_path / "a.raw").unlink()
    assert facts(message_of(tmp_path / "a.mhd")) == facts(
        '"a.mhd" is only a header: its voxels belong in "a.raw" beside it, which is missing; bring it.'
    )
