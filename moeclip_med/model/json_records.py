"""Frozen dataclasses from JSON, refusing what no description of a model holds: a file may be a stranger's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import msgspec
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

LARGEST_NUMBER = 1e12
LONGEST_TEXT = 20_000
MOST_ITEMS = 10_000
DEEPEST = 40
_EXPRESSION_MARKS = frozenset("$@%")
"""MONAI runs a text that starts with "$" and resolves one that starts with "@" or "%" (monai.bundle.ConfigParser)."""


def from_json(record: type[Record], data: object, where: str) -> Record:
    """Make a record from parsed JSON.

    Args:
        record: A dataclass whose fields are plain values, tuples, dictionaries, optionals or further records.
        data: What `json.loads` gave.
        where: How to name this place in messages, such as "architecture" or a file's name.

    Raises:
        InputError: A key is unknown, a key without default is missing, or a value has the wrong type or is none that
            a description of a model holds.
    """
    _check_values(data, where)
    try:
        found = msgspec.convert(data, record)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise InputError(
            f"{where}{place.rstrip('`')}: {what[:200].rstrip('.')}; correct the file, or copy it again."
        ) from None
    _check_keys(data, asdict(found), where)
    return found


def _check_values(value: object, where: str, depth: int = 0) -> None:
    """Refuse numbers and texts out of bounds, and more of them than a description has."""
    if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:  # NaN is not, either
        _refuse(where, value, f"a number between -{LARGEST_NUMBER:.0e} and {LARGEST_NUMBER:.0e}")
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT or not value.replace("\n", "").isprintable():
            _refuse(where, value, f"at most {LONGEST_TEXT} characters, none of them hidden")
        if value.lstrip()[:1] in _EXPRESSION_MARKS:
            _refuse(where, value, "plain text, no code in a MONAI bundle")
    if isinstance(value, dict | list | tuple):
        if len(value) > MOST_ITEMS or depth > DEEPEST:
            _refuse(where, f"{len(value)} values", f"at most {MOST_ITEMS}, nested at most {DEEPEST} deep")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            _check_values(name, where)
            _check_values(item, f"{where}.{name}"[:300], depth + 1)


def _check_keys(data: object, known: object, where: str) -> None:
    """Refuse keys that a record did not take, which may be of a newer version."""
    if isinstance(data, dict) and isinstance(known, dict):
        if unknown := sorted(set(data) - set(known)):
            raise InputError(
                f"{where}: unknown key {ascii(', '.join(unknown))[:200]}; known keys are {', '.join(known)}. "
                "Was the file written by a newer version?"
            )
        for name, item in data.items():
            _check_keys(item, known[name], f"{where}.{name}")
    elif isinstance(data, list | tuple) and isinstance(known, list | tuple):
        for number, (item, taken) in enumerate(zip(data, known, strict=True)):
            _check_keys(item, taken, f"{where}[{number}]")


def _refuse(where: str, found: object, expected: str) -> None:
    raise InputError(f"{where}: found {ascii(found)[:80]}; expected {expected}.")
