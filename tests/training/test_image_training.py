"""Training from images: fused losses, a resume that changes nothing, the gate's loss, precision by capability."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from moeclip_med.engines import machine
from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.mix import SampleKind
from moeclip_med.model.architecture import FusedArchitecture
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.training import entry
from moeclip_med.training.entry import choose_precision, timm_architecture
from moeclip_med.training.image_task import ImageTask
from moeclip_med.training.loop import RunOptions, make_fabric, run_training
from moeclip_med.training.objectives import axis_loss, industrial_losses
from moeclip_med.training.settings import LiteSettings, LossWeights

SETTINGS = LiteSettings(
    crops=18, epochs=1, batch_size=6, loss_side=16, held_out=("board",), validation_synthetic=20, validation_images=4
)


def fused(tiny_network) -> FusedNetwork:
    members = [tiny_network(0), tiny_network(1)]
    architecture = FusedArchitecture(tuple(member.architecture for member in members), image_size=64, map_size=32)
    return FusedNetwork(architecture, members)


@pytest.fixture
def start(industrial_folder, tiny_network):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)

    def run(folder, on_step=None):
        task = ImageTask(images, SETTINGS, fused(tiny_network))
        options = RunOptions(folder, 0, task.settings_json(), "32-true", "cpu", save_every=1, log_every=1)
        return task, run_training(task, options, make_fabric(options), on_step)

    return run


class StopError(Exception):
    """Raised by the test in the middle of a run."""


@pytest.mark.slow
def test_an_interrupted_run_ends_exactly_like_an_uninterrupted_one(start, tmp_path):
    whole, progress = start(tmp_path / "whole")
    assert progress.step == 3
    assert 0 < progress.best_score < 1

    def stop(step, _total, _loss):
        if step == 2:
            raise StopError

    with pytest.raises(StopError):
        start(tmp_path / "cut", stop)
    resumed, _ = start(tmp_path / "cut")
    for name, tensor in whole.network.learned_state().items():
        torch.testing.assert_close(resumed.network.learned_state()[name], tensor, rtol=0, atol=0)


def test_all_learned_parts_of_both_networks_get_a_gradient(industrial_folder, tiny_network):
    task = ImageTask(find_images(industrial_folder, LayoutName.INDUSTRIAL), SETTINGS, fused(tiny_network))
    batch = next(iter(task.loader()))
    losses, _ = task.losses(task.network.train(), batch)
    torch.stack(list(losses.values())).sum().backward()
    missing = [name for name, p in task.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert {"patch_1", "patch_2", "axis_1", "fused", "fused_1", "peak"} <= losses.keys()


def test_the_sum_of_logits_is_what_the_fused_loss_sees(tiny_network):
    network = fused(tiny_network).eval()
    (first,), (second,) = (member.forward_images(torch.rand(2, 3, 64, 64)) for member in network.members)
    masks, kinds = torch.zeros(2, 16, 16, dtype=torch.bool), torch.zeros(2)
    together = industrial_losses((first, second), masks, kinds, LossWeights())
    doubled = replace(first, logits=tuple(2 * level for level in first.logits))
    torch.testing.assert_close(
        industrial_losses((first, first), masks, kinds, LossWeights())["fused"],
        industrial_losses((doubled,), masks, kinds, LossWeights())["fused"],
    )
    assert together["fused"] != together["fused_1"]


def test_the_gate_is_told_which_composites_have_an_axis_and_nothing_of_bodies_and_layers():
    kinds = torch.tensor([SampleKind.SYMMETRIC, SampleKind.TUBE, SampleKind.BODY, SampleKind.LAYERED])
    right, wrong = torch.tensor([4.0, -4.0, 9.0, 9.0]), torch.tensor([-4.0, 4.0, 9.0, 9.0])
    assert axis_loss(right, kinds) < 0.05
    assert axis_loss(wrong, kinds) > 3
    assert axis_loss(right, kinds) == axis_loss(right * torch.tensor([1, 1, -1, -1]), kinds)


def test_a_kind_that_is_drawn_more_often_does_not_tip_the_gate():
    few = torch.tensor([SampleKind.SYMMETRIC, SampleKind.TUBE])
    many = torch.tensor([SampleKind.SYMMETRIC] + 9 * [SampleKind.TUBE])
    logits = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(axis_loss(logits[[0] + 9 * [1]], many), axis_loss(logits, few))
    assert axis_loss(logits[1:], few[1:]) > 0, "a batch of one side alone"


def test_the_gate_learns_within_the_steps_of_a_short_run(industrial_folder, tiny_network):
    """Its few weights take AdamW's small steps: at the speed of the rest it stayed at one half for every image."""
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    task = ImageTask(images, SETTINGS, tiny_network(0))
    gate = task.network.axis_gate
    cues = torch.tensor([[0.9, 0.9, 1.0, 0.1, 0.0], [0.1, 0.4, 1.0, 0.1, 0.0]])
    kinds = torch.tensor([SampleKind.SYMMETRIC, SampleKind.REAL])
    for _ in range(150):
        task.optimizer.zero_grad()
        axis_loss(gate(cues), kinds).backward()
        task.optimizer.step()
    with_axis, without = gate(cues).sigmoid().tolist()
    assert with_axis > 0.9
    assert without < 0.1


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_precision_follows_what_the_processor_can(monkeypatch, native, precision):
    monkeypatch.setattr(machine, "torch_has_native_bf16", lambda: native)
    found, why = choose_precision(None, "cpu")
    assert found == precision
    assert ("has bf16" in why) == native
    assert choose_precision("32-true", "cpu")[0] == "32-true"


def test_a_transformer_of_timm_gets_experts_after_each_quarter_of_its_blocks():
    architecture = timm_architecture("timm:vit_large_patch14_dinov2.lvd142m")
    assert architecture.levels == (6, 12, 18, 24)
    assert architecture.image_size == 518
    assert architecture.tower.pretrained == "lvd142m"
    assert timm_architecture("timm:vit_small_patch16_dinov3.lvd1689m").image_size == 512


def test_the_command_says_the_precision_and_why(monkeypatch, invoke, industrial_folder, tmp_path):
    monkeypatch.setattr(entry, "train_lite", lambda request, *_: tmp_path / request.precision)
    command = ["train", "--recipe", "lite", "--data", f"industrial={industrial_folder}", "--hold-out", "board"]
    for options, said in (
        ([], "32-true: the recipe's own"),
        (["--precision", "bf16-mixed"], "bf16-mixed: as asked for"),
    ):
        result = invoke(*command, "-o", str(tmp_path), *options)
        assert f"precision {said}" in result.stdout
