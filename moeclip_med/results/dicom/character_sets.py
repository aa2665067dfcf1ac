"""Text of DICOM headers, whatever character set they declare, rightly or not (PS3.3, C.12.1.1.2; PS3.5, 6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.library_warnings import quietly
from pydicom.charset import STAND_ALONE_ENCODINGS, decode_bytes, python_encoding

if TYPE_CHECKING:
    from collections.abc import Iterable

UTF_8 = "ISO_IR 192"
"""The character set of every result that holds more than ASCII; the others name none."""

_DEFAULT = "ISO_IR 6"
_ASCII = frozenset({_DEFAULT, "ISO 2022 IR 6"})
_TERM = re.compile(r"ISO\W?_?(?P<extended>2022)?[\W_]*IR[\W_]*(?P<number>\d+)")
_ESCAPE = b"\x1b"
_RESET = {0x5E, 0x3D}
"""The bytes "^" and "=", behind which a name starts anew in the first character set."""


@dataclass(frozen=True)
class CharacterSets:
    """The character sets of one header.

    Attributes:
        terms: Defined terms of Specific Character Set (0008,0005), mended; the first one is never empty.
        is_mended: Whether the header's own terms had to be changed to be understood.
    """

    terms: tuple[str, ...] = (_DEFAULT,)
    is_mended: bool = False

    @property
    def is_default(self) -> bool:
        """Whether only ASCII is declared."""
        return self.terms == (_DEFAULT,)

    def decode(self, value: bytes) -> tuple[str, bool]:
        """Decode a text.

        UTF-8 is tried where the declared character set does not fit, since many writers forget to declare it.

        Returns:
            The text, and whether the declared character sets held it.
        """
        if value.isascii() and _ESCAPE not in value:
            return value.decode("ascii"), True
        encodings = [python_encoding[term] for term in self.terms]
        fits, text = not self.is_default, ""
        if fits and _ESCAPE in value:
            with quietly():  # a failure is told by the character U+FFFD
                text = decode_bytes(value, encodings, _RESET)
            fits = "\ufffd" not in text
        elif fits:
            text, fits = _try(value, "ascii" if self.terms[0] in _ASCII else encodings[0])
        if fits:
            return text, True
        text, is_utf8 = _try(value, "utf-8")
        return (text if is_utf8 else value.decode(encodings[0], errors="replace")), False


def character_sets(terms: Iterable[str]) -> CharacterSets:
    """Mend the values of Specific Character Set.

    An empty first value stands for ASCII, as the standard says. Spellings such as "ISO IR 192" and "ISO-IR 100" are
    corrected, terms that nobody knows are skipped, and so is what follows a character set that stands alone.

    Args:
        terms: The values as read.

    Returns:
        The character sets that `CharacterSets.decode` works with.
    """
    read = [term.strip() for term in terms]
    known = [term for term in map(_corrected, read) if term in python_encoding]
    if known and known[0] in STAND_ALONE_ENCODINGS:
        known = known[:1]
    known = known[:1] + [term for term in known[1:] if term not in STAND_ALONE_ENCODINGS]
    mended = tuple(known) or (_DEFAULT,)
    return CharacterSets(mended, is_mended=any(read) and [term or _DEFAULT for term in read] != list(mended))


def _corrected(term: str) -> str:
    """Return the defined term that a spelling means."""
    found = _TERM.match(term.upper())
    if found is None:
        return term.upper() or _DEFAULT
    return f"ISO 2022 IR {found['number']}" if found["extended"] else f"ISO_IR {found['number']}"


def _try(value: bytes, encoding: str) -> tuple[str, bool]:
    try:
        return value.decode(encoding), True
    except UnicodeDecodeError:
        return "", False
