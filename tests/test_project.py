"""What has to agree across the project's own files."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rattler_build import Stage0Recipe, VariantConfig

from moeclip_med import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PACKAGES = [ROOT / "moeclip_med", ROOT / "transforms", ROOT / "napari_plugin"]

APART = {"duo"}
"""Extras that are installed by themselves: what they need does not go together with the others."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    """The versions that a constraints file sets, by package."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    parts = [line.split("#")[0].strip().split("==") for line in lines if "==" in line.split("#")[0]]
    return {normal(name): version.split(";")[0].strip() for name, version in parts}


def floors() -> dict[str, str]:
    """The lowest version that pyproject.toml promises for each package."""
    extras = {name: lines for name, lines in PROJECT["project"]["optional-dependencies"].items() if name not in APART}
    wanted = [*PROJECT["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]
    found = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(?:>=|==)([0-9][^,;]*)")
    bounds = {(normal(match[1]), match[2].strip()) for match in map(found.match, wanted) if match}
    assert len(dict(bounds)) == len(bounds), "one package has two floors, and the lower one is never tested"
    return dict(bounds)


@pytest.mark.parametrize(
    ("file", "pattern"), [("CITATION.cff", r"^version: (\S+)$"), ("conda/recipe.yaml", r"^  version: (\S+)$")]
)
def test_versions_agree(file, pattern):
    assert re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) == [__version__]


def test_every_direct_dependency_is_pinned():
    assert not sorted(set(floors()) - set(pins("constraints.txt")))


def test_every_pinned_package_runs_on_the_oldest_python_that_is_promised():
    """Debian 12 has Python 3.11.2: a pin that asks for 3.11.5 stops the installation there."""
    pinned = pins("constraints.txt")
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    refusing = {
        package.name: wanted
        for package in distributions()
        if pinned.get(normal(package.name)) == package.version
        and (wanted := package.metadata.get("Requires-Python"))
        and not SpecifierSet(wanted).contains(oldest)
    }
    assert not refusing


def test_the_lowest_versions_are_those_that_are_promised():
    lowest = pins("constraints-lowest.txt")
    assert {name: Version(lowest[name]) for name in floors()} == {name: Version(low) for name, low in floors().items()}


def test_the_conda_recipe_is_valid_and_names_the_same_dependencies():
    (rendered,) = Stage0Recipe.from_file(str(ROOT / "conda" / "recipe.yaml")).render(VariantConfig())
    text = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    run = dict(re.findall(r"^    - (\S+) (\S+)$", text.split("  run:\n")[1].split("\n\n")[0], re.MULTILINE))
    own = [re.match(r"([A-Za-z0-9_.-]+)(.*)", line).groups() for line in PROJECT["project"]["dependencies"]]
    expected = {
        {"torch": "pytorch", "huggingface-hub": "huggingface_hub"}.get(normal(name), normal(name)): bound
        for name, bound in own
    }

    assert rendered.recipe.package.name == "moeclip-med"
    assert run == {"python": PROJECT["project"]["requires-python"], **expected}


def test_one_name_stands_for_one_thing():
    modules, classes = Counter(), Counter()
    for path in [path for package in PACKAGES for path in package.rglob("*.py")]:
        modules[path.stem] += not path.stem.startswith("__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert {name for name, count in modules.items() if count > 1} == {"nifti"}, "NIfTI is read, and written"
    assert {name for name, count in classes.items() if count > 1} == set()
