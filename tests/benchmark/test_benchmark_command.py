"""The commands as a user types them, with the shipped model and with a small CLIP in the paper's setting."""

import errno
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.detectors import INDUSTRIAL_BLUR, MEDICAL_BLUR, DetectorOptions, detector_maker
from moeclip_med.cli.benchmark import gather, with_labels
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.weights.registry import packaged_versions

SMALL_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def small_clip(tmp_path, monkeypatch):
    """A model folder in the paper's setting, small and with random weights, tower included."""
    from open_clip.factory import add_model_config
    from safetensors.torch import save_file

    from moeclip_med.model import MoEClip
    from moeclip_med.model.architecture import ExpertsSpec
    from moeclip_med.model.named_architectures import paper_architecture
    from moeclip_med.model.towers import build_tower
    from moeclip_med.weights import ModelMetadata, Threshold, save_model
    from moeclip_med.weights.metadata import uncalibrated_scale
    from moeclip_med.weights.openclip import build_clip, clip_config

    monkeypatch.setenv("MOECLIP_MED_CACHE", str(tmp_path / "cache"))
    config = tmp_path / "Small-For-Benchmark.json"
    config.write_text(json.dumps(SMALL_CLIP), encoding="utf-8")
    add_model_config(config)
    torch.manual_seed(0)
    clip = build_clip(clip_config("Small-For-Benchmark"), "gelu")
    save_file(clip.state_dict(), tmp_path / "tower.safetensors")
    base = paper_architecture(
        "Small-For-Benchmark", str(tmp_path / "tower.safetensors"), width=32, depth=4, image_size=64, activation="gelu"
    )
    architecture = replace(base, experts=ExpertsSpec(rank=4))
    network = MoEClip(architecture, build_tower(clip.visual, architecture))
    scale, threshold = uncalibrated_scale(architecture), Threshold(0.5, "test")
    metadata = ModelMetadata("small-clip", "1", architecture, scale, threshold, "Apache-2.0")
    save_model(tmp_path / "small-clip", network.learned_state(), metadata)
    return tmp_path / "small-clip"


def mvtec(root, save):
    rng = np.random.default_rng(0)
    for group in ("screw", "tile"):
        for number in range(2):
            save(root / group / "test" / "good" / f"{number}.png", rng.integers(0, 255, (48, 48, 3)))
            save(root / group / "test" / "cut" / f"{number}.png", rng.integers(0, 255, (48, 48, 3)))
            mask = np.zeros((48, 48))
            mask[8:20, 8:20] = 255
            save(root / group / "ground_truth" / "cut" / f"{number}_mask.png", mask)
    return root


def test_own_folder_with_the_shipped_model(invoke, write_patients, tmp_path):
    patient_folder = write_patients(tmp_path / "own", patients=3)
    options = ["--folder", f"own={patient_folder}", "-o", str(tmp_path / "out"), "-q", "--engine", "torch"]
    done = invoke("benchmark", *options)
    assert done.exit_code == 0, done.output
    assert "| own | 15 | 9 |" in done.output
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    own = content["datasets"]["own"]
    assert own["baselines"]["brightness"]["pixel"]["auroc"] > 0.5
    # At every level each patch of the foreground is given to one of four experts.
    shares = np.array(own["routing"])[:, :4]
    assert len(shares) == len(lite_architecture().levels)
    assert len(set(shares.sum(axis=1).tolist())) == 1
    assert content["provenance"]["model"]["name"] == "lite"
    compared = invoke("benchmark", "compare", tmp_path / "out", tmp_path / "out")
    assert compared.exit_code == 0
    assert "not tested" in compared.output  # three patients are too few


def test_paper_path_of_an_industrial_set_with_prompts_and_image_scores(invoke, small_clip, save, tmp_path):
    root = mvtec(tmp_path / "data" / "mvtec_anomaly_detection", save).parent
    options = ["--root", str(root), "--model", str(small_clip), "-o", str(tmp_path / "out"), "-q"]
    done = invoke("benchmark", *options, "--protocol", "paper", "--engine", "torch")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    own = content["datasets"]["MVTec"]
    assert own["protocol"] == "paper"
    assert own["published"]["image"]["MoECLIP"] == {"auroc": 0.939, "ap": 0.968}
    assert "clip_zero_shot" in own["baselines"] or any("clip-zero-shot" in s for s in content["missing_datasets"])
    assert sum(sentence.startswith("VisA is missing") for sentence in content["missing_datasets"]) == 1
    assert set(own["details"]["detector"]["paper"]["pixel"]["classes"]) == {"screw", "tile"}


