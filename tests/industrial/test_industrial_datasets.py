"""Industrial data sets in their published layouts, made small by the test."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from PIL import Image

from moeclip_med.industrial.crops import CropSource, cut_by_ellipse, photometric, random_square
from moeclip_med.industrial.datasets import IndustrialImage, LayoutName, find_images, images_hash, split_categories
from moeclip_med.industrial.mix import Mix, MixShares, SampleKind


def put(path, value=100, size=(40, 30), defect=None, colour=False):
    """An image of one grey with noise; with `defect`, a mask with that box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32(path.name.encode()))
    shape = (size[1], size[0], 3) if colour else (size[1], size[0])
    pixels = np.full(shape, value) + rng.integers(-20, 20, shape)
    if defect is not None:
        pixels = np.zeros((size[1], size[0]))
        rows, columns = defect
        pixels[rows, columns] = 255
    Image.fromarray(pixels.astype(np.uint8)).save(path)


BOX = (slice(5, 12), slice(8, 20))


def summary(images):
    return {(image.category, image.path.stem, image.is_normal, image.is_test) for image in images}


def test_masks_beside_images(tmp_path):
    put(tmp_path / "tile" / "crack" / "a.jpg")
    put(tmp_path / "tile" / "crack" / "a_mask.png", defect=BOX)
    put(tmp_path / "tile" / "free" / "b.png", colour=True)
    put(tmp_path / "board" / "c_normal.jpg")
    (tmp_path / "board" / "notes.txt").write_text("no image")
    images = find_images(tmp_path, LayoutName.INDUSTRIAL)
    assert summary(images) == {
        ("tile", "a", False, False),
        ("tile", "b", True, False),
        ("board", "c_normal", True, False),
    }
    defective = next(image for image in images if not image.is_normal)
    assert defective.read().shape == (30, 40)
    assert defective.read_mask().sum() == 7 * 12
    normal = next(image for image in images if image.path.stem == "b")
    assert normal.read().shape == (30, 40, 3)
    assert not normal.read_mask().any()


def test_visa(tmp_path):
    put(tmp_path / "candle" / "Data" / "Images" / "Normal" / "000.JPG")
    put(tmp_path / "candle" / "Data" / "Images" / "Anomaly" / "001.JPG")
    put(tmp_path / "candle" / "Data" / "Masks" / "Anomaly" / "001.png", defect=BOX)
    split = tmp_path / "split_csv" / "1cls.csv"
    split.parent.mkdir()
    split.write_text(
        "object,split,label,image,mask\n"
        "candle,train,normal,candle/Data/Images/Normal/000.JPG,\n"
        "candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,candle/Data/Masks/Anomaly/001.png\n"
    )
    assert summary(find_images(tmp_path, LayoutName.VISA)) == {
        ("candle", "000", True, False),
        ("candle", "001", False, True),
    }
    split.unlink()
    with pytest.raises(InputError, match=r"1cls\.csv is missing"):
        find_images(tmp_path, LayoutName.VISA)


@pytest.mark.parametrize(
    ("layout", "good", "mask"),
    [
        (LayoutName.MVTEC, "good", "000_mask.png"),
        (LayoutName.BTAD, "ok", "000.bmp"),
        (LayoutName.DTD_SYNTHETIC, "good", "000_mask.png"),
        (LayoutName.RSDD, "good", "000.png"),
    ],
)
def test_mvtec_and_its_kin(tmp_path, layout, good, mask):
    put(tmp_path / "wood" / "train" / good / "000.png")
    put(tmp_path / "wood" / "test" / good / "001.png")
    put(tmp_path / "wood" / "test" / "scratch" / "000.png")
    put(tmp_path / "wood" / "ground_truth" / "scratch" / mask, defect=BOX)
    images = find_images(tmp_path, layout)
    assert summary(images) == {
        ("wood", "000", True, False),
        ("wood", "001", True, True),
        ("wood", "000", False, True),
    }
    (tmp_path / "wood" / "ground_truth" / "scratch" / mask).unlink()
    with pytest.raises(InputError, match="has no mask"):
        find_images(tmp_path, layout)


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_images(tmp_path / "nowhere", LayoutName.MVTEC)
    with pytest.raises(InputError, match='holds no image in the layout "mvtec"'):
        find_images(tmp_path, LayoutName.MVTEC)


