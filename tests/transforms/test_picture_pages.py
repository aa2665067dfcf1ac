"""Every page of a picture is read, or it is said that it is not."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from moeclip_transforms import InputError, open_source, read_volume
from PIL import Image
from sentences import lacking

RANDOM = np.random.default_rng(11)
PAGES = RANDOM.integers(0, 256, (4, 40, 56)).astype(np.uint8)
COLOURS = RANDOM.integers(0, 256, (4, 40, 56, 3)).astype(np.uint8)


def written_one_by_one(path, pages, **options):
    """As tifffile's writer is used in a loop: each page becomes a series of its own."""
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            writer.write(page, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"contiguous": True}, {"metadata": None}, {"compression": "zlib"}])
def test_pages_that_were_written_one_by_one_are_a_stack(tmp_path, options):
    volume = read_volume(written_one_by_one(tmp_path / "a.tif", PAGES, **options))
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), PAGES)
    assert volume.notes == ()


def test_colour_pages_that_were_written_one_by_one_are_a_stack(tmp_path):
    volume = read_volume(written_one_by_one(tmp_path / "a.tif", COLOURS, photometric="rgb"))
    np.testing.assert_array_equal(volume.array.transpose(3, 2, 1, 0), COLOURS)


def test_pages_that_differ_in_compression_alone_are_a_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page, compression in zip(PAGES, [None, "lzw", "zlib", None], strict=True):
            writer.write(page, compression=compression, metadata=None)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0].transpose(2, 1, 0), PAGES)


@pytest.mark.parametrize("second", [COLOURS[0], PAGES[0].astype(np.uint16)], ids=["colours", "type"])
def test_pages_of_several_kinds_are_refused(tmp_path, second):
    first, other = Image.fromarray(PAGES[0]), Image.fromarray(second)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[other])
    with pytest.raises(InputError) as error:
        open_source(tmp_path / "a.tif")
    assert not lacking(str(error.value), "Page 2", "other values than the first", "single files")


def test_pages_that_are_turned_differently_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for orientation in (6, 1):
            writer.write(PAGES[0], metadata=None, extratags=[(274, 3, 1, orientation, True)])
    with pytest.raises(InputError, match="orientation"):
        open_source(tmp_path / "a.tif")


def test_further_images_of_an_ome_file_are_told(tmp_path):
    written_one_by_one(tmp_path / "a.ome.tif", [PAGES, PAGES[::-1]], metadata={"axes": "ZYX"})
    volume = read_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), PAGES)
    assert "more images than the one that is read (1)" in volume.notes[0]


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "MPO")])
def test_frames_of_an_animation_are_told(tmp_path, name, kind):
    frames = [Image.fromarray(page) for page in COLOURS]
    frames[0].save(tmp_path / name, format=kind, save_all=True, append_images=frames[1:])
    assert "more images than the one that is read (3)" in read_volume(tmp_path / name).notes[0]


@pytest.mark.parametrize(("second", "kind"), [(PAGES[0, ::4, ::4], 1), (PAGES[0] > 100, 4)], ids=["thumbnail", "mask"])
def test_a_thumbnail_or_a_mask_of_transparency_is_no_page(tmp_path, second, kind):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(PAGES[0], metadata=None)
        writer.write(second, subfiletype=kind, metadata=None)
    volume = read_volume(tmp_path / "a.tif")
    assert (volume.shape, volume.notes) == ((56, 40, 1), ())


def test_webp_inside_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS[0], photometric="rgb", compression="webp")
    stored = imagecodecs.webp_decode(imagecodecs.webp_encode(COLOURS[0], lossless=True))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[..., 0].transpose(2, 1, 0), stored)
