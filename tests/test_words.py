"""Texts, names and messages use the field's terms: each private term here stands beside the standard one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STANDARD = {
    r"reckon": "estimate, compute",
    r"turns? of the event loop": "deferred callbacks",
    r"\bframing\b|\bframed\b": "foreground crop, cropped",
    r"\bstart[ _-]values?\b": "initialization",
    r"\bplain (rendering|step|maps?|network|float32|ones?)\b|\b(of|to|against) plain\b": "reference implementation",
    r"false[ _-]findings?": "false positives",
    r"\bjudg(e|es|ed|ing)\b": "evaluate, score, check",
    r"extent[ _]share|how far a finding|\breach(es)? to\b": "low (hysteresis) threshold",
    r"\bkinds? of (medical )?images?\b|\bimage_?kinds?\b|\bseries\.kind\b": "image type, preset",
    r"\b(is_|a |the |endoscopy |colou?r |grey |ultrasound |of |s?in )clips?\b": "cine, multi-frame image",
    r"\bstand[-_]ins?\b|\bunplaced\b": "placeholder; without frame of reference",
    r"\bpassed over\b|\b(left|leaves?|leaving) out\b|\bset aside\b": "skipped, excluded, omitted",
    r"\bmourn|with other eyes|nobody listens|\bfaults? of ours\b": "worker death, rescored, refused, internal error",
    r"\bbelongs? into\b": "belong in",
    r"\bimage when asked\b": "lazy image",
    r"\bmark .DICM\b": "DICM prefix",
    r'"""gives? ': "Return",
    r"\brooms\b|\bhouse\b": "package, architecture",
    r"\bgone on\b|\bsecond pass\b": "fine-tuned, second stage",
    r"\bcrops (is|are|were) drawn\b|\bdrawn (crops|anew)\b": "sampled",
    r"\bweighs?\b": "has the largest weight",
}
"""Patterns of private terms, in lower case, and what to write instead."""


def texts() -> list[str]:
    """The tracked files of text, but this one, and those that name what was renamed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    endings = (".py", ".pyi", ".md", ".j2", ".jinja", ".yaml", ".yml", ".toml", ".cfg", ".json", ".js", ".html")
    names = [name for name in listed.stdout.split("\0") if name.endswith(endings)]
    renaming = (
        "CHANGELOG.md",
        "moeclip_med/weights/metadata.py",
        "tests/weights/test_loading.py",
        "tests/test_words.py",
    )
    kept = (name for name in names if name not in renaming and not name.startswith("changes/"))
    return [name for name in kept if (ROOT / name).is_file()]


def test_no_private_term_is_used():
    terms = [(re.compile(pattern), word) for pattern, word in STANDARD.items()]
    found = []
    for name in texts():
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").split("\n"), 1):
            low = line.replace("CLIP", "").lower()  # a method, not a cine
            found += [
                f"{name}:{number}: {match[0]!r}: write {word}" for term, word in terms if (match := term.search(low))
            ]
    assert not found, "\n".join(found)
