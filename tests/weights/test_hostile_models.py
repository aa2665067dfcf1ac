"""A model folder from a stranger: numbers, sizes, depths and texts that no model has."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moeclip_transforms.errors import InputError

from moeclip_med.export.bundle import write_bundle_files
from moeclip_med.model.named_architectures import lite_architecture
from moeclip_med.weights import ModelMetadata, Threshold
from moeclip_med.weights.metadata import uncalibrated_scale
from moeclip_med.weights.store import METADATA, read_metadata

CODE = "$__import__('os').system('touch run-by-a-stranger')"


def plain() -> dict:
    architecture = lite_architecture()
    made = ModelMetadata(
        name="m", version="1", architecture=architecture, score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "made"), licence="MIT", tower_licence="MIT",
    )  # fmt: skip
    return json.loads(json.dumps(made.to_json()))


def put(data: dict, path: str, value: object) -> dict:
    *way, last = path.split(".")
    place = data
    for name in way:
        place = place[name]
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("threshold.value", float("nan")),
        ("threshold.value", 7),
        ("score_scale.centre", float("inf")),
        ("score_scale.spread", 0),
        ("architecture.image_size", 5.0),
        ("architecture.image_size", 10**9),
        ("architecture.image_size", True),
        ("architecture.map_size", 0),
        ("architecture.levels", list(range(1, 500))),
        ("architecture.levels", [10**8]),
        ("architecture.std", [0.0, 1.0, 1.0]),
        ("architecture.mean", [float("nan")] * 3),
        ("architecture.experts.count", 10**9),
        ("architecture.experts.rank", -1),
        ("architecture.windows", []),
        ("architecture.logit_scale", float("-inf")),
        ("version", CODE),
        ("version", "1\x1b[2J"),
        ("version", "../1"),
        ("name", CODE),
        ("licence", "  " + CODE),
        ("licence", "@network_def"),
        ("licence", "%weights"),
        ("notes", ["$import os"]),
        ("notes", ["x"] * 20_000),
        ("licence", "x" * 100_000),
        ("training", {"$a": "b"}),
        ("training", {"a": 10**400}),
        ("weak_kinds", []),
    ],
)
def test_what_no_model_has_is_refused_with_its_place(tmp_path, path, value):
    (tmp_path / METADATA).write_text(json.dumps(put(plain(), path, value)))
    with pytest.raises(InputError) as caught:
        read_metadata(tmp_path)
    assert len(str(caught.value)) < 700
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"1" * 5000, b"{" + b" " * 5_000_000 + b"}", b"\xff\xfe", b"", b"null", b'{"format": 1e400}'],
    ids=["deep", "5000 digits", "long", "not UTF-8", "empty", "null", "infinite"],
)
def test_what_is_no_description_is_refused(tmp_path, content):
    (tmp_path / METADATA).write_bytes(content)
    with pytest.raises(InputError):
        read_metadata(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(CODE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def paths(data: object, before: str = "") -> list[str]:
    if not isinstance(data, dict):
        return []
    return [path for name, item in data.items() for path in (before + name, *paths(item, f"{before}{name}."))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(paths(plain())), JSON)
def test_any_value_anywhere_is_taken_or_refused(tmp_path, path, value):
    (tmp_path / METADATA).write_text(json.dumps(put(plain(), path, value)))
    try:
        metadata = read_metadata(tmp_path)
    except InputError:
        return
    assert CODE not in json.dumps(metadata.to_json())


def test_a_description_that_became_code_on_another_way_is_not_exported(tmp_path):
    from dataclasses import replace

    metadata = ModelMetadata.from_json(plain())
    with pytest.raises(InputError, match="code in a MONAI bundle"):
        write_bundle_files(replace(metadata, version=CODE), tmp_path)
    assert not (tmp_path / "configs" / "metadata.json").exists()
