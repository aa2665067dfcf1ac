"""Truth as DICOM Segmentation, RT Structure Set, boxes, and on another grid."""

import json

import numpy as np
import pytest
from moeclip_transforms import Affine, Volume
from moeclip_transforms.errors import InputError
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from uids import next_uid

from moeclip_med.benchmark.case_views import read_paper_image
from moeclip_med.benchmark.datasets.boxes import box_mask, read_boxes
from moeclip_med.benchmark.datasets.case import BadCaseError, Case
from moeclip_med.benchmark.datasets.dicom_truth import is_dicom_truth, read_dicom_image, read_dicom_truth
from moeclip_med.benchmark.grids import onto_grid
from moeclip_med.benchmark.outcomes import ThresholdKind

AFFINE = np.array([[0.0, 0, 3, -20], [-1, 0, 0, 30], [0, 2, 0, 5], [0, 0, 0, 1]])


def test_same_grid_with_axes_in_another_order_is_exact():
    rng = np.random.default_rng(0)
    values = rng.random((5, 6, 7)).astype(np.float32)
    turned = AFFINE.copy()
    turned[:, 3] = AFFINE @ [4, 0, 6, 1]
    turned[:, [0, 1, 2]] = np.stack([-AFFINE[:, 2], AFFINE[:, 1], -AFFINE[:, 0]], axis=1)
    volume = Volume.from_array(np.zeros((7, 6, 5), np.float32), Affine(turned))
    placed, note = onto_grid(values, Affine(AFFINE), volume, nearest=False)
    np.testing.assert_array_equal(placed, values[::-1, :, ::-1].transpose(2, 1, 0))
    assert note == ""


def test_a_coarser_grid_is_resampled_and_said():
    coarse = np.zeros((8, 8, 8), np.float32)
    coarse[2:4, 2:4, 2:4] = 1
    volume = Volume.from_array(np.zeros((16, 16, 16), np.float32), np.diag([1.0, 1, 1, 1]))
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5
    placed, note = onto_grid(coarse, Affine(affine), volume, nearest=True)
    assert placed.sum() == 4**3
    assert placed[4:8, 4:8, 4:8].all()
    assert note == "resampled from voxels of 2.00 × 2.00 × 2.00 mm, nearest"


def test_a_grid_elsewhere_is_refused():
    volume = Volume.from_array(np.zeros((8, 8, 8), np.float32), np.eye(4))
    far = np.eye(4)
    far[0, 3] = 100
    with pytest.raises(InputError, match="covers 0% of the image"):
        onto_grid(np.ones((8, 8, 8)), Affine(far), volume, nearest=True)


def test_segments_of_a_segmentation_that_another_program_wrote():
    from pathlib import Path

    path = Path(get_testdata_file("liver.dcm"))
    assert is_dicom_truth(path)
    values, affine = read_dicom_image(path)
    stored = dcmread(path).pixel_array
    assert np.count_nonzero(values) == np.count_nonzero(stored)
    volume = Volume.from_array(np.zeros(values.shape, np.float32), affine)
    mask, note = read_dicom_truth(path, volume, ())
    np.testing.assert_array_equal(mask, values > 0)
    assert note == ""
    with pytest.raises(InputError, match="has no segment 7; it has 1"):
        read_dicom_truth(path, volume, (7,))


def structure_set(path, contours):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = next_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.ROIContourSequence = []
    for number, points in contours:
        item, contour = Dataset(), Dataset()
        item.ReferencedROINumber = number
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [f"{value:.4f}" for point in points for value in point]
        item.ContourSequence = [contour]
        dataset.ROIContourSequence.append(item)
    dataset.save_as(path, enforce_file_format=True)
    return path


def square(low, high, z):
    return [(-low, -low, z), (-high, -low, z), (-high, -high, z), (-low, -high, z)]  # LPS+, so x and y are negative


