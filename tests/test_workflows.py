"""What the workflows and `.ci/run` call exists: targets of make, scripts, extras, markers of tests."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def commands(path: Path) -> list[str]:
    if path.suffix != ".yml":
        return path.read_text(encoding="utf-8").splitlines()
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    steps = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    return [line for step in steps for line in step.splitlines()]


@pytest.fixture(scope="module")
def targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_every_command_of_a_step_exists(path, targets):
    lines = commands(path)
    assert lines
    for line in lines:
        for target in re.findall(r"\bmake ([a-z-]+)", line):
            assert target in targets, line
        for script in re.findall(r"\bscripts/[\w.-]+", line):
            assert os.access(ROOT / script, os.X_OK if "." not in script else os.R_OK), line
        for extras in re.findall(r"\"\.\[([a-z,]+)\]\"", line):
            assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"]), line
        for expression in re.findall(r"(?:-m|python) \"([a-z ]+)\"", line):
            known = {marker.split(":")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
            assert set(expression.split()) <= known | {"not", "and", "or"}, line
        for file in re.findall(r"--constraint (\S+)", line):
            assert (ROOT / file).is_file(), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_has_more_rights_than_it_names(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())


def test_pages_and_readme_are_run_by_some_workflow():
    """Their blocks are slow tests."""
    assert any("make test-all" in line for path in WORKFLOWS for line in commands(path))


def test_a_job_tests_the_lowest_versions_of_every_extra():
    """But `duo`, which is installed by itself; its one floor beside a pinned package is that of `export`."""
    extras = PROJECT["project"]["optional-dependencies"]
    (line,) = [line for path in WORKFLOWS for line in commands(path) if "constraints-lowest.txt" in line]
    installed = set(re.search(r"\"\.\[([a-z,]+)\]\"", line)[1].split(","))
    for name in list(installed):
        for text in extras[name]:
            inner = re.fullmatch(r"moeclip-med\[([a-z,]+)\]", text)
            installed |= set(inner[1].split(",")) if inner else set()
    assert set(extras) - installed == {"duo"}
    assert "onnx>=1.17" in extras["export"]
    assert extras["duo"][1:] == ["onnx>=1.17"]


def test_the_release_finds_its_tools_after_it_left_the_folder(tmp_path):
    """`make release` names the Python by a relative path, and the last tool runs in a folder of its own."""
    (tmp_path / "bin").mkdir()
    script = (ROOT / "scripts" / "release").read_text(encoding="utf-8")
    head = "\n".join(line for line in script.splitlines() if line.startswith(("bin=", "python=")))
    done = subprocess.run(
        ["bash", "-c", f'{head}\ncd /; echo "$python $bin"', "release", "bin/python"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "bin" / "python"), str(tmp_path / "bin")]
