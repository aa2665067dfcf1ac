"""Compiled models are kept, told apart, hashed before they are loaded, and removed when unused."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from dataclasses import replace

import pytest
import torch
from engine_images import images_for

from moeclip_med.engines import make_engine, model_cache, openvino_models
from moeclip_med.engines.base import EngineWarning, Precision
from moeclip_med.engines.quantization_images import CalibrationImages

pytestmark = pytest.mark.usefixtures("cache")


def test_the_compiled_model_is_kept(small_transformer, monkeypatch):
    make_engine(small_transformer, engine="openvino", precision="f32")
    monkeypatch.setattr(openvino_models, "convert", lambda _: pytest.fail("converted again"))
    made = make_engine(small_transformer, engine="openvino", precision="f32")
    assert made.run(images_for(small_transformer, 1)).maps.shape == (1, 112, 112)


@pytest.fixture
def kept(small_transformer, tmp_path, monkeypatch):
    """A cache of its own with one compiled model: what makes an engine, its maps, and the two files."""
    monkeypatch.setenv("MOECLIP_MED_CACHE", str(tmp_path))

    def make():
        made = make_engine(small_transformer, engine="openvino", precision="f32", threads=1)
        return made.run(images_for(small_transformer, 1)).maps

    maps = make()
    (blob,) = (tmp_path / "compiled").glob("*.blob")
    return make, maps, blob, blob.with_suffix(".json")


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob, record: _flip(blob, len(blob.read_bytes()) // 2),
        lambda blob, record: blob.write_bytes(blob.read_bytes()[:-4096]),
        lambda blob, record: blob.write_bytes(b""),
        lambda blob, record: record.write_text('{"correlation": NaN, "largest": 0, "sha256": ""}'),
        lambda blob, record: record.write_text('{"correlation": 1' + "0" * 400 + ', "largest": 0, "sha256": ""}'),
        lambda blob, record: record.write_text("[" * 5000),
        lambda blob, record: record.write_text("[]"),
        pytest.param(
            lambda blob, record: (record.unlink(), os.mkfifo(record)),
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name"),
        ),
    ],
    ids=["altered", "truncated", "empty", "no number", "immense", "deep", "another form", "pipe"],
)
def test_a_damaged_compiled_model_is_never_loaded_but_built_again_and_said(kept, damage):
    make, maps, blob, record = kept
    damage(blob, record)
    with pytest.warns(EngineWarning, match="is damaged .*; it is compiled again"):
        again = make()
    assert torch.equal(again, maps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(make(), maps), "the next start finds a whole one"


def test_a_whole_file_that_openvino_cannot_load_is_built_again(kept):
    make, maps, blob, record = kept
    facts = json.loads(record.read_text())
    content = b"\x00" * 100
    blob.write_bytes(content)
    record.write_text(json.dumps({**facts, "sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.warns(EngineWarning, match="cannot load its compiled model"):
        assert torch.equal(make(), maps)


def test_where_nothing_can_be_kept_it_goes_on_and_says_so(small_transformer, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOECLIP_MED_CACHE", str(tmp_path / "file"))  # a folder cannot be made below a file
    with pytest.warns(EngineWarning, match="MOECLIP_MED_CACHE"):
        made = make_engine(small_transformer, engine="openvino", precision="f32", threads=1)
    assert made.run(images_for(small_transformer, 1)).maps.isfinite().all()


def test_models_unused_for_longest_and_old_drafts_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(model_cache, "MOST_BYTES", 250)
    names = {age: f"{age:064x}" for age in (1, 2, 3)}
    for age, name in names.items():
        for suffix in (".blob", ".json"):
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(b"x" * 60)
            os.utime(path, (time.time() - age * 1000,) * 2)
    draft = tmp_path / f".{names[1]}.blob.{'a' * 32}.part"
    draft.touch()
    os.utime(draft, (0, 0))
    (tmp_path / "somebody else's").touch()
    model_cache.prune(tmp_path, keep=names[3])
    assert {path.stem for path in tmp_path.iterdir()} == {names[1], names[3], "somebody else's"}


@pytest.mark.slow
def test_two_processes_may_compile_the_same_model_at_once(small_transformer, cache, monkeypatch):
    compile_it, nested = openvino_models.compile_model, []

    def compile_while_another_does(recipe):
        if not nested:  # the other process starts and finishes while this one is compiling
            nested.append(True)
            openvino_models.compiled_model(recipe)
        return compile_it(recipe)

    monkeypatch.setattr(openvino_models, "compile_model", compile_while_another_does)
    made = make_engine(small_transformer, engine="openvino", precision="f32", threads=1)
    assert nested
    assert made.run(images_for(small_transformer, 1)).maps.isfinite().all()
    assert not list(cache.rglob("*.part"))


def test_the_key_changes_with_what_the_compiled_model_depends_on(lite):
    images = CalibrationImages(None, 4)
    first = openvino_models.ModelRecipe(lite, Precision.F32, False, None, images)
    others = [
        replace(first, precision=Precision.INT8),
        replace(first, want_routing=True),
        replace(first, threads=1),
        replace(first, precision=Precision.INT8, calibration=CalibrationImages(None, 5)),
    ]
    assert len({recipe.key() for recipe in [first, *others]}) == 5
    assert first.key() == replace(first).key()


def test_weights_without_a_known_hash_are_told_apart_by_their_values(small_transformer):
    images = CalibrationImages(None, 4)
    first = openvino_models.ModelRecipe(small_transformer, Precision.F32, False, None, images).key()
    text = small_transformer.network.experts[0].router
    with torch.no_grad():
        text.add_(0.01)
        second = openvino_models.ModelRecipe(small_transformer, Precision.F32, False, None, images).key()
        text.sub_(0.01)
    assert first != second
