"""`moeclip-med weights`: what it prints and what it writes."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from moeclip_transforms.errors import InputError
from released_file import released_checkpoint

from moeclip_med.weights.store import save_model


@pytest.fixture
def run(invoke):
    return partial(invoke, "weights")


@pytest.fixture
def folder(tmp_path, tiny_model):
    save_model(tmp_path / "model", *tiny_model)
    return tmp_path / "model"


def test_list_names_every_model_and_says_which_are_here(run, cache, tiny_model):
    save_model(cache / "models" / "mine", *tiny_model)
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert {"lite", "vit-l-14-336", "mine", "clip-zero-shot:<open_clip name>"} <= set(rows)
    assert not rows["vit-l-14-336"]["is_ready"]
    assert rows["mine"]["is_ready"]
    table = run("list").stdout
    assert "vit-l-14-336" in table
    assert "not here" in table


def test_list_goes_on_where_the_cache_cannot_be_looked_at(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MOECLIP_MED_CACHE", str(tmp_path / ("x" * 300)))  # its name is too long for any file system
    done = run("list", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["lite"]["is_ready"]
    assert not rows["vit-l-14-336"]["is_ready"]
    assert "cannot be looked at" in done.stderr


def test_show_prints_what_is_known(run, folder):
    data = json.loads(run("show", folder, "--json").stdout)
    assert data["architecture"]["tower"]["name"] == "Tiny-8"
    assert len(data["identity_sha256"]) == 64
    text = run("show", folder).stdout
    assert "centre 6, spread 6 (uncalibrated)" in text
    assert data["adapters_sha256"][:40] in text


def test_import_writes_a_model_into_the_cache_and_tells_what_it_assumed(run, cache, tmp_path, tiny_weights):
    path = tmp_path / "moe_last.pth"
    torch.save(released_checkpoint(), path)
    options = ("--name", "mine", "--tower", "Tiny-8", "--pretrained", tiny_weights, "--image-size", 96)
    result = run("import", path, *options, "--top-k", 1)
    assert result.exit_code == 0, result.output
    assert "top-k 1, activation gelu and mixing weight 0.1 were assumed, not read" in result.stderr.replace("\n", " ")
    assert (cache / "models" / "mine" / "metadata.json").is_file()
    report = json.loads(run("verify", "mine", "--json").stdout)
    assert report["is_complete"]
    assert report["checks"]["adapters' shapes"] == "fit the tower"


def test_import_refuses_a_contradiction(run, tmp_path, tiny_is_known):
    path = tmp_path / "moe_last.pth"
    torch.save(released_checkpoint(), path)
    with pytest.raises(InputError, match="experts: 8 expected, but the checkpoint's shapes say 4"):
        run("import", path, "--tower", "Tiny-8", "--experts", 8)


def test_verify_finds_a_changed_file(run, folder):
    assert run("verify", folder).exit_code == 0
    content = bytearray((folder / "adapters.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "adapters.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="adapters.safetensors"):
        run("verify", folder)


def test_a_model_without_adapters_cannot_be_shown(run):
    with pytest.raises(InputError, match="has no adapters on this machine"):
        run("show", "vit-b-16")
