"""Training that begins with models trained before: what is taken from which, and what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.model.architecture import FusedArchitecture
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.training import entry
from moeclip_med.training.entry import TrainRequest
from moeclip_med.training.start import Start, start_from
from moeclip_med.weights.loading import build_network, load_model
from moeclip_med.weights.metadata import ModelMetadata, Threshold, TrainingData, uncalibrated_scale
from moeclip_med.weights.store import save_model


@pytest.fixture
def saved(tmp_path, tiny_network):
    """A function that saves a network with one value everywhere as a model folder, and gives its name."""

    def save(name, network, value):
        for tensor in network.learned_state().values():
            tensor.fill_(value)
        scale = uncalibrated_scale(network.architecture)
        metadata = ModelMetadata(name, "1", network.architecture, scale, Threshold(0.5, "a test"), "Apache-2.0")
        metadata = replace(metadata, training_data=(TrainingData(f"of {name}", "CC0-1.0"),))
        save_model(tmp_path / name, network.learned_state(), metadata)
        return str(tmp_path / name)

    return save


def of_tower(network, name):
    """The network as one around another tower."""
    network.architecture = replace(network.architecture, tower=replace(network.architecture.tower, name=name))
    return network


def fused(*members):
    architecture = FusedArchitecture(tuple(member.architecture for member in members), image_size=64, map_size=32)
    return FusedNetwork(architecture, members)


def values(network):
    return {value for tensor in network.learned_state().values() for value in tensor.unique().tolist()}


def test_each_network_takes_the_weights_of_its_tower_the_last_named_over_those_before(saved, tiny_network):
    both = saved("both", fused(of_tower(tiny_network(1), "first"), of_tower(tiny_network(1), "second")), 3.0)
    one = saved("one", of_tower(tiny_network(1), "first"), 5.0)
    network = fused(of_tower(tiny_network(0), "first"), of_tower(tiny_network(0), "second"))
    begin = start_from(network, (both, one))
    assert [values(member) for member in network.members] == [{5.0}, {3.0}]
    assert len(begin.sha256) == 64
    assert begin.models == ("both 1", "one 1")
    assert {data.name for data in begin.training_data} == {"of both", "of one"}
    alone = of_tower(tiny_network(0), "second")
    start_from(alone, (both,))
    assert values(alone) == {3.0}
    assert start_from(network, ()) == Start()
    alike = fused(tiny_network(0), tiny_network(0))  # two networks of one tower keep their places
    source = fused(tiny_network(1), tiny_network(1))
    folder = saved("alike", source, 1.0)
    start_from(alike, (folder,))
    assert [values(member) for member in alike.members] == [{1.0}, {1.0}]


def test_a_model_of_another_tower_or_shape_is_refused_and_named(saved, tiny_network):
    other = saved("other", of_tower(tiny_network(1), "elsewhere"), 1.0)
    wide = tiny_network(1)
    wide.experts[0].register_parameter("unknown", torch.nn.Parameter(torch.zeros(3)))
    unknown = saved("unknown", wide, 1.0)
    for name in (other, unknown):
        network = tiny_network(0)
        before = {key: tensor.clone() for key, tensor in network.learned_state().items()}
        with pytest.raises(InputError) as caught:
            start_from(network, (name,))
        assert not lacking(caught.value, "--start-from", name, "do not fit", "name a model of the same recipe")
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.learned_state().items())
    with pytest.raises(InputError, match="nowhere"):
        start_from(tiny_network(0), ("nowhere",))


def test_lite_starts_from_the_shipped_model_and_the_run_records_it(industrial_folder, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(entry, "_run", lambda task, *_: seen.append(task) or tmp_path)
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    request = TrainRequest("lite", images, tmp_path, hold_out=("board",), crops=32, start_from=("lite",))
    entry.train(request)
    (task,) = seen
    shipped = load_model("lite").network.learned_state()
    state = task.network.learned_state()
    assert all(torch.equal(state[key], tensor) for key, tensor in shipped.items())
    fresh = build_network(lite_architecture(), seed=0)[0].learned_state()
    assert all(torch.equal(state[key], fresh[key]) for key in state.keys() - shipped.keys())
    assert len(task.settings.starts_from) == 64
    assert task.settings.steps_per_epoch == 2


def test_a_held_out_category_that_the_start_was_trained_on_is_refused(industrial_folder, tmp_path):
    images = find_images(industrial_folder, LayoutName.INDUSTRIAL)
    renamed = tuple(replace(one, category="pcb") if one.category == "board" else one for one in images)
    with pytest.raises(InputError) as caught:
        entry.train(TrainRequest("lite", renamed, tmp_path, hold_out=("pcb",), start_from=("lite",)))
    assert not lacking(caught.value, "--hold-out", "pcb", "lite 5", "trained on it", "hold out another")


def test_a_network_that_compares_with_its_mirror_image_is_trained_in_float32(tiny_network, monkeypatch):
    seen = []

    def forward(self, _images):
        seen.append((self.architecture.has_mirror, torch.is_autocast_enabled("cpu")))
        return ()

    monkeypatch.setattr(MoEClip, "forward_images", forward)
    plain = tiny_network(1)
    plain.architecture = replace(plain.architecture, token_inputs=("normalised",))
    network = fused(tiny_network(0), plain)
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            network.forward_images(torch.rand(1, 3, 64, 64))
    assert seen == [(True, False), (False, True), (True, False), (False, False)]
