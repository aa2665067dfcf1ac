"""OpenVINO and NNCF, imported so that they report their use to nobody.

Both look for the package `openvino_telemetry` when they are first imported, and send reports through it from a forked
process. Nothing leaves a hospital unasked: while they are imported here, the package cannot be found, and they do
without it. Afterwards it can be imported again by whoever wants it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPORTER = "openvino_telemetry"
_ABSENT = object()


@contextmanager
def _without_reporter() -> Iterator[None]:
    before: Any = sys.modules.get(_REPORTER, _ABSENT)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        yield
    finally:
        if before is _ABSENT:
            sys.modules.pop(_REPORTER, None)
        else:
            sys.modules[_REPORTER] = before


with _without_reporter():
    import openvino

__all__ = ["import_nncf", "openvino"]


def import_nncf() -> Any:  # noqa: ANN401  it is untyped
    """Return the module `nncf`.

    Raises:
        ImportError: Where it is not installed.
    """
    with _without_reporter():
        import nncf
    return nncf
