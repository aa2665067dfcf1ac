import gzip
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from moeclip_transforms import open_source, read_volume
from PIL import Image

RANDOM = np.random.default_rng(6)
IMAGE = RANDOM.integers(0, 900, (20, 22, 8)).astype(np.int16)
LABELS = (IMAGE // 300).astype(np.uint8)
GRID = np.diag([1.5, 1.5, 5.0, 1.0])


def save(path, values, affine=GRID):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def chosen(folder):
    """Names of the series that are scored, and the reasons of those that are not."""
    with open_source(folder) as source:
        return (
            [series.files[0].name for series in source.series if not series.skip_reason],
            {series.files[0].name: series.skip_reason for series in source.series if series.skip_reason},
        )


@pytest.mark.parametrize(
    "name", ["T1_seg.nii.gz", "brain_mask.nii", "T1-label.nii", "s01_brainmask.nii.gz", "case.GT.nii", "labels.nii.gz"]
)
def test_volumes_named_as_label_maps(tmp_path, name):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / name, LABELS)
    scored, reasons = chosen(tmp_path)
    assert scored == ["T1.nii.gz"]
    assert "label map" in reasons[name]


@pytest.mark.parametrize("name", ["tumor.nii.gz", "aparc+aseg.nii", "s01_manual.nii.gz", "atlas.nii"])
def test_volumes_named_as_what_is_drawn(tmp_path, name):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / name, LABELS)
    assert chosen(tmp_path)[0] == ["T1.nii.gz"]


def test_a_parcellation_of_hundreds_of_labels(tmp_path):
    parcels = np.kron(np.arange(1, 201).reshape(20, 10), np.ones((4, 4)))[..., None] * np.ones(6)
    save(tmp_path / "T1.nii.gz", RANDOM.integers(0, 900, parcels.shape).astype(np.int16))
    save(tmp_path / "parcels.nii.gz", parcels.astype(np.int16))
    assert chosen(tmp_path)[0] == ["T1.nii.gz"]


def test_an_image_of_bytes_is_no_parcellation(tmp_path):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / "T1_mask_applied_seg.nii.gz", (IMAGE // 4).astype(np.uint8))
    assert len(chosen(tmp_path)[0]) == 2


@pytest.mark.parametrize("values", [RANDOM.random((20, 22, 8)), RANDOM.random((20, 22, 8)) * 1e-3])
def test_probabilities_are_no_labels(tmp_path, values):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / "T1_seg.nii.gz", values.astype(np.float32))
    assert len(chosen(tmp_path)[0]) == 2


def test_few_whole_numbers_on_the_grid_of_an_image_beside(tmp_path):
    save(tmp_path / "a.nii.gz", IMAGE)
    save(tmp_path / "b.nii.gz", LABELS.astype(np.float32))
    scored, reasons = chosen(tmp_path)
    assert scored == ["a.nii.gz"]
    assert '"a.nii.gz"' in reasons["b.nii.gz"]


def test_few_whole_numbers_on_another_grid_are_an_image(tmp_path):
    save(tmp_path / "a.nii.gz", IMAGE)
    save(tmp_path / "b.nii.gz", LABELS, np.diag([1.5, 1.5, 6.0, 1.0]))
    assert set(chosen(tmp_path)[0]) == {"a.nii.gz", "b.nii.gz"}


@pytest.mark.parametrize("name", ["T1_masked_brain.nii.gz", "segmented.nii.gz", "lesions_flair.nii.gz"])
def test_an_image_is_one_whatever_its_name(tmp_path, name):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / name, IMAGE // 2)
    assert set(chosen(tmp_path)[0]) == {"T1.nii.gz", name}


def test_labels_in_a_folder_of_their_own(tmp_path):
    save(tmp_path / "imagesTr" / "A_0000.nii.gz", IMAGE)
    save(tmp_path / "labelsTr" / "A.nii.gz", LABELS)
    assert chosen(tmp_path)[0] == ["A_0000.nii.gz"]


def test_masks_of_pictures(tmp_path):
    for number in range(2):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 255, (9, 9, 3), np.uint8)).save(tmp_path / "images" / f"{number}.jpg")
        Image.fromarray((RANDOM.random((9, 9)) > 0.5).astype(np.uint8) * 255).save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray(RANDOM.integers(0, 255, (9, 9, 3), np.uint8)).save(tmp_path / f"p{number}.png")
        ringing = np.kron(RANDOM.random((9, 9)) > 0.5, np.full((16, 16), 255)).astype(np.uint8)
        Image.fromarray(ringing).save(tmp_path / f"p{number}_mask.jpg", quality=75)
    scored, reasons = chosen(tmp_path)
    assert sorted(scored) == ["0.jpg", "1.jpg", "p0.png", "p1.png"]
    assert '"p0.png"' in reasons["p0_mask.jpg"]


