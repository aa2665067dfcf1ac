"""Text from outside made fit to be shown: file names, header values and server answers on a terminal or in a page.

A name may hold an escape sequence that rewrites the screen, a line break that forges a second message, a mark that
turns the writing direction round, or bytes that are not UTF-8. All of them are shown by their codes.
"""

from __future__ import annotations

import unicodedata

_LONE_BYTES = range(0xDC80, 0xDD00)
"""How Python stands for a byte of a file name that is not UTF-8 (PEP 383)."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode categories of what moves, hides or turns other text: control, format, surrogate, private use, separators."""

_FIRST_BEYOND_ASCII = 0x80

_JOINERS = frozenset("\u200c\u200d\u00ad")
"""Format characters that words of several scripts need."""


def printable(text: object, *, lines: bool = False) -> str:
    r"""Return a text that any terminal, page and database takes: an escape character becomes `\x1b`.

    Args:
        text: A path, an error or a text.
        lines: Whether line breaks and tabs stay.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(_shown(character, lines=lines) for character in shown)


def _shown(character: str, *, lines: bool) -> str:
    code = ord(character)
    if code in _LONE_BYTES:
        return rf"\x{code - 0xDC00:02x}"
    if character in _JOINERS or (lines and character in "\n\t"):
        return character
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("ascii", "backslashreplace").decode() if code >= _FIRST_BEYOND_ASCII else rf"\x{code:02x}"
