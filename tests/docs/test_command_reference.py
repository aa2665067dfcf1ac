"""The page of all commands, which is made while the site is built."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "docs" / "hooks.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("hooks", HOOKS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.command_reference()


def test_every_command_has_a_section(reference):
    sections = set(re.findall(r"^#+ `moeclip-med ([a-z ]+)`$", reference, re.MULTILINE))
    assert {"score", "batch run", "batch status", "benchmark compare", "pacs watch", "weights list"} <= sections


def test_summaries_of_commands_are_not_cut_short(reference):
    assert "* `score`: Score every series that a path holds: anomaly map, findings and report." in reference
    assert not re.findall(r"^\* `[a-z]+`: .*\.\.\.$", reference, re.MULTILINE)
