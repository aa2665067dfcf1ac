"""Public names change only when it is meant: see "Public interface" in CONTRIBUTING.md."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "public_api.py"))


def test_the_public_interface_is_the_stored_one():
    stored = SCRIPT["SNAPSHOT"].read_text(encoding="utf-8").splitlines()
    found = SCRIPT["public_api"]().splitlines()
    gone, new = sorted(set(stored) - set(found)), sorted(set(found) - set(stored))
    assert (gone, new) == ([], []), "if this is meant, run scripts/public_api.py and tell users in changes/"
