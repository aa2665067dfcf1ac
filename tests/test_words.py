"""Texts, names and messages use the field's terms: each private term here stands beside the standard one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TERMS = ROOT / "tests" / "data" / "private-terms.tsv"
"""Patterns of private terms, and what to write instead."""


def texts() -> list[str]:
    """The tracked files of text, but those that name what was renamed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    endings = (".py", ".pyi", ".md", ".j2", ".jinja", ".yaml", ".yml", ".toml", ".cfg", ".json", ".js", ".html")
    names = [name for name in listed.stdout.split("\0") if name.endswith(endings)]
    renaming = ("CHANGELOG.md", "moeclip_med/weights/metadata.py", "tests/weights/test_loading.py")
    kept = (name for name in names if name not in renaming and not name.startswith("changes/"))
    return [name for name in kept if (ROOT / name).is_file()]


def test_no_private_term_is_used():
    lines = TERMS.read_text(encoding="utf-8").splitlines()[1:]
    terms = [(re.compile(pattern), word) for pattern, word in (line.split("\t") for line in lines)]
    assert terms
    found = []
    for name in texts():
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").split("\n"), 1):
            low = line.replace("CLIP", "").lower()  # a method, not a cine
            found += [
                f"{name}:{number}: {match[0]!r}: write {word}" for term, word in terms if (match := term.search(low))
            ]
    assert not found, "\n".join(found)
