"""What libraries warn of, silenced or raised in the calling thread only.

`warnings.catch_warnings` holds for the whole process, and two threads that leave it in another order than they entered
leave all warnings off. Here one filter for each action is put before the others once, and holds where it is asked for.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

_action: ContextVar[Literal["ignore", "error"] | None] = ContextVar("_action", default=None)


class _Where(logging.Filter):
    """Fits what is said where an action holds: in place of a pattern in a filter of warnings, and as a log filter."""

    def __init__(self, action: Literal["ignore", "error"]) -> None:
        super().__init__()
        self._action = action
        self.entry: Any = (action, self, Warning, None, 0)

    def match(self, text: str) -> bool:  # noqa: ARG002  the interface of a pattern
        return _action.get() == self._action

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  logging's interface
        return _action.get() != self._action


_where_quiet, _where_raised = _Where("ignore"), _Where("error")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep warnings, and log records of pydicom, to ourselves: they quote values, which may name the patient."""
    logger = logging.getLogger("pydicom")
    if _where_quiet not in logger.filters:
        logger.addFilter(_where_quiet)
    with _held(_where_quiet, "ignore"):
        yield


@contextmanager
def warnings_raised() -> Iterator[None]:
    """Raise what a library only warns of."""
    with _held(_where_raised, "error"):
        yield


@contextmanager
def _held(where: _Where, action: Literal["ignore", "error"]) -> Iterator[None]:
    filters: Any = warnings.filters  # typed as read-only
    if not any(entry is where.entry for entry in filters):
        filters.insert(0, where.entry)
    token = _action.set(action)
    try:
        yield
    finally:
        _action.reset(token)
