"""One pass over a set with a detector whose maps are known: figures, resuming, bad input, volumes."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from PIL import Image
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from moeclip_med.benchmark.datasets.folder import read_folder
from moeclip_med.benchmark.datasets.locating import read_set
from moeclip_med.benchmark.datasets.user_volumes import read_volumes
from moeclip_med.benchmark.evaluation import Evaluation
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.protocol import Protocol, ProtocolChoice, protocols_for
from moeclip_med.benchmark.run import BenchmarkSettings, run_benchmark
from moeclip_med.benchmark.systems import baseline_systems


def run(dataset, make_detector, output, **settings):
    detector = make_detector()
    result = run_benchmark([dataset], detector, baseline_systems(), BenchmarkSettings(output, **settings))
    return result.sets[0]


def loaded(dataset):
    """All images (0 to 1) and masks of a folder set, read directly."""
    images, masks = [], []
    for case in dataset.cases:
        images.append(np.asarray(Image.open(case.image)) / 255.0)
        masks.append(np.zeros(images[-1].shape, bool) if case.mask is None else np.asarray(Image.open(case.mask)) != 0)
    return np.stack(images).astype(np.float32), np.stack(masks)


def test_figures_equal_those_computed_directly(patient_folder, make_detector, tmp_path):
    dataset = read_folder("own", patient_folder)
    one = run(dataset, make_detector, tmp_path / "out")
    images, masks = loaded(dataset)
    padded = np.stack([ndimage.uniform_filter(image, 5, mode="constant") for image in images])
    labels = masks.any(axis=(1, 2))
    for system, maps in (("detector", padded), ("brightness", images)):
        pixel = {name: one.metric(system, "pixel", name, Protocol.NATIVE).value for name in ("auroc", "ap")}
        assert pixel["auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4)
        assert pixel["ap"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-3)
        highest = maps.max(axis=(1, 2))
        found = one.metric(system, "image", "auroc", Protocol.NATIVE).value
        assert found == pytest.approx(roc_auc_score(labels, highest), abs=1e-6)
    assert one.protocol is Protocol.FOREGROUND
    inside = images > 0.04
    foreground = one.metric("brightness", "pixel", "auroc").value
    assert foreground == pytest.approx(roc_auc_score(masks[inside], images[inside]), abs=1e-3)
    dark = np.where(inside, 1 - images, -1).max(axis=(1, 2))
    assert one.metric("inverse_brightness", "image", "auroc").value == pytest.approx(
        roc_auc_score(labels, dark), abs=1e-6
    )
    assert one.metric("detector", "pixel", "auroc").interval.units == 12
    assert one.metric("brightness", "threshold_stored", "dice").reason == "it has no such threshold"


def test_the_papers_convention_compares_at_518_pixels(tmp_path, save, make_detector):
    rng = np.random.default_rng(1)
    pictures = []
    for number in range(3):
        image = rng.integers(0, 255, (30, 40, 3))
        mask = np.zeros((30, 40))
        mask[5:15, 8:20] = 2  # any value other than 0 counts
        save(tmp_path / "set" / "images" / f"{number}.png", image)
        save(tmp_path / "set" / "masks" / f"{number}.png", mask)
        big = Image.fromarray(image.astype(np.uint8)).resize((518, 518), Image.Resampling.BICUBIC)
        truth = Image.fromarray((mask != 0).astype(np.uint8)).resize((518, 518), Image.Resampling.NEAREST)
        pictures.append((np.asarray(big).mean(axis=2), np.asarray(truth) != 0))
    one = run(read_set("ColonDB", tmp_path / "set"), make_detector, tmp_path / "out")
    scores, labels = (np.stack(part).ravel() for part in zip(*pictures, strict=True))
    assert one.protocol is Protocol.PAPER
    assert one.metric("brightness", "pixel", "auroc").value == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
    assert one.metric("detector", "image", "auroc").reason == "no normal images"


def test_classes_are_averaged_and_empty_ones_said(tmp_path, save, make_detector):
    rng = np.random.default_rng(2)
    for group, defects in (("screw", 2), ("tile", 0)):
        for number in range(2):
            save(tmp_path / "mvtec" / group / "test" / "good" / f"{number}.png", rng.integers(0, 200, (40, 40)))
        for number in range(defects):
            image = rng.integers(0, 200, (40, 40))
            image[10:20, 10:20] = 240
            mask = np.zeros((40, 40))
            mask[10:20, 10:20] = 255
            save(tmp_path / "mvtec" / group / "test" / "cut" / f"{number}.png", image)
            save(tmp_path / "mvtec" / group / "ground_truth" / "cut" / f"{number}_mask.png", mask)
    one = run(read_set("MVTec", tmp_path / "mvtec"), make_detector, tmp_path / "out", protocol=ProtocolChoice.NATIVE)
    groups = one.levels["detector"][Protocol.NATIVE]["pixel"].groups
    assert groups["tile"]["auroc"].reason == "no abnormal pixels"
    mean = one.metric("detector", "pixel", "auroc", Protocol.NATIVE).value
    assert mean == pytest.approx(groups["screw"]["auroc"].value)


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_gives_the_same_figures(patient_folder, make_detector, tmp_path, monkeypatch):
    dataset = read_folder("own", patient_folder)
    whole = run(dataset, make_detector, tmp_path / "whole")
    monkeypatch.setattr("moeclip_med.benchmark.evaluation._SAVE_EVERY_CASES", 10)
    original = Evaluation._evaluate
    seen = []

    def stop_at(self, case, number):
        if len(seen) == 37:
            raise KeyboardInterrupt
        seen.append(case.key)
        original(self, case, number)

    monkeypatch.setattr(Evaluation, "_evaluate", stop_at)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, make_detector, tmp_path / "stopped")
    monkeypatch.setattr(Evaluation, "_evaluate", original)
    detector = make_detector()
    result = run_benchmark([dataset], detector, baseline_systems(), BenchmarkSettings(tmp_path / "stopped"))
    assert detector.detector.calls == 60 - 30  # three chunks of ten were saved before the stop
    for kind in ("pixel", "image", "threshold_stored"):
        for name, metric in whole.levels["detector"][Protocol.FOREGROUND][kind].metrics.items():
            assert result.sets[0].metric("detector", kind, name) == metric
    assert result.sets[0].cases["detector"] == whole.cases["detector"]
    assert result.sets[0].detections == whole.detections
    again = make_detector()
    run_benchmark([dataset], again, baseline_systems(), BenchmarkSettings(tmp_path / "stopped"))
    assert again.detector.calls == 0


def test_another_model_does_not_go_on_with_a_run(patient_folder, make_detector, tmp_path):
    dataset = read_folder("own", patient_folder)
    run(dataset, make_detector, tmp_path / "out")
    other = make_detector()
    other.detector.identity = "1" * 64
    settings = BenchmarkSettings(tmp_path / "out")
    with pytest.raises(InputError, match="holds a run with another model, data or settings"):
        run_benchmark([dataset], other, baseline_systems(), settings)
    anew = BenchmarkSettings(tmp_path / "out", restart=True)
    assert len(run_benchmark([dataset], other, baseline_systems(), anew).sets[0].rows.keys) == 60


def test_bad_cases_are_counted_and_left_out(patient_folder, save, make_detector, tmp_path):
    folder = patient_folder / "patient 00"
    (folder / "000.png").write_bytes((folder / "000.png").read_bytes()[:200])
    save(folder / "001_mask.png", np.zeros((10, 12)))
    (folder / "002_mask.png").write_bytes(b"not an image")
    (folder / "003.png").unlink()
    dataset = read_folder("own", patient_folder)
    detector = make_detector(bad=0.72)
    result = run_benchmark([dataset], detector, baseline_systems(), BenchmarkSettings(tmp_path / "out"))
    one = result.sets[0]
    faults = [(fault, key) for fault, key, _ in one.rows.progress.problems if key.startswith("patient 00")]
    assert faults == [
        ("IMAGE_MISSING", "patient 00/003_mask.png"),
        ("UNREADABLE", "patient 00/000.png"),
        ("MASK_SIZE", "patient 00/001.png"),
        ("MASK_UNREADABLE", "patient 00/002.png"),
    ]
    not_finite = sum(fault == "NOT_FINITE" for fault, _, _ in one.rows.progress.problems)
    assert not_finite > 0
    assert len(one.rows.keys) == 60 - 4 - not_finite
    details = {fault: detail for fault, _, detail in one.rows.progress.problems}
    assert details["MASK_SIZE"] == "image 64 × 64, mask 12 × 10"
    assert np.isfinite(
        [metric.value for metric in one.levels["detector"][Protocol.NATIVE]["pixel"].metrics.values()]
    ).all()


def test_a_set_of_bad_cases_only_is_undefined_throughout(tmp_path, save, make_detector):
    save(tmp_path / "set" / "a.png", np.zeros((8, 8)))
    save(tmp_path / "set" / "a_mask.png", np.zeros((9, 9)))
    one = run(read_folder("bad", tmp_path / "set"), make_detector, tmp_path / "out")
    assert one.metric("detector", "pixel", "auroc").reason == "no case could be evaluated"
    assert one.metric("detector", "image", "ap").value is None


@pytest.mark.parametrize(("value", "reason"), [(0, "no abnormal pixels"), (255, "no normal pixels")])
def test_all_normal_and_all_abnormal_sets_are_undefined(tmp_path, save, make_detector, value, reason):
    rng = np.random.default_rng(3)
    for number in range(2):
        save(tmp_path / "set" / f"{number}.png", rng.integers(0, 255, (20, 20)))
        save(tmp_path / "set" / f"{number}_mask.png", np.full((20, 20), value))
    one = run(read_folder("flat", tmp_path / "set"), make_detector, tmp_path / "out")
    assert one.metric("detector", "pixel", "ap").reason == reason
    assert one.metric("detector", "image", "auroc").value is None


def volume_pair(root, name, rng, lesions, affine=None, mask_affine=None):
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
    image = np.zeros((40, 40, 12), np.float32)
    image[5:35, 5:35] = rng.normal(100, 5, (30, 30, 12))
    mask = np.zeros(image.shape, np.uint8)
    for x, y, z in lesions:
        mask[x : x + 8, y : y + 8, z : z + 3] = 1
        image[x : x + 8, y : y + 8, z : z + 3] += 80
    root.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), root / f"{name}.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(mask, affine if mask_affine is None else mask_affine), root / f"{name}_mask.nii.gz"
    )
    return image, mask


def test_volumes_give_slices_lesions_and_froc(tmp_path, make_detector):
    rng = np.random.default_rng(4)
    root = tmp_path / "volumes"
    pairs = [
        volume_pair(root, name, rng, lesions)
        for name, lesions in (("a", [(8, 8, 2), (22, 22, 7)]), ("b", [(15, 15, 4)]))
    ]
    one = run(read_volumes("v", root), make_detector, tmp_path / "out")
    slices = np.concatenate([mask.any(axis=(0, 1)) for _, mask in pairs])
    assert one.metric("detector", "image", "auroc").value == 1.0
    assert int(slices.sum()) == 9
    assert one.metric("detector", "volume", "auroc").reason == "no normal volumes"
    assert one.detections["detector"]["sensitivity_at_0.125"].value == 1.0
    # All stand out at the stored threshold, and nothing else does in either volume.
    stored = one.cases["detector"][ThresholdKind.STORED]
    assert stored.lesions["lesion_sensitivity"].value == 1.0
    assert stored.lesions["false_positives_per_case"].value == 0.0
    assert one.rows.has_mm
    sizes = one.rows.lesion_rows("detector", ThresholdKind.STORED)
    assert sizes[:, 0].tolist() == [0, 0, 1]
    np.testing.assert_allclose(sizes[:, 1], 8 * 8 * 3 * 12 / 1000)
    assert one.metric("detector", "pixel", "auroc").interval_reason == "2 volumes; an interval needs at least 10"


def test_a_mask_on_another_grid_is_left_out(tmp_path, make_detector):
    shifted = np.diag([2.0, 2.0, 3.0, 1.0])
    shifted[0, 3] = 5.0
    rng = np.random.default_rng(5)
    volume_pair(tmp_path / "volumes", "a", rng, [(8, 8, 2)], mask_affine=shifted)
    one = run(read_volumes("v", tmp_path / "volumes"), make_detector, tmp_path / "out")
    (problem,) = one.rows.progress.problems
    assert problem[0] == "MASK_GRID"
    assert problem[2] == "corners up to 2.5 voxels (5 mm) apart"


def test_maps_are_written_on_request(patient_folder, make_detector, tmp_path):
    dataset = read_folder("own", patient_folder)
    run(dataset, make_detector, tmp_path / "out", save_maps=True)
    saved = sorted((tmp_path / "out" / "maps" / "own").rglob("*.npy"))
    assert len(saved) == 60
    images, _ = loaded(dataset)
    np.testing.assert_allclose(np.load(saved[0]), ndimage.uniform_filter(images[0], 5, mode="constant"), atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "in_paper", "is_volumes", "expected"),
    [
        ("auto", True, False, ["paper", "foreground", "native"]),
        ("auto", False, False, ["foreground", "native"]),
        ("all", False, False, ["foreground", "native", "paper"]),
        ("paper", False, False, ["paper"]),
        ("paper", False, True, ["foreground", "native"]),
    ],
)
def test_protocols(choice, in_paper, is_volumes, expected):
    found = protocols_for(ProtocolChoice(choice), in_paper=in_paper, is_volumes=is_volumes)
    assert [protocol.value for protocol in found] == expected


def test_progress_on_disk_is_whole(patient_folder, make_detector, tmp_path):
    run(read_folder("own", patient_folder), make_detector, tmp_path / "out")
    folder = tmp_path / "out" / "counts" / "own"
    progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    assert progress["done"] == 60
    assert {path.name for path in folder.iterdir()} == {"progress.json", "rows-00000.npz", progress["counts"]}


def test_a_mask_on_a_coarser_grid_is_resampled_and_values_not_named_are_told(tmp_path, make_detector):
    rng = np.random.default_rng(6)
    image, _ = volume_pair(tmp_path / "v", "a", rng, [(8, 8, 2)])
    coarse = np.zeros((20, 20, 12), np.uint8)
    coarse[4:8, 4:8, 2:5] = 2
    coarse[12:14, 12:14, 2:5] = 1
    affine = np.diag([4.0, 4.0, 3.0, 1.0])
    affine[:2, 3] = 1.0
    nibabel.save(nibabel.Nifti1Image(coarse, affine), tmp_path / "v" / "a_mask.nii.gz")
    dataset = replace(read_volumes("v", tmp_path / "v"), lesion_labels=(2,))
    one = run(dataset, make_detector, tmp_path / "out")
    assert one.rows.progress.resampled == {"truth": 1}
    assert one.rows.abnormal_pixels.tolist() == [8 * 8 * 3]
    assert [(problem.fault.name, problem.detail) for problem in one.problems] == [("LABEL_VALUE", "1")]
    assert image.shape == (40, 40, 12)