def test_contours_are_filled_on_their_slices(tmp_path):
    volume = Volume.from_array(np.zeros((20, 20, 6), np.float32), np.diag([1.0, 1, 2, 1]))
    path = structure_set(tmp_path / "rt.dcm", [(1, square(3.5, 8.5, 4.0)), (2, square(10.5, 12.5, 6.0))])
    assert is_dicom_truth(path)
    mask, note = read_dicom_truth(path, volume, ())
    expected = np.zeros(volume.shape, bool)
    expected[4:9, 4:9, 2] = expected[11:13, 11:13, 3] = True
    np.testing.assert_array_equal(mask, expected)
    assert note == ""
    only, _ = read_dicom_truth(path, volume, (2,))
    assert only.sum() == 4
    far = structure_set(tmp_path / "far.dcm", [(1, square(3.5, 8.5, 400.0))])
    with pytest.raises(InputError, match="1 lie beside"):
        read_dicom_truth(far, volume, ())


def test_series_pair_with_the_structure_set_drawn_on_them(tmp_path):
    from moeclip_med.benchmark.datasets.user_volumes import read_volumes

    series = dcmread(get_testdata_file("CT_small.dcm"))
    (tmp_path / "one" / "CT").mkdir(parents=True)
    series.save_as(tmp_path / "one" / "CT" / "1.dcm")
    path = structure_set(tmp_path / "one" / "rt.dcm", [(1, square(3.5, 8.5, 4.0))])
    drawn = dcmread(path)
    drawn.ReferencedFrameOfReferenceSequence = [Dataset()]
    study, referenced = Dataset(), Dataset()
    referenced.SeriesInstanceUID = series.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [referenced]
    drawn.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence = [study]
    drawn.save_as(path)
    (case,) = read_volumes("ct", tmp_path).cases
    assert (case.key, case.image, case.mask) == ("one/CT", tmp_path / "one" / "CT", path)


def ct_series(folder, lesion):
    """Six slices of 2.5 mm with a bright block."""
    folder.mkdir(parents=True)
    source, number = dcmread(get_testdata_file("CT_small.dcm")), next_uid()
    x, y, z = (float(value) for value in source.ImagePositionPatient)
    for index in range(6):
        pixels = np.full((128, 128), 900, np.int16)
        pixels[20:108, 20:108] = 1000
        pixels[lesion] = 1300 if 1 <= index < 5 else 1000
        source.PixelData = pixels.tobytes()
        source.SeriesInstanceUID, source.InstanceNumber = number, index + 1
        source.ImagePositionPatient = [x, y, z + 2.5 * index]
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = next_uid()
        source.save_as(folder / f"{index}.dcm")


