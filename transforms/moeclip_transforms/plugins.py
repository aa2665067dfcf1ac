"""Parts that a package may bring along: found by entry point, the built-in ones like any other."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@cache
def registered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; where two packages use a name, the built-in one counts.

    Args:
        group: "moeclip_med.readers", "moeclip_med.engines" or "moeclip_med.results".
    """
    found = sorted(entry_points(group=group), key=lambda point: point.dist is None or point.dist.name != "moeclip-med")
    return {point.name: point for point in reversed(found)}


def load(group: str, name: str) -> Any:  # noqa: ANN401  whatever the entry point names
    """Return the object that an entry point names.

    Raises:
        InputError: When there is none of this name, or it cannot be imported.
    """
    known = registered(group)
    if name not in known:
        listed = ", ".join(sorted(known)) or "none: install the package again"
        raise InputError(f'"{name}" is not registered in "{group}"; there are {listed}.')
    try:
        return known[name].load()
    except Exception as error:
        raise InputError(
            f'"{name}" ({known[name].value}) of "{group}" cannot be loaded: {type(error).__name__}: {error}.'
        ) from error
