"""The examples of the page "Extend" work when installed as a package of their own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path):
    """An environment in which the examples are installed, as pip leaves a package: modules and its metadata."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES, site, ignore=shutil.ignore_patterns("__pycache__", "pyproject.toml"))
    metadata = site / "moeclip_examples-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: moeclip-examples\nVersion: 1.0\n", encoding="utf-8"
    )
    groups = tomllib.loads((EXAMPLES / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in groups.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow
def test_a_file_of_the_new_format_is_scored_by_the_new_engine_into_the_new_result(
    command, installed, tmp_path, small_brain
):
    np.save(tmp_path / "brain.npy", small_brain[0][:, :, 8:16])
    out = tmp_path / "out"
    options = ["--engine", "flipping", "--results", "run,json,markdown", "-q"]
    done = command("score", tmp_path / "brain.npy", "-o", out, *options, env=installed, timeout=240)

    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["engine"]["name"] == "flipping"
    said = json.loads((out / "findings.json").read_text(encoding="utf-8"))
    table = (out / "findings.md").read_text(encoding="utf-8")
    assert len(said["findings"]) > 0
    assert table.count("\n| ") == len(said["findings"])
    assert all(note in table for note in said["notes"])


@pytest.mark.slow
def test_a_batch_scores_a_file_of_the_new_format_too(command, installed, tmp_path, small_brain):
    (tmp_path / "archive").mkdir()
    np.save(tmp_path / "archive" / "brain.npy", small_brain[0][:, :, 8:12])
    done = command("batch", tmp_path / "archive", "-o", tmp_path / "out", "-q", env=installed, timeout=240)

    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "out" / "triage.csv").read_text(encoding="utf-8").splitlines())
    assert row["state"] == "done"


def test_the_page_shows_every_example():
    assert all(f'--8<-- "docs/examples/{file.name}"' in PAGE for file in EXAMPLES.glob("*.*"))
