"""A model's versions: a name means the newest, an earlier one stays reachable."""

from __future__ import annotations

import pytest
from moeclip_transforms.errors import InputError

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
