"""Names that are not UTF-8, as text that can be shown and stored."""

from __future__ import annotations

import re

_LONE_BYTE = re.compile("[\udc80-\udcff]")
"""How Python stands for a byte of a file name that is not UTF-8 (PEP 383)."""


def printable(text: object) -> str:
    r"""Give a path or text that any terminal and SQLite take: a byte that is not UTF-8 becomes `\xe4`."""
    named = _LONE_BYTE.sub(lambda match: rf"\x{ord(match.group()) - 0xDC00:02x}", str(text))
    return named.encode("utf-8", "backslashreplace").decode()
