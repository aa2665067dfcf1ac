"""The paper's recipe on a tiny vision transformer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError

from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.model.class_names import class_name
from moeclip_med.training.geometric import random_geometry, transform
from moeclip_med.training.loop import RunOptions, make_fabric, run_training
from moeclip_med.training.transformer import Recomputed, TransformerSettings, TransformerTask, recipe_values

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 24, "heads": 2, "layers": 1},
}
SETTINGS = TransformerSettings(epochs=1, held_out=("board",), validation_images=4)


@pytest.fixture
def make_task(industrial_folder):
    """A function from settings to a task on a tiny network, always with the same weights."""
    from moeclip_med.model.architecture import ExpertsSpec
    from moeclip_med.model.named_architectures import paper_architecture
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.towers import build_tower
    from moeclip_med.weights.openclip import build_clip

    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)

    def make(settings=SETTINGS):
        torch.manual_seed(0)
        architecture = paper_architecture("tiny", width=24, depth=4, image_size=96)
        architecture = replace(architecture, experts=ExpertsSpec(rank=4))
        clip = build_clip(CONFIG, "quick_gelu")
        network = MoEClip(architecture, build_tower(clip.visual, architecture))
        text = {name: (torch.randn(6, 24), torch.randn(10, 24)) for name in ("tile", "plain", "board")}
        return TransformerTask(images, settings, network, text)

    return make


def first_batch(task, tmp_path):
    return next(task.batches(0, 0, make_fabric(RunOptions(tmp_path, 0, {}, "32-true", "cpu"))))


def test_numbers_of_paper_and_released_script():
    paper, released = recipe_values("paper"), recipe_values("released")
    assert (paper.learning_rate, released.learning_rate) == (5e-4, 5e-5)
    assert (paper.experts_train, released.experts_train) == (True, False)
    for settings in (paper, released):
        assert settings.betas == (0.5, 0.999)
        assert settings.halve_at == (16_000, 32_000)
        assert (settings.epochs, settings.batch_size) == (20, 2)


def test_losses_of_the_paper_act_and_those_of_the_script_do_not(make_task, tmp_path):
    task = make_task()
    losses, _ = task.losses(task.network, first_batch(task, tmp_path))
    assert set(losses) == {"patch", "image", "balance", "etf"}
    losses["etf"].backward(retain_graph=True)
    assert task.network.experts[0].up.grad.abs().max() > 0
    losses["balance"].backward()
    assert task.network.experts[0].router.grad.abs().max() > 0
    released = make_task(replace(recipe_values("released"), held_out=("board",)))
    losses, _ = released.losses(released.network, first_batch(released, tmp_path))
    assert set(losses) == {"patch", "image"}
    assert not released.network.experts.training


def test_recomputing_changes_neither_losses_nor_gradients(make_task, tmp_path):
    gradients = {}
    for recompute in (False, True):
        task = make_task(replace(SETTINGS, recompute=recompute, experts_train=False))
        assert isinstance(task.network.tower.stages[1], Recomputed) == recompute
        losses, _ = task.losses(task.network, first_batch(task, tmp_path))
        torch.stack(list(losses.values())).sum().backward()
        gradients[recompute] = {
            name: parameter.grad for name, parameter in task.network.named_parameters() if parameter.grad is not None
        }
    assert gradients[False].keys() == gradients[True].keys()
    for name, gradient in gradients[False].items():
        torch.testing.assert_close(gradients[True][name], gradient, rtol=1e-5, atol=1e-7)


def test_nothing_before_the_first_experts_is_kept_for_the_backward_pass(make_task, tmp_path):
    task = make_task()
    images, _, _ = first_batch(task, tmp_path)
    kept = []
    hook = task.network.tower.stages[0].register_forward_hook(lambda _m, _i, output: kept.append(output.grad_fn))
    task.losses(task.network, first_batch(task, tmp_path))
    hook.remove()
    assert kept == [None]
    assert images.shape == (2, 3, 96, 96)


@pytest.mark.slow
def test_a_run_learns_every_part_and_writes_its_checkpoints(make_task, tmp_path):
    task = make_task()
    before = {name: tensor.clone() for name, tensor in task.network.learned_state().items()}
    options = RunOptions(tmp_path, 0, task.settings_json(), "32-true", "cpu", log_every=5)
    progress = run_training(task, options, make_fabric(options))
    assert progress.step == task.steps_per_epoch == len(task.trained) // 2
    for name, tensor in task.network.learned_state().items():
        assert torch.equal(before[name], tensor) == name.endswith(".down"), name
    assert {"best.pt", "last.pt", "train.csv", "validation.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_geometry_moves_image_and_mask_together_and_fills_with_zero():
    image = torch.rand(3, 64, 64) + 1
    mask = (image[:1] > 1.5).float()
    for seed in range(20):
        matrix = random_geometry(np.random.default_rng(seed))
        moved, moved_mask = transform(image, matrix), transform(mask, matrix)
        torch.testing.assert_close((moved[:1] > 1.5).float(), moved_mask)
        assert set(moved.unique().tolist()) <= {0.0, *image.unique().tolist()}
    identity = torch.eye(3)[:2]
    torch.testing.assert_close(transform(image, identity), image)


def test_about_one_in_sixteen_images_is_left_as_it_is():
    plain = [torch.equal(random_geometry(np.random.default_rng(seed)), torch.eye(3)[:2]) for seed in range(400)]
    assert 0.03 < np.mean(plain) < 0.11


def test_class_names_and_missing_text(make_task):
    assert class_name("metal_nut") == "metal nut which has four notched edges"
    assert class_name("magnetic_tile") == "magnetic tile"
    with pytest.raises(InputError, match='"nowhere" is not in the data'):
        make_task(replace(SETTINGS, held_out=("nowhere",)))


@pytest.mark.slow
def test_model_folder_of_a_tower_with_text(make_task, tmp_path):
    from moeclip_med.training.artefact import write_transformer_model
    from moeclip_med.training.transformer_build import BuiltTransformer
    from moeclip_med.weights.store import read_adapters, read_metadata

    task = make_task()
    options = RunOptions(tmp_path, 0, task.settings_json(), "32-true", "cpu")
    progress = run_training(task, options, make_fabric(options))
    built = BuiltTransformer("vit-l-14-336", task.network, task.text, "ab" * 32, "MIT")
    folder = write_transformer_model(task, built, tmp_path, tmp_path / "model", progress, licence="unspecified")
    metadata = read_metadata(folder)
    assert set(read_adapters(folder, metadata)) == set(task.network.learned_state())
    assert (metadata.tower_sha256, metadata.tower_licence) == ("ab" * 32, "MIT")
    assert metadata.training["values"] == "paper"
    assert metadata.threshold.source.endswith("held-out normal industrial images")
