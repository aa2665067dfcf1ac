"""What is held of a message: what it names, its numbers, and whether it says what to do. The wording may change."""

from __future__ import annotations

import re

_FACTS = re.compile(r'"[^"]*"|--[a-z-]+|https?://[^\s;,]+|\b[A-Z][A-Z_]{3,}\b|\d[\d.×]*\d|\d')


def facts(message: object) -> list[str]:
    """Return what stands in quotes, options, addresses and numbers of a message, in any order, and its remedy."""
    text = str(message)
    found = _FACTS.findall(text)
    assert found, f"nothing is named: {text}"
    return [*sorted(found), "says what to do" if re.search(r"[;:]|, or ", text) else "says no more"]


def lacking(message: object, *tokens: str) -> list[str]:
    """Return those of the tokens that a message does not hold: what it names, what it found, what to do."""
    return [token for token in tokens if token not in str(message)]
