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
    ("data", "named"),
    [
        (broken(colour=1), ["architecture:", "'colour'", "tower, levels", "newer version"]),
        (broken(experts={"count": 4, "sort": "a"}), ["architecture.experts:", "'sort'", "count, top_k"]),
        (broken(blur={"kernel": 9, "x\n" * 400: 1}), ["architecture.blur"]),
        ({}, ["architecture:", "missing", "tower"]),
        (broken(levels="6"), ["architecture.levels:", "array", "str"]),
        (broken(image_size="518"), ["architecture.image_size:", "int", "str"]),
        (broken(image_size=True), ["architecture.image_size:", "int", "bool"]),
        (broken(image_size=518.0), ["architecture.image_size:", "int", "float"]),
        (broken(logit_scale=True), ["architecture.logit_scale:", "float", "bool"]),
        (broken(logit_scale=float("nan")), ["architecture.logit_scale:", "nan", "1e+12"]),
        (broken(logit_scale=10**400), ["architecture.logit_scale:", "1000", "1e+12"]),
        (broken(prompts="typed"), ["architecture.prompts:", "'typed'"]),
        (broken(mean=[0.5]), ["architecture.mean:", "3", "1"]),
        (broken(blur={"kernel": 9}), ["architecture.blur:", "missing", "sigma"]),
        (broken(tower=3), ["architecture.tower:", "object", "int"]),
        (broken(tower={"name": "@network"}), ["architecture.tower.name:", "'@network'", "code"]),
        (broken(levels=[[[]]]), ["architecture.levels[0]:", "int", "array"]),
        (broken(levels=[6, 6]), ["architecture.levels:", "(6, 6)", "ascending"]),
        (broken(windows=[2]), ["architecture:", "window of 2", "odd"]),
        (broken(token_inputs=["surroundings"]), ["architecture.surroundings:", "0 kernels for 4 levels"]),
        (broken(token_inputs=["mirror_counts"]), ["architecture.token_inputs:", '"mirror_counts"', '"intensity"']),
        ([], ["architecture:", "object", "array"]),
    ],
)
def test_what_does_not_fit_is_refused(data, named):
    with pytest.raises(InputError) as error:
        Architecture.from_json(data)
    assert not [token for token in named if token not in str(error.value)], error.value
    assert len(str(error.value)) < 700


def test_a_description_nested_without_end_is_refused():
    deep = []
    for _ in range(900):
        deep = [deep]
    with pytest.raises(InputError, match="nested at most 40 deep"):
        Architecture.from_json(broken(levels=deep))


def test_what_was_read_writes_its_defaults_too():
    data = broken()
    del data["mean"], data["experts"]["rank"]
    assert Architecture.from_json(data).to_json() == paper_architecture().to_json()


def test_a_whole_number_stands_for_a_float():
    assert Architecture.from_json(broken(logit_scale=100)).logit_scale == 100.0


def test_text_prompts_need_a_text_tower():
    with pytest.raises(InputError, match='"tf_efficientnet_lite2" has no text tower; use "learned"'):
        replace(lite_architecture(), prompts="text")


def test_describing_a_model_does_not_load_torch():
    import subprocess
    import sys

    code = (
        "import sys, moeclip_med.model, moeclip_med.weights.metadata, moeclip_med.weights.registry, "
        "moeclip_med.cli.weights; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