def test_industrial_maps_are_blurred_less_and_come_with_an_image_score(small_clip):
    make = detector_maker(DetectorOptions(str(small_clip), engine="torch"))
    image = torch.rand(1, 3, 518, 518, generator=torch.Generator().manual_seed(1))
    medical = make("scan", is_industrial=False)
    medical_map = medical.map_slices(image).raw
    assert medical.metadata.prompts.name == "scan"
    assert medical.metadata.architecture.blur == MEDICAL_BLUR
    industrial = make("brown leather", is_industrial=True)
    industrial_map = industrial.map_slices(image).raw
    assert industrial.metadata.prompts.name == "brown leather"
    assert 0 <= float(industrial.engine.image_scores[0]) <= 1
    assert INDUSTRIAL_BLUR.sigma < MEDICAL_BLUR.sigma
    assert industrial_map.std() > medical_map.std()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "; use --root, --set NAME=PATH, --folder NAME=PATH or --volumes NAME=PATH"),
        ({"folders": ["just-a-path"]}, '--folder "just-a-path": expected NAME=PATH'),
        ({"published": ["Nonsense=."]}, '"Nonsense" is not a published set that is known'),
        ({"volumes": ["v=.::*image*"]}, "expected NAME=PATH or NAME=PATH::"),
        ({"channels": ["v=2"]}, '--channel names "v", which no --folder or --volumes names'),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    from moeclip_med.benchmark.datasets.folder import Unmasked

    given = dict.fromkeys(("root", "published", "folders", "volumes", "channels")) | options
    with pytest.raises(InputError) as error:
        gather(*given.values(), Unmasked.AUTO)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [("v=2", '--lesion-labels names "v", which no --folder or --volumes names'), ("own=two", "expected whole numbers")],
)
def test_labels_that_make_no_sense_are_refused(patient_folder, labels, message):
    from moeclip_med.benchmark.datasets.folder import read_folder

    with pytest.raises(InputError, match=message):
        with_labels([read_folder("own", patient_folder)], [labels], None)


def test_a_folder_of_volumes_is_read_as_volumes(tmp_path):
    from moeclip_med.benchmark.datasets.folder import Unmasked

    for place, name in (("imagesTr", "A_0000"), ("imagesTr", "A_0001"), ("labelsTr", "A")):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / f"{name}.nii.gz").touch()
    (found,), _ = gather(None, None, [f"own={tmp_path}"], None, ["own=1"], Unmasked.AUTO)
    assert (found.is_volumes, [case.key for case in found.cases]) == (True, ["imagesTr/A_0001.nii.gz"])


def test_two_sets_of_one_name_are_refused(patient_folder):
    from moeclip_med.benchmark.datasets.folder import Unmasked

    with pytest.raises(InputError, match='two data sets are named "own"'):
        gather(None, None, [f"own={patient_folder}"] * 2, None, None, Unmasked.AUTO)


def healthy_folder(root, save, count):
    rng = np.random.default_rng(5)
    for number in range(count):
        image = np.zeros((64, 64))
        image[10:54, 10:54] = rng.normal(100, 8, (44, 44))
        save(root / f"{number:02}.png", image.clip(0, 255))
    return root


@pytest.mark.slow
def test_calibrated_model_flags_no_more_healthy_studies_than_promised(invoke, save, tmp_path):
    from moeclip_transforms import read_volume

    from moeclip_med.scoring import load_detector, score_volume

    healthy = healthy_folder(tmp_path / "healthy", save, 20)
    model = tmp_path / "ours"
    options = ["--healthy", str(healthy), "-o", str(model), "--rate", "0.1", "-q", "--engine", "torch"]
    done = invoke("calibrate", *options)
    assert done.exit_code == 0, done.output
    assert "20 healthy studies (plain, plane auto)" in done.output
    detector = load_detector(str(model), engine="torch")
    assert detector.metadata.threshold.is_calibrated
    anomalies = [score_volume(read_volume(path), detector) for path in sorted(healthy.glob("*.png"))]
    # The threshold is the 19th of 20 levels: exactly one of the calibrating studies lies above it.
    assert sum(bool(anomaly.findings) for anomaly in anomalies) == 1
    assert all(anomaly.threshold == 0.5 and anomaly.is_calibrated for anomaly in anomalies)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a name in a folder")