def test_a_picture_that_is_plainly_one_is_no_mask_by_its_name(tmp_path):
    ramp = np.add.outer(np.arange(60), np.arange(60)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "face.png")
    Image.fromarray(np.dstack([ramp, 2 * ramp, 119 - ramp])).save(tmp_path / "face-mask.jpg")
    assert len(chosen(tmp_path)[0]) == 2


PROBABILITY = (RANDOM.random((20, 22, 8)) ** 3).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    ["T1_prob.nii.gz", "T1_label-GM_probseg.nii", "T1_softmax.nii", "T1_pve_1.nii.gz", "prediction.nii", "heatmap.nii"],
)
def test_probabilities_beside_their_image_are_set_aside(tmp_path, name):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / name, PROBABILITY)
    scored, reasons = chosen(tmp_path)
    assert scored == ["T1.nii.gz"]
    assert "probabilities" in reasons[name]
    assert '"T1.nii.gz"' in reasons[name]


@pytest.mark.parametrize(
    ("name", "values", "grid"),
    [
        ("T1_pred.nii.gz", IMAGE, GRID),
        ("T1_norm.nii.gz", PROBABILITY, GRID),
        ("T1_prob.nii.gz", PROBABILITY, np.diag([1.5, 1.5, 6.0, 1.0])),
        ("probe.nii.gz", PROBABILITY, GRID),
    ],
    ids=["values", "name", "grid", "word"],
)
def test_other_images_beside_are_no_probabilities(tmp_path, name, values, grid):
    save(tmp_path / "T1.nii.gz", IMAGE)
    save(tmp_path / name, values, grid)
    assert set(chosen(tmp_path)[0]) == {"T1.nii.gz", name}


def test_heat_maps_of_pictures(tmp_path):
    for name in ("p.png", "p_heatmap.png", "q_heatmap.png"):
        Image.fromarray(RANDOM.integers(0, 255, (9, 9), np.uint8)).save(tmp_path / name)
    scored, reasons = chosen(tmp_path)
    assert scored == ["p.png", "q_heatmap.png"]
    assert '"p.png"' in reasons["p_heatmap.png"]


def test_a_label_map_given_alone_is_read_with_a_note(tmp_path):
    save(tmp_path / "labels.nii.gz", LABELS)
    volume = read_volume(tmp_path / "labels.nii.gz")
    assert any("label map" in note for note in volume.notes)
    save(tmp_path / "image.nii.gz", IMAGE)
    assert read_volume(tmp_path / "image.nii.gz").notes == ()


def test_lengths_that_no_body_has_are_told(tmp_path):
    for name, spacing in (("mouse", 0.1), ("human", 2.0), ("metres", 0.002), ("microns", 100.0)):
        save(tmp_path / f"{name}.nii", RANDOM.normal(size=(96, 96, 4)).astype(np.float32), np.diag([spacing] * 3 + [1]))
        told = any("no human body part" in note for note in read_volume(tmp_path / f"{name}.nii").notes)
        assert told == (name != "human")


def damaged_deflate(folder):
    """A compressed volume whose stream is damaged behind its header, which gzip tells by an error of zlib."""
    save(folder / "a.nii", LABELS)
    packer = zlib.compressobj(wbits=31)
    start = packer.compress((folder / "a.nii").read_bytes()[:2000]) + packer.flush(zlib.Z_FULL_FLUSH)
    (folder / "a.nii").unlink()
    (folder / "a.nii.gz").write_bytes(start + b"\xff" * 50)


def far_voxels(folder):
    """A volume whose voxels are said to start beyond what any memory holds."""
    save(folder / "a.nii", IMAGE)
    content = bytearray((folder / "a.nii").read_bytes())
    content[108:112] = np.float32(9e11).tobytes()
    (folder / "a.nii").write_bytes(content)


def much_from_little(folder):
    """Some bytes that unpack to a hundred megabytes, which as numbers are many more."""
    head = "NRRD0005\ntype: uchar\ndimension: 3\nsizes: 1024 1024 100\nencoding: gzip\n\n"
    (folder / "a.nrrd").write_bytes(head.encode() + gzip.compress(bytes(100 << 20)))


@pytest.mark.parametrize("make", [damaged_deflate, far_voxels, much_from_little])
def test_a_volume_that_cannot_be_looked_at_costs_itself_alone(tmp_path, make):
    save(tmp_path / "good.nii.gz", IMAGE)
    make(tmp_path)
    tracemalloc.start()
    try:
        assert "good.nii.gz" in chosen(tmp_path)[0]
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["labels.nrrd", "labels.mha"])
def test_compressed_labels_of_other_formats(tmp_path, name):
    save(tmp_path / "T1.nii.gz", IMAGE)
    image = SimpleITK.GetImageFromArray(LABELS.transpose(2, 1, 0).astype(np.uint16))
    SimpleITK.WriteImage(image, tmp_path / name, useCompression=True)
    assert "label map" in chosen(tmp_path)[1][name]
