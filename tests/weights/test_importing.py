"""Released checkpoints: what shapes tell is checked, what they cannot tell is said."""

from __future__ import annotations

import pytest
import torch
from moeclip_transforms.errors import InputError
from released_file import released_checkpoint
from sentences import lacking

from moeclip_med.weights.importing import ReleasedOptions, import_released
from moeclip_med.weights.store import read_adapters, read_metadata

OPTIONS = ReleasedOptions(tower="Tiny-8", image_size=64)


@pytest.fixture
def write(tmp_path, tiny_is_known):
    def write(checkpoint):
        path = tmp_path / "moe_last.pth"
        torch.save(checkpoint, path)
        return path

    return write


def test_a_released_checkpoint_becomes_a_model_folder(write, tmp_path):
    checkpoint = released_checkpoint()
    metadata = import_released(write(checkpoint), tmp_path / "model", "mine", OPTIONS)
    architecture = metadata.architecture
    assert (architecture.experts.count, architecture.experts.rank, architecture.levels) == (4, 4, (1, 2, 3, 4))
    assert architecture.tower.activation == "gelu"
    assert not architecture.projection.ends_with_activation
    assert read_metadata(tmp_path / "model") == metadata
    state = read_adapters(tmp_path / "model", metadata)
    image = checkpoint["image_adapter"]
    torch.testing.assert_close(state["experts.2.up"][3], image["moe_adapters.2.experts.3.lora_B.weight"])
    torch.testing.assert_close(state["experts.2.down"][1], image["moe_adapters.2.experts.1.lora_A.weight"])
    torch.testing.assert_close(state["projections.3.0.weight"], image["seg_proj.3.fc.weight"])


def test_what_was_assumed_is_noted(write, tmp_path):
    metadata = import_released(write(released_checkpoint()), tmp_path / "model", "mine", OPTIONS)
    tokens = (
        ("released checkpoint", "top-k 2", "activation gelu", "mixing weight 0.1", "assumed"),
        ("hash of the tower", "not checked"),
        ("uncalibrated", "formula"),
    )
    assert [lacking(note, *some) for note, some in zip(metadata.notes, tokens, strict=True)] == [[]] * 3
    assert metadata.score_scale.source == "uncalibrated"
    assert not metadata.threshold.is_calibrated


def test_an_imported_model_runs_on_its_tower(write, tmp_path, tiny_weights):
    from moeclip_med.weights import load_model

    import_released(write(released_checkpoint()), tmp_path / "model", "mine", OPTIONS)
    # The tag "openai" does not exist for this tower; its weights are given as a file.
    with pytest.raises(InputError, match='no weights "openai" for "Tiny-8".*none; or give a file'):
        load_model(tmp_path / "model")
    options = ReleasedOptions(tower="Tiny-8", pretrained=str(tiny_weights), image_size=96)
    import_released(write(released_checkpoint()), tmp_path / "model", "mine", options)
    loaded = load_model(tmp_path / "model")
    with torch.inference_mode():
        assert torch.isfinite(loaded.network(torch.zeros(1, 3, 96, 96), loaded.text).maps).all()


def test_the_projection_with_an_activation_is_recognised(write, tmp_path):
    metadata = import_released(write(released_checkpoint(activated=True)), tmp_path / "model", "mine", OPTIONS)
    assert metadata.architecture.projection.ends_with_activation


def test_other_numbers_of_experts_and_ranks_are_read_from_the_shapes(write, tmp_path):
    metadata = import_released(write(released_checkpoint(experts=2, rank=6)), tmp_path / "model", "mine", OPTIONS)
    assert (metadata.architecture.experts.count, metadata.architecture.experts.rank) == (2, 6)


def test_overlapping_experts_are_noted(write, tmp_path):
    checkpoint = released_checkpoint()
    checkpoint["image_adapter"]["moe_adapters.0.experts.0.lora_A.weight"] += 1
    metadata = import_released(write(checkpoint), tmp_path / "model", "mine", OPTIONS)
    assert not lacking(metadata.notes[-1], "A overlap", "without FOFS")


@pytest.mark.parametrize(
    ("shape", "options", "tokens"),
    [
        ({}, {"experts": 8}, ["experts: 8 expected", "4; correct"]),
        ({}, {"rank": 8}, ["rank: 8 expected", "4; correct"]),
        ({"levels": 3}, {}, ["levels: 4 expected", "3; "]),
        ({"width": 128}, {}, ["width of Tiny-8: 64 expected", "128; "]),
        ({"text_width": 16}, {}, ["text tower of Tiny-8: 32 expected", "16; "]),
        ({}, {"top_k": 5}, ["architecture.experts", "top_k 5", "1 to 4"]),
    ],
)
def test_a_contradiction_names_both_values(write, tmp_path, shape, options, tokens):
    from dataclasses import replace

    with pytest.raises(InputError) as error:
        import_released(write(released_checkpoint(**shape)), tmp_path / "model", "mine", replace(OPTIONS, **options))
    assert not lacking(error.value, *tokens)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("text_adapter"), 'expected "image_adapter" and "text_adapter", found epoch'),
        (
            lambda c: c["image_adapter"].update(extra=torch.ones(1)),
            'released checkpoint: unknown tensor "image_adapter.extra".',
        ),
        (
            lambda c: c["image_adapter"].pop("moe_adapters.1.experts.2.lora_B.weight"),
            "released checkpoint: level 1 lacks lora_B of expert 2.",
        ),
        (
            lambda c: c["image_adapter"].pop("moe_adapters.1.gate.weight"),
            "number of levels: 4 expected",
        ),
        (
            lambda c: c["text_adapter"].clear(),
            'released checkpoint: "text_adapter" holds nothing, expected 0.fc.0.weight',
        ),
        (
            lambda c: c["image_adapter"]["seg_proj.0.fc.weight"].fill_(float("nan")),
            'tensor "projections.0.0.weight" holds NaN or infinity',
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(write, tmp_path, change, message):
    checkpoint = released_checkpoint()
    change(checkpoint)
    with pytest.raises(InputError) as error:
        import_released(write(checkpoint), tmp_path / "model", "mine", OPTIONS)
    assert message in str(error.value)


def test_a_pickle_that_runs_code_is_never_run(tmp_path, write):
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return marker.touch, ()

    with pytest.raises(InputError, match="Python objects .*never loaded"):
        import_released(write({"image_adapter": Attack()}), tmp_path / "model", "mine", OPTIONS)
    assert not marker.exists()