def test_a_calibrated_model_holds_files_alone_and_nothing_stays_of_one_that_cannot_be_written(
    invoke, save, tmp_path, monkeypatch
):
    source = shutil.copytree(max(packaged_versions("lite").items())[1], tmp_path / "theirs")
    os.mkfifo(source / "pipe")
    (source / "zero").symlink_to("/dev/zero")
    (tmp_path / "key").write_text("another file of the machine")
    (source / "notes.txt").symlink_to(tmp_path / "key")
    (source / "folder").mkdir()
    healthy = healthy_folder(tmp_path / "healthy", save, 3)
    options = ["--healthy", str(healthy), "--model", str(source), "--rate", "0.5", "-q", "--engine", "torch"]
    assert invoke("calibrate", *options, "-o", str(tmp_path / "ours")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["adapters.safetensors", "metadata.json"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "adapters.safetensors")

    monkeypatch.setattr(shutil, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        invoke("calibrate", *options, "-o", str(tmp_path / "more"))
    assert not list(tmp_path.glob("more*"))


def test_calibration_that_cannot_promise_is_refused_before_scoring(invoke, save, tmp_path):
    healthy = healthy_folder(tmp_path / "healthy", save, 5)
    options = ["--healthy", str(healthy), "-o", str(tmp_path / "ours"), "-q"]
    with pytest.raises(InputError, match="5 healthy studies are too few to promise a rate of"):
        invoke("calibrate", *options)
    assert not (tmp_path / "ours").exists()


def test_calibration_overwrites_no_model(invoke, save, tmp_path):
    healthy = healthy_folder(tmp_path / "healthy", save, 3)
    (tmp_path / "ours").mkdir()
    with pytest.raises(InputError, match="exists; name a new folder"):
        invoke("calibrate", "--healthy", str(healthy), "-o", str(tmp_path / "ours"))


@pytest.mark.slow
def test_thirty_cases_and_twenty_healthy_ones_in_one_command(invoke, tmp_path):
    """The command of docs/benchmark.md, as it stands there."""
    import nibabel

    rng = np.random.default_rng(0)

    def write(path, *, has_lesion):
        image = np.zeros((24, 24, 6), np.float32)
        image[2:22, 2:22] = rng.normal(100, 8, (20, 20, 6))
        mask = np.zeros(image.shape, np.uint8)
        if has_lesion:
            x, y = rng.integers(4, 12, 2)
            mask[x : x + 7, y : y + 7, 1:5] = 1
            image[mask > 0] += 90
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 2, 4, 1])), path)
        if has_lesion:
            mask_path = path.with_name(path.name.replace(".nii", "_mask.nii"))
            nibabel.save(nibabel.Nifti1Image(mask, np.diag([2.0, 2, 4, 1])), mask_path)

    for number in range(30):
        write(tmp_path / "cases" / f"{number:02}.nii.gz", has_lesion=True)
    for number in range(20):
        write(tmp_path / "healthy" / f"{number:02}.nii.gz", has_lesion=False)
    page = Path(__file__).parents[2] / "docs" / "benchmark.md"
    command = "moeclip-med benchmark --volumes ours=CASES --healthy ours=HEALTHY -o OUT"
    assert command in page.read_text(encoding="utf-8")
    words = command.replace("CASES", str(tmp_path / "cases")).replace("HEALTHY", str(tmp_path / "healthy"))
    words = words.replace("OUT", str(tmp_path / "out")).split()[2:]
    done = invoke("benchmark", *words, "--engine", "torch", "-q")
    assert done.exit_code == 0, done.output
    own = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))["datasets"]["ours"]
    assert own["counts"] == {"cases": 50, "abnormal": 30, "units": 50, "units_are": "volumes"}
    stored = own["findings"]["detector"]["at_threshold"]["stored"]
    assert stored["normal_cases"]["count"] == 20
    assert stored["normal_cases"]["healthy_flagged"]["interval_units"] == 20
    assert stored["cases"]["dice"]["defined"] == 30
    specificity = own["findings"]["detector"]["specificity"]["volumes"]
    assert specificity["sensitivity_at_specificity_90"]["value"] is not None
    text = (tmp_path / "out" / "benchmark.html").read_text(encoding="utf-8")
    assert "Specificity: 20 normal cases" in text
    assert "Cases to look at" in text
