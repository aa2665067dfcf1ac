"""What a finished run is written as, and what the command refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError

from moeclip_med.cli.train import read_data, read_terms, train_command
from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.model.named_architectures import (
    dino_architecture,
    duo_architecture,
    lite_architecture,
    paper_architecture,
)
from moeclip_med.training.artefact import model_notes, scale_of_normals, training_data, write_learned_model
from moeclip_med.training.lite import LiteTask
from moeclip_med.training.loop import RunOptions, make_fabric, run_training
from moeclip_med.training.run_state import BEST_FILE
from moeclip_med.training.settings import LiteSettings
from moeclip_med.training.start import Start
from moeclip_med.training.validation import areas, fraction, selection_score
from moeclip_med.weights.metadata import TrainingData
from moeclip_med.weights.registry import NAMED_MODELS
from moeclip_med.weights.store import read_adapters, read_metadata
from moeclip_med.weights.tower_weights import OpenedTower

TOWER = OpenedTower(None, "0" * 64, "made by the tests")


def test_threshold_is_the_percentile_of_normal_maxima_and_the_median_scores_low():
    maps = np.random.default_rng(0).normal(-5, 2, (200, 16, 16)).astype(np.float32)
    scale, threshold = scale_of_normals(maps)
    scores = scale.score(maps)
    assert threshold == 0.5
    assert (scores.max(axis=(1, 2)) > threshold).mean() == pytest.approx(0.05, abs=0.005)
    assert np.median(scores) == pytest.approx(0.02, abs=1e-4)


def test_terms_are_known_given_or_said_to_be_unknown(industrial_folder):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    renamed = [replace(image, category="pcb") if image.category == "board" else image for image in images]
    by_name = {data.name: data for data in training_data(renamed, {"tile": "CC0-1.0"})}
    assert by_name["DeepPCB"].terms.startswith("MIT")
    assert by_name["tile"].terms == "CC0-1.0"
    assert by_name["plain"].terms == "not stated when the model was trained"
    assert sum(data.images for data in by_name.values()) == len(images)


@pytest.mark.slow
def test_model_folder_holds_the_best_checkpoint(industrial_folder, tiny_network, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    settings = LiteSettings(
        crops=24, epochs=2, batch_size=6, loss_side=16, held_out=("board",), validation_synthetic=30, seed=4
    )
    task = LiteTask(images, settings, tmp_path / "features", network=tiny_network(4))
    options = RunOptions(tmp_path, 4, task.settings_json(), "32-true", "cpu")
    progress = run_training(task, options, make_fabric(options))
    start = Start("0" * 64, ("earlier 3",), (TrainingData("older", "CC BY-NC 4.0"),))
    folder = write_learned_model(task, TOWER, tmp_path, tmp_path / "model", progress, licence="Apache-2.0", start=start)
    metadata = read_metadata(folder)
    best = torch.load(tmp_path / BEST_FILE, weights_only=True)["network"]
    for name, tensor in read_adapters(folder, metadata).items():
        assert torch.equal(tensor, best[name])
    assert metadata.architecture == task.network.architecture
    assert not metadata.threshold.is_calibrated
    assert "95th percentile" in metadata.threshold.source
    assert metadata.training["images_sha256"] == task.settings_json()["images"]["trained"]
    assert f"epoch {progress.best_epoch} of 2" in metadata.training["chosen"]
    assert {data.name for data in metadata.training_data} == {"older", "tile", "plain"}
    assert metadata.training["start"] == "earlier 3"
    assert metadata.notes == model_notes(metadata.architecture)
    assert not metadata.weak_kinds


@pytest.mark.parametrize(
    ("architecture", "told"), [(lite_architecture(), True), (duo_architecture(), True), (dino_architecture(), False)]
)
def test_the_notes_of_a_fresh_model_claim_nothing_that_was_not_measured(architecture, told):
    notes = " ".join(model_notes(architecture))
    assert "measured on no medical image" in notes
    assert "prompts are ignored" in notes
    assert ("mirror twin" in notes) == told
    assert "prompts are ignored" not in " ".join(model_notes(paper_architecture()))


def test_shipped_lite_says_what_it_was_made_of():
    folder = NAMED_MODELS["lite"].folder
    metadata = read_metadata(folder)
    assert (folder / "adapters.safetensors").stat().st_size <= 10 * 2**20
    assert read_adapters(folder, metadata)
    assert {data.name for data in metadata.training_data} == {"Magnetic tile defects", "DeepPCB"}
    assert all(data.terms for data in metadata.training_data)
    assert len(metadata.training["images_sha256"]) == 64
    assert not metadata.threshold.is_calibrated


def test_selection_averages_over_groups_and_leaves_undefined_figures_out():
    from moeclip_med.training.validation import GroupScores

    scores = {"a": GroupScores(0.8, 0.4, float("nan")), "b": GroupScores(0.6, 0.2, 0.9)}
    assert selection_score(scores) == pytest.approx((0.7 + 0.3 + 0.9) / 3)


def test_areas_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.random(4000) < 0.1
    scores = (rng.normal(size=4000) + labels).astype(np.float32)
    auroc, ap = areas(scores, labels)
    assert auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-4)
    assert ap == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-3)
    assert np.isnan(areas(scores, np.ones(4000, dtype=bool))[0])


def test_a_name_always_falls_on_the_same_side():
    assert fraction("tile/001.png") == fraction("tile/001.png")
    assert np.mean([fraction(f"tile/{n}.png") < 0.1 for n in range(2000)]) == pytest.approx(0.1, abs=0.03)


def test_command_refuses_what_it_cannot_use(industrial_folder, tmp_path):
    with pytest.raises(InputError, match='"nowhere" is not LAYOUT=FOLDER'):
        read_data(["nowhere"])
    with pytest.raises(InputError, match='"tiles" is not CATEGORY=TEXT'):
        read_terms(["tiles"])
    data = [f"industrial={industrial_folder}"]
    with pytest.raises(InputError, match='"huge" is not a recipe'):
        train_command(data=data, output=tmp_path, recipe="huge")
    with pytest.raises(InputError, match=r"no category is held out.*board, plain, tile"):
        train_command(data=data, output=tmp_path, quiet=True)
    with pytest.raises(InputError, match="neither bf16-mixed nor 32-true"):
        train_command(data=data, output=tmp_path, precision="f64", quiet=True)
    assert list(tmp_path.iterdir()) == []
