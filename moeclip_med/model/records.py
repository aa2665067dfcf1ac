"""Frozen dataclasses to JSON and back, refusing what does not fit."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from moeclip_transforms.errors import InputError

Record = TypeVar("Record")


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
        msg = f"{where}: expected an object with named values, found {data!r}."
        raise InputError(msg)
    fields = {field.name: field for field in dataclasses.fields(cast("Any", record))}
    unknown = sorted(set(data) - set(fields))
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
            msg = f"{where}: {value!r} is none of {_quoted(list(arguments))}."
            raise InputError(msg)
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            msg = f"{where}: expected an object with named values, found {value!r}."
            raise InputError(msg)
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
    return _convert(rest[0], value, where)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        msg = f"{where}: expected a list, found {value!r}."
        raise InputError(msg)
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
            msg = f"{where}: {value!r} is none of {choices}."
            raise InputError(msg) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        msg = f"{where}: expected {hint.__name__}, found {value!r}."
        raise InputError(msg)
    return value