def test_split_and_hash(tmp_path):
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "2.png")
    images = find_images(tmp_path, LayoutName.INDUSTRIAL)
    trained, held = split_categories(images, ["b"])
    assert [image.category for image in trained] == ["a"]
    assert [image.category for image in held] == ["b"]
    with pytest.raises(InputError, match=r'"c" is not in the data; known are a, b'):
        split_categories(images, ["c"])
    first = images_hash(images)
    assert images_hash(reversed(images)) == first
    put(tmp_path / "b" / "2.png", value=50)
    assert images_hash(images) != first


def test_squares_lie_inside_and_mostly_hold_the_defect():
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 200), dtype=bool)
    mask[2, 190] = True
    hits = 0
    for _ in range(200):
        left, top, right, bottom = random_square(30, 200, mask, rng)
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 30
        assert right - left == bottom - top
        assert (right - left) ** 2 >= 0.33 * 30**2
        hits += mask[top:bottom, left:right].any()
    assert hits > 120


def test_crop_and_mask_move_together(tmp_path):
    pixels = np.zeros((50, 60), dtype=np.uint8)
    pixels[20:30, 15:35] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    Image.fromarray(pixels).save(tmp_path / "x_mask.png")
    source = CropSource([IndustrialImage(tmp_path / "x.png", tmp_path / "x_mask.png", "x")])
    rng = np.random.default_rng(1)
    for _ in range(30):
        crop, mask = source.any_crop(64, rng)
        agreement = ((crop[..., 0] > 0.5) == mask).mean()
        assert agreement > 0.95


def test_light_and_surround_keep_the_range():
    rng = np.random.default_rng(2)
    image = rng.random((48, 48, 3), dtype=np.float32)
    for _ in range(20):
        changed = photometric(image, rng)
        assert 0 <= changed.min() <= changed.max() <= 1
    cut, mask = cut_by_ellipse(image, np.ones((48, 48), dtype=bool), rng)
    assert (cut[~mask] == 0).all()
    assert (cut[mask] == image[mask]).all()


def small_set(root):
    for number in range(3):
        put(root / "good" / f"{number}.png", value=60 + 40 * number, size=(80, 70))
    put(root / "bad" / "d.png", size=(80, 70))
    put(root / "bad" / "d_mask.png", size=(80, 70), defect=BOX)
    return find_images(root, LayoutName.INDUSTRIAL)


def test_mix_is_a_function_of_seed_and_number(tmp_path):
    images = small_set(tmp_path)
    first, second = (Mix(images, size=64, seed=5) for _ in range(2))
    [second[number] for number in range(5)]  # drawing others in between changes nothing
    for number in (7, 0, 3):
        a, b = first[number], second[number]
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.mask, b.mask)
        assert a.kind == b.kind
    assert (Mix(images, size=64, seed=6)[0].image != first[0].image).any()


def test_mix_keeps_its_shares(tmp_path):
    mix = Mix(small_set(tmp_path), size=32, seed=0, shares=MixShares(0.2, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1))
    kinds = [mix[number].kind for number in range(300)]
    shares = [np.mean([kind == wanted for kind in kinds]) for wanted in SampleKind]
    np.testing.assert_allclose(shares, [0.2, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1], atol=0.08)


def test_mix_refuses_what_it_cannot_draw(tmp_path):
    images = small_set(tmp_path)
    with pytest.raises(InputError, match="no normal image"):
        Mix([image for image in images if not image.is_normal], size=32, seed=0)
    with pytest.raises(InputError, match="no defective image"):
        Mix(images, size=32, seed=0, normal_only=["bad"])
    with pytest.raises(InputError, match="sum to 1"):
        MixShares(0.5, 0.5, 0.5)
