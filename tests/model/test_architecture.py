"""The description of a network: to JSON and back, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import Architecture
from moeclip_med.model.named_architectures import lite_architecture, paper_architecture


@pytest.mark.parametrize("architecture", [lite_architecture(), paper_architecture()])
def test_an_architecture_survives_the_way_through_json(architecture):
    assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


def test_the_papers_setting_is_the_papers():
    paper = paper_architecture()
    assert paper.levels == (6, 12, 18, 24)
    assert paper.windows == (1, 3, 5)
    assert (paper.experts.count, paper.experts.top_k, paper.experts.rank, paper.experts.alpha) == (4, 2, 8, 16.0)
    assert (paper.experts.mixing, paper.experts.dropout) == (0.1, 0.05)
    assert (paper.image_size, paper.map_size, paper.logit_scale, paper.map_count) == (518, 518, 100.0, 12)
    assert paper.tower.activation == "quick_gelu"


def broken(**changes):
    return paper_architecture().to_json() | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken(colour=1), 'architecture: unknown key "colour"; known keys are '),
        ({}, 'architecture: missing key "tower", "levels", "experts"'),
        (broken(levels="6"), "architecture.levels: expected a list, found '6'."),
        (broken(image_size="518"), "architecture.image_size: expected int, found '518'."),
        (broken(image_size=True), "architecture.image_size: expected int, found True."),
        (broken(prompts="typed"), 'architecture.prompts: \'typed\' is none of "text", "learned".'),
        (broken(mean=[0.5]), "architecture.mean: expected 3 values, found 1."),
        (broken(blur={"kernel": 9}), 'architecture.blur: missing key "sigma"; the file is incomplete.'),
        (broken(tower=3), "architecture.tower: expected an object with named values, found 3."),
        (broken(levels=[6, 6]), "architecture.levels: (6, 6) is not an ascending list of blocks from 1."),
        (broken(windows=[2]), "architecture: window of 2 tokens; windows and surroundings must be odd."),
        (
            broken(token_inputs=["surroundings"]),
            "architecture.surroundings: 0 kernels for 4 levels; give one per level.",
        ),
        (
            broken(token_inputs=["mirror_counts"]),
            'architecture.token_inputs: "mirror_counts" needs "intensity" beside it.',
        ),
        ([], "architecture: expected an object with named values, found []."),
    ],
)
def test_what_does_not_fit_is_refused(data, message):
    with pytest.raises(InputError) as error:
        Architecture.from_json(data)
    assert str(error.value).startswith(message)


def test_a_whole_number_stands_for_a_float():
    assert Architecture.from_json(broken(logit_scale=100)).logit_scale == 100.0


def test_text_prompts_need_a_text_tower():
    with pytest.raises(InputError, match='tower "tf_efficientnet_lite2" has no text tower; use "learned" prompts'):
        replace(lite_architecture(), prompts="text")


def test_describing_a_model_does_not_load_torch():
    import subprocess
    import sys

    code = (
        "import sys, moeclip_med.model, moeclip_med.weights.metadata, moeclip_med.weights.registry, "
        "moeclip_med.cli.weights; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
