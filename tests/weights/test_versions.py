"""A model's versions: a name means the newest, an earlier one stays reachable."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from PIL import Image

from moeclip_med.weights import registry
from moeclip_med.weights.registry import NAMED_MODELS, PACKAGED, find_folder, packaged_versions
from moeclip_med.weights.store import read_adapters, read_metadata


@pytest.mark.parametrize("name", PACKAGED)
def test_a_name_means_the_newest_version(name):
    versions = packaged_versions(name)
    assert find_folder(name) == NAMED_MODELS[name].folder == versions[max(versions)]


@pytest.mark.parametrize("model", [f"{name}@{version}" for name in PACKAGED for version in packaged_versions(name)])
def test_every_version_names_itself_and_its_adapters_are_whole(model):
    folder = find_folder(model)
    metadata = read_metadata(folder)
    assert f"{metadata.name}@{metadata.version}" == model
    assert read_adapters(folder, metadata)


def test_lite_5_which_earlier_results_cite_is_there():
    assert read_metadata(find_folder("lite@5")).version == "5"


@pytest.mark.parametrize("version", ["99", "latest", ""])
def test_an_unknown_version_is_answered_with_those_that_are_there(version):
    with pytest.raises(InputError, match=r"no such version; the package has .*lite@5"):
        find_folder(f"lite@{version}")


@pytest.fixture
def package_with_a_newer_lite(tmp_path, monkeypatch):
    """The package as a later release would ship it: lite 5 beside a lite 6 that scores otherwise."""
    old, new = find_folder("lite@5"), tmp_path / "data" / "lite" / "6"
    shutil.copytree(old, new.with_name("5"))
    shutil.copytree(old, new)
    metadata = json.loads((new / "metadata.json").read_text(encoding="utf-8"))
    metadata["version"] = "6"
    metadata["score_scale"]["centre"] += 1.0
    (new / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return lambda: monkeypatch.setattr(registry, "files", lambda _: tmp_path)


def test_an_old_run_is_scored_again_by_the_model_that_it_names(invoke, tmp_path, package_with_a_newer_lite):
    pixels = np.random.default_rng(0).integers(90, 150, (64, 64)).astype(np.uint8)
    pixels[20:34, 30:50] += 60
    Image.fromarray(pixels).save(tmp_path / "image.png")

    def score(model, folder):
        options = ("--model", model, "--engine", "torch", "--results", "nifti,run", "-q")
        done = invoke("score", tmp_path / "image.png", "-o", tmp_path / folder, *options)
        assert done.exit_code == 0, done.output
        run = json.loads((tmp_path / folder / "run.json").read_text(encoding="utf-8"))
        return run["model"], nibabel.load(tmp_path / folder / "anomaly.nii.gz").get_fdata()

    cited, before = score("lite", "old")
    package_with_a_newer_lite()
    newest, other = score("lite", "newest")
    again, after = score(f"{cited['name']}@{cited['version']}", "again")

    assert newest["version"] == "6"
    assert not np.array_equal(other, before)
    assert again == cited
    np.testing.assert_array_equal(after, before)
