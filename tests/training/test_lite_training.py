"""The lite recipe end to end on a tiny tower: it learns, logs, resumes exactly, and refuses other settings."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.mix import Mix
from moeclip_med.training.features import loss_mask, open_store, stage_encoder
from moeclip_med.training.lite import LiteTask
from moeclip_med.training.loop import RunOptions, make_fabric, mean_gram, run_training
from moeclip_med.training.run_state import (
    LAST_FILE,
    SETTINGS_FILE,
    TrainingProgress,
    claim_folder,
    resume_run,
    save_run,
)
from moeclip_med.training.settings import LiteSettings

SETTINGS = LiteSettings(
    crops=24, epochs=2, fresh_every=1, batch_size=6, loss_side=16, held_out=("board",), validation_synthetic=30
)


@pytest.fixture
def start(industrial_folder, tiny_network):
    """A function that runs a task in a folder and returns it."""
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)

    def run(folder, settings=SETTINGS, on_step=None, save_every=1):
        task = LiteTask(images, settings, folder / "features", network=tiny_network(settings.seed))
        options = RunOptions(
            folder, settings.seed, task.settings_json(), "32-true", "cpu", save_every=save_every, log_every=1
        )
        progress = run_training(task, options, make_fabric(options), on_step)
        return task, progress

    return run


def learned(task):
    return {name: tensor.clone() for name, tensor in task.network.learned_state().items()}


class StopError(Exception):
    """Raised by the test in the middle of a run."""


@pytest.mark.slow
def test_interrupted_run_ends_exactly_like_an_uninterrupted_one(start, tmp_path):
    whole, progress = start(tmp_path / "whole")
    assert (progress.step, progress.epoch) == (8, 2)

    def stop_at_six(step, _total, _loss):
        if step == 6:
            raise StopError

    with pytest.raises(StopError):
        start(tmp_path / "cut", on_step=stop_at_six)  # the checkpoint of step 5 is the last one written
    resumed, progress = start(tmp_path / "cut")
    assert (progress.step, progress.epoch) == (8, 2)
    for name, tensor in learned(whole).items():
        torch.testing.assert_close(learned(resumed)[name], tensor, rtol=0, atol=0)
    rows = {folder: (tmp_path / folder / "train.csv").read_text() for folder in ("whole", "cut")}
    assert rows["cut"] == rows["whole"]
    assert len(list(csv.DictReader(rows["cut"].splitlines()))) == 8


@pytest.mark.parametrize(("precision", "is_mixed"), [("bf16-mixed", True), ("32-true", False)])
def test_precision_reaches_the_products(industrial_folder, tiny_network, tmp_path, precision, is_mixed):
    task = LiteTask(find_images(industrial_folder, LayoutName.INDUSTRIAL), SETTINGS, tmp_path, network=tiny_network(0))
    found = []
    hook = task.network.projections[0].register_forward_hook(lambda _module, _given, output: found.append(output.dtype))
    options = RunOptions(tmp_path, 0, task.settings_json(), precision, "cpu")

    def stop(*_):
        hook.remove()
        raise StopError

    with pytest.raises(StopError):
        run_training(task, options, make_fabric(options), stop)
    assert set(found) == {torch.bfloat16 if is_mixed else torch.float32}


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_settings_of_a_run_are_named(tmp_path, content):
    (tmp_path / SETTINGS_FILE).write_text(content)
    with pytest.raises(InputError) as caught:
        claim_folder(tmp_path, {"seed": 0})
    assert lacking(caught.value, SETTINGS_FILE, "damaged", "delete") == []


@pytest.mark.parametrize("kept", [{"network": {}}, {"progress": 5}, []])
def test_a_checkpoint_that_holds_something_else_is_named(tiny_network, tmp_path, kept):
    network = tiny_network(0)
    optimizer = torch.optim.AdamW(network.parameters())
    torch.save(kept, tmp_path / LAST_FILE)
    with pytest.raises(InputError):
        resume_run(tmp_path / LAST_FILE, network, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))


def test_a_checkpoint_that_is_cut_is_named(tiny_network, tmp_path):
    network = tiny_network(0)
    optimizer = torch.optim.AdamW(network.parameters())
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    path = tmp_path / LAST_FILE
    save_run(path, network, optimizer, scheduler, TrainingProgress())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=LAST_FILE):
        resume_run(path, network, optimizer, scheduler)


@pytest.mark.slow
def test_another_setting_is_refused(start, tmp_path):
    start(tmp_path, replace(SETTINGS, epochs=1))
    with pytest.raises(InputError, match=r"settings\.learning_rate = 0\.001, this one has 0\.5"):
        start(tmp_path, replace(SETTINGS, epochs=1, learning_rate=0.5))


@pytest.mark.slow
def test_training_lowers_the_loss_and_changes_only_what_is_learned(start, tmp_path, tiny_network):
    before = tiny_network(0).state_dict()
    task, _ = start(tmp_path, replace(SETTINGS, crops=48, epochs=8, fresh_every=8, learning_rate=3e-3))
    after = task.network.state_dict()
    frozen = {name for name in before if name.startswith("tower.") or name.endswith(".down")}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == (name in frozen), name
    batch = next(task.batches(0, 0, make_fabric(RunOptions(tmp_path, 0, {}, "32-true", "cpu"))))
    untrained = tiny_network(0)
    loss = {network: task.losses(network.eval(), batch)[0]["patch"] for network in (untrained, task.network)}
    assert loss[task.network] < 0.9 * loss[untrained]


@pytest.mark.slow
def test_log_tells_losses_router_and_experts_apart(start, tmp_path):
    start(tmp_path, replace(SETTINGS, epochs=1))
    with (tmp_path / "train.csv").open() as file:
        row = next(csv.DictReader(file))
    for name in ("patch", "fused", "fused_dice", "peak", "image", "balance", "etf"):
        assert float(row[f"loss_{name}"]) > 0
    for level in (1, 2):
        use = [float(row[f"use_level{level}_expert{expert}"]) for expert in (1, 2, 3, 4)]
        assert sum(use) == pytest.approx(1, abs=1e-5)
        assert 0 < float(row[f"entropy_level{level}"]) <= np.log(4) + 1e-6
        assert -1 <= float(row[f"cosine_level{level}"]) <= 1
    with (tmp_path / "validation.csv").open() as file:
        validation = next(csv.DictReader(file))
    assert 0 < float(validation["score"]) < 1
    assert {"board_pixel_ap", "symmetric_image_auroc", "synthetic_pixel_auroc"} <= validation.keys()
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "board-000004.png",
        "body-000004.png",
        "layered-000004.png",
        "organ-000004.png",
        "surface-000004.png",
        "symmetric-000004.png",
        "synthetic-000004.png",
        "tube-000004.png",
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_auxiliary_losses_really_act(industrial_folder, tiny_network, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    task = LiteTask(images, SETTINGS, tmp_path, network=tiny_network(0))
    options = RunOptions(tmp_path, 0, {}, "32-true", "cpu")
    batch = next(task.batches(0, 0, make_fabric(options)))
    task.network.train()
    losses, _ = task.losses(task.network, batch)
    for name, parameter in (("etf", "experts.0.up"), ("balance", "experts.0.router")):
        task.network.zero_grad()
        losses[name].backward(retain_graph=True)
        gradient = dict(task.network.named_parameters())[parameter].grad
        assert gradient.abs().max() > 0


def test_held_out_images_are_never_trained_on(industrial_folder, tiny_network, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    task = LiteTask(images, replace(SETTINGS, held_out_normals=0.3), tmp_path, network=tiny_network(0))
    drawn_from = set(task.mix.normal.images) | set(task.mix.defective.images)
    assert {image.category for image in drawn_from} == {"tile", "plain"}
    assert task.held_normals
    assert not drawn_from & set(task.held_normals)


def test_stored_features_equal_the_stage_on_the_same_images(industrial_folder, tiny_network, tmp_path):
    network = tiny_network(0)
    mix = Mix(find_images(industrial_folder, LayoutName.INDUSTRIAL), size=64, seed=3)
    encode, _ = stage_encoder(network.tower.stages[0], 64)
    arguments = {"normalise": lambda images: images * 2 - 1, "loss_side": 16}
    store = open_store(tmp_path / "store", mix, range(10, 20), encode, **arguments)
    features, masks, _ = store.batch(np.array([3, 1]))
    for row, number in enumerate((11, 13)):  # a batch is read in the order of the file
        image = torch.from_numpy(mix[number].image).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        expected = network.tower.stages[0](image)[0]
        torch.testing.assert_close(features[row].float(), expected, rtol=2e-2, atol=2e-2)
        np.testing.assert_array_equal(masks[row].numpy(), loss_mask(mix[number].mask, 16))

    def refuse(_images):
        raise AssertionError

    again = open_store(tmp_path / "store", mix, range(10, 20), refuse, **arguments)
    assert len(again) == 10
    (tmp_path / "store" / "features.bin").write_bytes(b"cut")
    with pytest.raises(InputError, match="store.*damaged"):
        open_store(tmp_path / "store", mix, range(10, 20), refuse, **arguments)


def test_features_of_another_engine_or_precision_are_computed_anew(industrial_folder, tiny_network, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    fabric = make_fabric(RunOptions(tmp_path, 0, {}, "32-true", "cpu"))
    sums = []
    for name, factor in (("OpenVINO (bf16)", 1.0), ("OpenVINO (f32)", 2.0)):
        task = LiteTask(images, SETTINGS, tmp_path, network=tiny_network(0), keeps_features=True)
        task.encoder_name = name
        task.encode_stage = lambda batch, encode=task.encode_stage, factor=factor: encode(batch) * factor
        sums.append(sum(float(features.float().sum()) for features, *_ in task.batches(0, 0, fabric)))
    assert len(list(tmp_path.glob("crops-*"))) == 2
    assert sums[1] != pytest.approx(sums[0], rel=1e-4)


@pytest.mark.slow
def test_runs_that_differ_in_the_seed_can_share_their_crops(industrial_folder, tiny_network, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    fabric = make_fabric(RunOptions(tmp_path, 0, {}, "32-true", "cpu"))
    tasks = [
        LiteTask(
            images,
            replace(SETTINGS, seed=seed, crop_seed=crops),
            tmp_path,
            network=tiny_network(seed),
            keeps_features=True,
        )
        for seed, crops in ((0, 7), (1, 7), (1, 8))
    ]
    first, second, other = (list(task.batches(0, 0, fabric)) for task in tasks)
    assert len(list(tmp_path.glob("crops-*"))) == 2
    total = {
        name: sum(float(features.float().sum()) for features, *_ in run)
        for name, run in (("first", first), ("second", second), ("other", other))
    }
    assert total["first"] == pytest.approx(total["second"], rel=1e-4)
    assert total["other"] != pytest.approx(total["first"], rel=1e-4)
    assert not torch.equal(first[0][0], second[0][0])  # the order is the seed's


def test_kept_features_give_the_networks_own_map(industrial_folder, tiny_network, tmp_path):
    task = LiteTask(find_images(industrial_folder, LayoutName.INDUSTRIAL), SETTINGS, tmp_path, network=tiny_network(0))
    network = task.network.eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    _, output = task.losses(
        network, (task.encode(images), torch.zeros(2, 16, 16, dtype=torch.bool), torch.zeros(2, dtype=torch.uint8))
    )
    levels = [((level[:, :, 1] - level[:, :, 0] + 1) / 2).sum(dim=1) for level in output.logits]
    with torch.no_grad():
        pair = torch.stack([network.anomaly_map(levels).flatten(), network(images).maps.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.99  # the stage may run in bf16


def test_thin_defects_survive_on_the_loss_grid():
    mask = np.zeros((64, 64), dtype=bool)
    mask[10, 20] = True
    assert loss_mask(mask, 16).sum() == 1
    assert loss_mask(mask, 16)[2, 5]
    assert not loss_mask(np.zeros((64, 64), dtype=bool), 16).any()
    assert loss_mask(np.ones((64, 64), dtype=bool), 16).all()


def test_mean_gram_averages_over_tokens():
    gram = torch.stack([torch.eye(3), torch.ones(3, 3)]).reshape(1, 2, 3, 3)
    torch.testing.assert_close(mean_gram(gram), torch.full((3, 3), 0.5) + 0.5 * torch.eye(3))
