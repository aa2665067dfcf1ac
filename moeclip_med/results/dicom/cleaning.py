"""Values of source headers made valid, or excluded: no result repeats a value that breaks the standard.

Each value representation has its rules (PS3.5, 6.2). What can be rewritten without guessing is rewritten ("10:20:30" is
the time 102030), a text that is too long is cut where nothing hangs on its end, and everything else is dropped. What
happened is recorded by attribute; the value itself never is, since it may name a patient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import is_valid_ds

from moeclip_med.results.dicom.attributes import Attribute, Need
from moeclip_med.results.dicom.character_sets import CharacterSets, character_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Value: TypeAlias = "str | list[str] | list[Dataset] | None"

_LENGTHS = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "PN": 64, "CS": 16}
_TEXTS = frozenset({"SH", "LO", "ST", "LT", "PN"})
_NAME_GROUPS, _NAME_PARTS = 3, 5
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_LONGEST_UID = 64
_DATE = re.compile(r"([12]\d{3})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?)?)?")
_INTEGER = re.compile(r"[+-]?\d{1,11}")
_AGE = re.compile(r"\d{3}[DWMY]")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]*")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}
_ENUMERATED: dict[str, dict[str, str]] = {
    "PatientSex": _SEXES,
    "PatientIdentityRemoved": {"YES": "YES", "NO": "NO"},
    "BurnedInAnnotation": {"YES": "YES", "NO": "NO"},
    "LossyImageCompression": {"00": "00", "01": "01"},
    "Laterality": {"R": "R", "L": "L"},
    "PatientSexNeutered": {"ALTERED": "ALTERED", "UNALTERED": "UNALTERED"},
}
_REWRITTEN = "rewritten in the standard's form"
_FIRST_OF_SEVERAL = "the first of several values"
_NAME_FORM = "brought to the form and length of a person's name"
_AT_ENDS = " \0\t\r\n"
_UNPRINTABLE = "without characters that cannot be shown"
_CUT = "cut to the longest length allowed"
_INVALID = "invalid"
_TOO_LONG = "too long"
_CODE_ATTRIBUTES = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


@dataclass(frozen=True)
class Change:
    """What was done to one attribute.

    Attributes:
        keyword: The attribute.
        what: What was done or what was wrong, in a few words without the value.
        is_dropped: Whether the value is gone.
    """

    keyword: str
    what: str
    is_dropped: bool

    def __str__(self) -> str:
        return f"{self.keyword} ({self.what})"


class HeaderCleaner:
    """Takes valid values out of one header and remembers what it changed.

    Attributes:
        header: The header, as pydicom parsed it; not changed.
        sets: Its character sets.
        changes: What was changed so far.
    """

    def __init__(self, header: Dataset) -> None:
        self.header = header
        raw = _raw(header, "SpecificCharacterSet")
        self.sets: CharacterSets = character_sets(raw.decode("ascii", "replace").split("\\") if raw else ())
        self.changes: list[Change] = []
        if self.sets.is_mended:
            self.changes.append(Change("SpecificCharacterSet", _REWRITTEN, is_dropped=False))

    def copy(self, attributes: Iterable[Attribute], target: Dataset) -> None:
        """Set attributes of `target` from the header: valid, empty, or not at all.

        Args:
            attributes: Which ones.
            target: Changed in place.
        """
        for attribute in attributes:
            value = self.value(attribute.keyword, can_be_cut=attribute.can_be_cut)
            if value is not None or attribute.need is Need.EMPTY_ALLOWED:
                setattr(target, attribute.keyword, value)

    def value(self, keyword: str, *, can_be_cut: bool = False) -> _Value:
        """Return the valid value of an attribute, or None; a list where it may have several."""
        vr = dictionary_VR(keyword)
        if vr == "SQ":
            return self._codes(keyword)
        raw = _raw(self.header, keyword)
        if raw is None:
            return None
        text, fits = self.sets.decode(raw) if vr in _TEXTS else (raw.decode("ascii", "replace"), True)
        if not fits:
            self._note(keyword, "not in its declared character set", is_dropped=False)
        if text.strip(" \0") == "":
            return None
        parts = text.split("\\")
        if dictionary_VM(keyword) != "1":
            kept = [part for part in (self._one(keyword, vr, part, can_be_cut) for part in parts) if part is not None]
            return kept or None
        if len(parts) > 1 and vr in _TEXTS and can_be_cut:
            self._note(keyword, "a backslash replaced by a space", is_dropped=False)
            return self._one(keyword, vr, " ".join(parts), can_be_cut)
        if len(parts) > 1 and parts[0].strip(" \0"):
            self._note(keyword, _FIRST_OF_SEVERAL, is_dropped=False)
        return self._one(keyword, vr, parts[0], can_be_cut)

    def single(self, keyword: str) -> str | None:
        """Return the valid value of an attribute that has one, or None."""
        value = self.value(keyword)
        return value if isinstance(value, str) else None

    def text(self, keyword: str) -> str:
        """Return the text of an attribute as it stands in the header, valid or not; "" where it is missing."""
        return (_raw(self.header, keyword) or b"").decode("ascii", "replace")

    def _one(self, keyword: str, vr: str, text: str, can_be_cut: bool) -> str | None:  # noqa: FBT001
        """Clean a single value."""
        plain = "".join(character for character in text if character.isprintable()).strip()
        if keyword in _ENUMERATED:
            cleaned, what = _ENUMERATED[keyword].get(plain.upper()), _REWRITTEN
        elif vr == "PN":
            cleaned, what = _name(plain), _NAME_FORM
        elif vr in _TEXTS and can_be_cut:
            cleaned, what = plain[: _LENGTHS[vr]].rstrip(), _CUT if len(plain) > _LENGTHS[vr] else _UNPRINTABLE
        elif vr in _TEXTS:  # identifiers: without a character inside, it may be somebody else's
            cleaned, what = plain if text.strip(_AT_ENDS).isprintable() else None, _UNPRINTABLE
        else:
            cleaned, what = _RULES[vr](plain), _REWRITTEN
        if cleaned is not None and len(cleaned) > _LENGTHS.get(vr, len(cleaned)) and vr != "PN":
            self._note(keyword, _TOO_LONG, is_dropped=True)
            return None
        if cleaned is None:
            self._note(keyword, _INVALID, is_dropped=True)
        elif cleaned != text.strip(" \0"):
            self._note(keyword, what, is_dropped=False)
        return cleaned or None

    def _codes(self, keyword: str) -> list[Dataset] | None:
        """Return the complete codes of a code sequence."""
        if keyword not in self.header:
            return None
        try:
            items = list(self.header[keyword].value)
        except (ValueError, TypeError, NotImplementedError, EOFError):
            items = []
        kept = []
        for item in items:
            inner = HeaderCleaner(item)
            inner.sets = self.sets
            values = {name: inner.value(name) for name in _CODE_ATTRIBUTES}
            if all(values.values()):
                code = Dataset()
                for name, value in values.items():
                    setattr(code, name, value)
                kept.append(code)
        if len(kept) < len(items):
            self._note(keyword, "incomplete codes", is_dropped=True)
        return kept or None

    def _note(self, keyword: str, what: str, *, is_dropped: bool) -> None:
        change = Change(keyword, what, is_dropped)
        if change not in self.changes:
            self.changes.append(change)


def describe_changes(changes: Iterable[Change]) -> tuple[str, ...]:
    """Say what was changed, in one sentence each for what was rewritten and for what is gone; no value is named."""
    unique = list(dict.fromkeys(changes))
    rewritten = ", ".join(str(change) for change in unique if not change.is_dropped)
    dropped = ", ".join(str(change) for change in unique if change.is_dropped)
    notes = []
    if rewritten:
        notes.append(f"The DICOM results hold corrected values of the source's header: {rewritten}.")
    if dropped:
        notes.append(f"The DICOM results omit values of the source's header that break the standard: {dropped}.")
    return tuple(notes)


def _raw(header: Dataset, keyword: str) -> bytes | None:
    """Return the bytes of an attribute; None where it is missing."""
    tag = tag_for_keyword(keyword)
    element = header.get_item(tag) if tag is not None else None
    if element is None or element.value is None:
        return None
    value = element.value
    if isinstance(value, bytes):
        return value
    many = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return "\\".join(str(part) for part in many).encode("utf-8")


def valid_uid(text: str) -> str:
    """Return a unique identifier, without padding; "" where it is none (PS3.5, 9.1)."""
    plain = text.split("\\", maxsplit=1)[0].strip(" \0")
    return plain if _UID.fullmatch(plain) and len(plain) <= _LONGEST_UID else ""


def _name(text: str) -> str | None:
    """Return a person's name with no more groups, components and characters than allowed (PS3.5, 6.2.1)."""
    groups = []
    for group in text.split("=")[:_NAME_GROUPS]:
        parts = group.split("^")
        joined = [*parts[: _NAME_PARTS - 1], " ".join(parts[_NAME_PARTS - 1 :])] if len(parts) > _NAME_PARTS else parts
        groups.append("^".join(joined)[: _LENGTHS["PN"]].rstrip())
    return "=".join(groups)


def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    digits = "".join(found.groups())
    try:
        datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return None
    return digits


def _time(text: str) -> str | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups()
    if int(hours) > 23 or int(minutes or 0) > 59 or int(seconds or 0) > 59:  # noqa: PLR2004 - the clock
        return None
    return "".join(part for part in (hours, minutes, seconds, fraction) if part)


def _code_string(text: str) -> str | None:
    upper = text.upper()
    return upper if _CODE_STRING.fullmatch(upper) else None


def _decimal(text: str) -> str | None:
    return text if is_valid_ds(text) else None


def _integer(text: str) -> str | None:
    return text if _INTEGER.fullmatch(text) else None


_RULES: dict[str, Callable[[str], str | None]] = {
    "DA": _date,
    "TM": _time,
    "CS": _code_string,
    "AS": lambda text: text.upper() if _AGE.fullmatch(text.upper()) else None,
    "DS": _decimal,
    "IS": _integer,
    "UI": lambda text: valid_uid(text) or None,
}