def test_maps_as_dicom_parametric_map_give_the_programs_own_scores(make_detector, tmp_path):
    from moeclip_transforms import read_volume

    from moeclip_med.benchmark.datasets.user_volumes import read_volumes
    from moeclip_med.benchmark.maps import MapSource
    from moeclip_med.benchmark.run import BenchmarkSettings, run_benchmark
    from moeclip_med.results import write_results
    from moeclip_med.scoring import score_volume

    ct_series(tmp_path / "cases" / "one" / "CT", np.s_[40:60, 50:80])
    volume = read_volume(tmp_path / "cases" / "one" / "CT")
    written = write_results(score_volume(volume, make_detector().detector), tmp_path / "results", ["pm", "seg"]).files
    written["seg"].rename(tmp_path / "cases" / "one" / "truth.dcm")
    (tmp_path / "maps" / "one").mkdir(parents=True)
    written["pm"].rename(tmp_path / "maps" / "one" / "CT.dcm")
    dataset = read_volumes("ct", tmp_path / "cases")
    settings = BenchmarkSettings(tmp_path / "out", maps=(MapSource("theirs", tmp_path / "maps", 0.7),))
    one = run_benchmark([dataset], make_detector(), [], settings).sets[0]
    assert not one.problems
    own, theirs = (one.cases[system][ThresholdKind.STORED] for system in ("detector", "theirs"))
    assert own.spreads["dice"].mean.value == 1.0  # the truth is what was written
    assert theirs.lesions["lesion_sensitivity"].value == 1.0
    for kind, name in (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc")):
        assert one.metric("theirs", kind, name).value == pytest.approx(
            one.metric("detector", kind, name).value, abs=1e-4
        )


@pytest.fixture
def images(tmp_path, save):
    for name in ("a", "b", "c"):
        save(tmp_path / "images" / f"{name}.png", np.full((20, 30), 100))
    return tmp_path / "images"


def test_boxes_from_csv_and_coco_are_the_same(images, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text(
        "image,x,y,width,height,label\na.png,2,3,10,5,tumour\na.png,20,1,4,4,cyst\nb.png,,,,,\nz.png,1,1,1,1,tumour\n"
    )
    coco = tmp_path / "boxes.json"
    coco.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
                "categories": [{"id": 5, "name": "tumour"}, {"id": 6, "name": "cyst"}],
                "annotations": [
                    {"image_id": 1, "category_id": 5, "bbox": [2, 3, 10, 5]},
                    {"image_id": 1, "category_id": 6, "bbox": [20, 1, 4, 4]},
                ],
            }
        )
    )
    read = [read_boxes("set", images, file) for file in (table, coco)]
    assert [case.boxes for case in read[0].cases] == [case.boxes for case in read[1].cases]
    assert [len(case.boxes) for case in read[0].cases] == [2, 0, 0]
    assert [(one.fault.name, one.key) for one in read[0].problems] == [("IMAGE_MISSING", "z.png")]
    assert len(read_boxes("set", images, coco, ("tumour",)).cases[0].boxes) == 1
    mask = box_mask(read[0].cases[0].boxes, (30, 20, 1))
    assert mask.sum() == 10 * 5 + 4 * 4
    assert mask[2:12, 3:8].all()


def test_a_set_of_boxes_is_evaluated(images, tmp_path, make_detector):
    from moeclip_med.benchmark.outcomes import ThresholdKind
    from moeclip_med.benchmark.run import BenchmarkSettings, run_benchmark

    table = tmp_path / "boxes.csv"
    table.write_text("image,x_min,y_min,x_max,y_max\na.png,2,3,12,8\n")
    dataset = read_boxes("set", images, table)
    one = run_benchmark([dataset], make_detector(), [], BenchmarkSettings(tmp_path / "out")).sets[0]
    assert one.rows.abnormal_pixels.tolist() == [50, 0, 0]
    assert one.rows.outcomes("detector", ThresholdKind.STORED)["lesions"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("text", ["image,left\na,1\n", "image,x,y,width,height\na.png,one,2,3,4\n", ""])
def test_boxes_that_make_no_sense_are_refused(images, tmp_path, text):
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    with pytest.raises(InputError, match="expected columns"):
        read_boxes("set", images, table)


@pytest.mark.parametrize(("shift", "is_same"), [(0.2, True), (0.4, False)])
def test_rounding_of_a_grid_is_no_resampling(shift, is_same):
    values = np.random.default_rng(1).random((6, 6, 6)).astype(np.float32)
    moved = np.diag([2.0, 2, 2, 1])
    moved[0, 3] = 2.0 * shift
    volume = Volume.from_array(np.zeros((6, 6, 6), np.float32), np.diag([2.0, 2, 2, 1]))
    placed, note = onto_grid(values, Affine(moved), volume, nearest=False)
    assert (note == "") is is_same
    assert np.array_equal(placed, values) is is_same


@pytest.mark.parametrize("reader", ["image", "mask"])
def test_only_pictures_of_the_known_formats_are_opened(tmp_path, reader):
    from PIL import Image

    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path, format="GIF")
    mask = None if reader == "image" else path
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    image = path if reader == "image" else tmp_path / "b.png"
    with pytest.raises(BadCaseError):
        read_paper_image(Case("a.png", image, mask, None, "", "a.png"))
