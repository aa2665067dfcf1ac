"""Public names change only when it is meant: see "Public interface" in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "public_api.py"))


def test_the_public_interface_is_the_stored_one():
    stored = SCRIPT["SNAPSHOT"].read_text(encoding="utf-8").splitlines()
    found = SCRIPT["public_api"]().splitlines()
    gone, new = sorted(set(stored) - set(found)), sorted(set(found) - set(stored))
    assert (gone, new) == ([], []), "if this is meant, run scripts/public_api.py and tell users in changes/"


def test_whatever_a_public_signature_names_is_public_too():
    root = Path(__file__).parents[1]
    sources = [*root.glob("moeclip_med/**/*.py"), *root.glob("transforms/moeclip_transforms/*.py")]
    own = {
        node.name
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    lines = SCRIPT["public_api"]().splitlines()
    public = {
        name for line in lines if line.endswith(" (class)") for name in [line.removesuffix(" (class)").split(".")[-1]]
    }
    named = {name for line in lines for name in re.findall(r"\b[A-Z]\w+", line.partition(": ")[2])}
    assert "Volume" in named & own & public
    assert sorted((named & own) - public) == []
