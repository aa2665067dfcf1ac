"""Pictures keep all their bits, whatever wrote them, and are shown upright."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
from moeclip_transforms import ImageType, InputError, fit_window, isolation, open_source, read_volume
from moeclip_transforms.pictures import turn_upright
from PIL import Image, ImageOps
from sentences import lacking

RANDOM = np.random.default_rng(7)
DEEP = RANDOM.integers(0, 4096, (9, 11, 3)).astype(np.uint16)


def deep_png(path, pixels):
    """A PNG of 16 bits per value, written from the standard (ISO 15948), since Pillow writes none in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def shown(path):
    """(row, column, colour) as the network sees it, 0 to 1."""
    volume = read_volume(path)
    return fit_window(volume, ImageType.PLAIN).apply(volume.array)[..., 0].transpose(2, 1, 0)


def test_colour_png_of_sixteen_bits(tmp_path):
    deep_png(tmp_path / "a.png", DEEP)
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array[..., 0].transpose(2, 1, 0), DEEP)
    assert "12 of 16 bits" in volume.notes[0]
    np.testing.assert_allclose(shown(tmp_path / "a.png"), DEEP / 4095, atol=1e-6)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_colour_tiff_of_sixteen_bits(tmp_path, planar, compression):
    stored = DEEP if planar == "contig" else DEEP.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    np.testing.assert_allclose(shown(tmp_path / "a.tif"), DEEP / 4095, atol=1e-6)


def test_grey_with_opacity_of_sixteen_bits(tmp_path):
    deep_png(tmp_path / "a.png", np.dstack([DEEP[..., 0], np.full(DEEP.shape[:2], 65535, np.uint16)]))
    volume = read_volume(tmp_path / "a.png")
    assert volume.series.channels == 1
    np.testing.assert_array_equal(volume.array[0, ..., 0].T, DEEP[..., 0])


def test_opacity_of_sixteen_bits_is_laid_on_black(tmp_path):
    opacity = np.full((9, 11, 1), 65535, np.uint16)
    opacity[0] = 0
    deep_png(tmp_path / "a.png", np.concatenate([DEEP, opacity], axis=2))
    values = read_volume(tmp_path / "a.png").array[..., 0].transpose(2, 1, 0)
    assert not values[0].any()
    np.testing.assert_array_equal(values[1:], DEEP[1:])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_grey_tiff_keeps_its_values(tmp_path, dtype):
    pixels = RANDOM.integers(-100, 100, (6, 5)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0, :, :, 0].T, pixels.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_turned_round(tmp_path, dtype):
    pixels = RANDOM.integers(0, 255, (6, 5)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    expected = np.iinfo(dtype).max - pixels
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0, :, :, 0].T, expected)


def test_stack_of_imagej_in_one_directory(tmp_path):
    stack = RANDOM.integers(0, 999, (4, 6, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:  # ImageJ itself writes one directory for the whole stack
        place = tiff.pages.first.offset
        count = struct.unpack_from(f"{tiff.byteorder}H", content, place)[0]
        struct.pack_into(f"{tiff.byteorder}I", content, place + 2 + 12 * count, 0)
    (tmp_path / "a.tif").write_bytes(content)
    volume = read_volume(tmp_path / "a.tif")
    assert volume.shape == (5, 6, 4)
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), stack)


def test_channels_of_ome_are_points_of_their_own(tmp_path):
    stored = RANDOM.integers(0, 999, (2, 3, 6, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, ome=True, metadata={"axes": "CZYX"})
    with open_source(tmp_path / "a.ome.tif") as source:
        (series,) = source.series
        assert series.shape == (5, 6, 3, 2)
        volume = source.read(series, time_point=1)
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), stored[1])
    assert any("axes C" in note for note in volume.notes)


def test_palette_tiff_is_colour(tmp_path):
    Image.fromarray(RANDOM.integers(0, 256, (6, 6, 3), np.uint8)).quantize(8).save(tmp_path / "a.tif")
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB"))
    np.testing.assert_allclose(read_volume(tmp_path / "a.tif").array[..., 0].transpose(2, 1, 0), expected, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, orientation):
    pixels = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array[..., 0].transpose(2, 1, 0), expected)
    np.testing.assert_array_equal(turn_upright(pixels[..., 0], orientation), expected[..., 0])
    assert bool(volume.notes) == (orientation != 1)


def test_a_format_that_the_name_does_not_say_is_not_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(InputError, match=r'"a\.png" is not a readable image'):
        read_volume(tmp_path / "a.png")


def test_a_tiff_that_declares_more_than_it_holds(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tag = tiff.pages.first.tags[name]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", content, tag.valueoffset, 9000)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match=r'"a\.tif"'):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("following", ["beyond the end", "itself", "the first"])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_stack_whose_list_of_pages_is_cut_or_goes_round_is_refused(tmp_path, following, is_big):
    """Else the pages before the damage would pass for the whole stack."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 8, 8), np.uint8), bigtiff=is_big, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        pages, form = [page.offset for page in tiff.pages], tiff.tiff
        after = pages[1] + form.tagnosize + len(tiff.pages[1].tags) * form.tagsize
    content = bytearray(path.read_bytes())
    target = {"beyond the end": len(content), "itself": pages[1], "the first": pages[0]}[following]
    struct.pack_into(form.offsetformat, content, after, target)
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert not lacking(caught.value, '"a.tif"', "page", "damaged", "copy it again")


def test_a_tiff_that_names_another_file_opens_none(tmp_path, monkeypatch):
    """OME describes images of several files, by any path; what it names may be a pipe, or not ours."""
    opened = []
    monkeypatch.setattr(isolation, "_is_expendable", True)
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
    uuids = [f"urn:uuid:{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "12"]
    tifffile.imwrite(tmp_path / "secret.tif", np.full((16, 16), 77, np.uint8))
    parts = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for z, (uuid, name) in enumerate(zip(uuids, ["given/a.ome.tif", tmp_path / "secret.tif"], strict=True))
    )
    text = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuids[0]}"><Image ID="Image:0"><Pixels '
        'ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="16" SizeY="16" SizeC="1" SizeZ="2" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels></Image></OME>'
    )
    (tmp_path / "given").mkdir()
    tifffile.imwrite(tmp_path / "given" / "a.ome.tif", np.zeros((16, 16), np.uint8), description=text, metadata=None)
    opened.clear()
    with pytest.raises(InputError, match="page 2"):
        read_volume(tmp_path / "given" / "a.ome.tif")
    assert any(name.endswith("a.ome.tif") for name in opened)
    assert not any(name.endswith("secret.tif") for name in opened)
