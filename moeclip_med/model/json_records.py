"""Frozen dataclasses to JSON and back, refusing what does not fit."""

from __future__ import annotations

import dataclasses
import math
import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sized

Record = TypeVar("Record")

LARGEST_NUMBER = 1e12
LONGEST_TEXT = 20_000
MOST_ITEMS = 10_000
_LONGEST_NAME = 60
_EXPRESSION_MARKS = frozenset("$@%")
"""MONAI runs a text that starts with "$" and resolves one that starts with "@" or "%" (monai.bundle.ConfigParser)."""


def to_json(value: object) -> Any:  # noqa: ANN401 - JSON is untyped
    """Turn a record into what `json.dumps` takes: tuples become lists, records dictionaries, enums values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {to_json(key): to_json(item) for key, item in value.items()}
    return value


def from_json(record: type[Record], data: object, where: str) -> Record:
    """Make a record from parsed JSON.

    Args:
        record: A dataclass whose fields are plain values, tuples, dictionaries, optionals or further records.
        data: What `json.loads` gave.
        where: How to name this place in messages, such as "architecture" or a file's name.

    Raises:
        InputError: A key is unknown, a key without default is missing, or a value has the wrong type.
    """
    if not isinstance(data, dict):
        msg = f"{where}: expected an object with named values, found {_shown(data)}."
        raise InputError(msg)
    fields = {field.name: field for field in dataclasses.fields(cast("Any", record))}
    unknown = sorted(_shown(name) if len(str(name)) > _LONGEST_NAME else name for name in set(data) - set(fields))[:10]
    if unknown:
        msg = (
            f"{where}: unknown key {_quoted(unknown)}; known keys are {_quoted(sorted(fields))}. "
            "Was the file written by a newer version?"
        )
        raise InputError(msg)
    missing = [name for name, field in fields.items() if name not in data and _is_required(field)]
    if missing:
        msg = f"{where}: missing key {_quoted(missing)}; the file is incomplete."
        raise InputError(msg)
    hints = get_type_hints(record)
    return record(**{name: _convert(hints[name], item, f"{where}.{name}") for name, item in data.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - types and JSON are only known when run
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            msg = f"{where}: {_shown(value)} is none of {_quoted(list(arguments))}."
            raise InputError(msg)
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            msg = f"{where}: expected an object with named values, found {_shown(value)}."
            raise InputError(msg)
        _check_count(value, where)
        return {
            _convert(arguments[0], key, where): _convert(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return from_json(cast("type", hint), value, where)
    return _convert_plain(hint, value, where)


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401
    if value is None and type(None) in choices:
        return None
    rest = [choice for choice in choices if choice is not type(None)]
    fitting = [choice for choice in rest if _fits(choice, value)]
    return _convert((fitting or rest)[0], value, where)


def _fits(choice: Any, value: Any) -> bool:  # noqa: ANN401 - types and JSON are only known when run
    """Whether an object has the keys of a record: every one that it needs, none that it does not know."""
    if not (dataclasses.is_dataclass(choice) and isinstance(value, dict)):
        return False
    fields = dataclasses.fields(choice)
    return {field.name for field in fields if _is_required(field)} <= set(value) <= {field.name for field in fields}


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        msg = f"{where}: expected a list, found {_shown(value)}."
        raise InputError(msg)
    _check_count(value, where)
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(arguments):
        msg = f"{where}: expected {len(arguments)} values, found {len(value)}."
        raise InputError(msg)
    return tuple(
        _convert(hint, item, f"{where}[{index}]")
        for index, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_plain(hint: type, value: Any, where: str) -> Any:  # noqa: ANN401
    if issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            choices = _quoted([str(member.value) for member in hint])
            msg = f"{where}: {_shown(value)} is none of {choices}."
            raise InputError(msg) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= LARGEST_NUMBER else math.inf
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        msg = f"{where}: expected {hint.__name__}, found {_shown(value)}."
        raise InputError(msg)
    _check_bounds(value, where)
    return value


def _check_bounds(value: object, where: str) -> None:
    """Refuse what no description of a model holds: a file may come from a stranger."""
    if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:  # NaN is not, either
        msg = (
            f"{where}: found {_shown(value)}; expected a number between -{LARGEST_NUMBER:.0e} and {LARGEST_NUMBER:.0e}."
        )
        raise InputError(msg)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT or not value.replace("\n", "").isprintable():
            msg = f"{where}: found {_shown(value)}; expected at most {LONGEST_TEXT} characters, none of them hidden."
            raise InputError(msg)
        if value.lstrip()[:1] in _EXPRESSION_MARKS:
            msg = f"{where}: found {_shown(value)}, which is code in a MONAI bundle; expected plain text."
            raise InputError(msg)


def _check_count(items: Sized, where: str) -> None:
    if len(items) > MOST_ITEMS:
        msg = f"{where}: {len(items)} values; expected at most {MOST_ITEMS}."
        raise InputError(msg)


def _shown(value: object) -> str:
    return ascii(value)[:80]
