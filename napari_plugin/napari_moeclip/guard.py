"""What happens when something unforeseen happens: the widget is ready again, and the user hears a sentence."""

from __future__ import annotations

import os
import traceback
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_DEBUG = "MOECLIP_MED_DEBUG"
HOW_TO_REPORT = (
    f"start napari from a terminal with {_DEBUG}=1, do the same again, and report what the terminal shows, less what "
    "names a patient."
)


class Guarded(Protocol):
    """What has methods that are guarded."""

    @property
    def is_closed(self) -> bool:
        """Whether the widget is gone."""
        ...

    def fail(self, sentence: str) -> None:
        """End what is under way, and say why."""
        ...


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Let an exception end what is under way with a sentence, and let nothing act after the widget was closed."""

    @wraps(method)
    def call(self: Guarded, *args: Any, **options: Any) -> None:  # noqa: ANN401 - whatever the method takes
        if self.is_closed:
            return
        try:
            method(self, *args, **options)
        except InputError as error:
            self.fail(str(error))
        except Exception as error:  # noqa: BLE001 - the user has to hear it, and the widget must not stay busy
            self.fail(internal_error(error))

    return call


def internal_error(error: Exception) -> str:
    """Say that the program is at fault; never in the words of the error, which may quote a patient's header."""
    show_trace(error)
    return f"Internal error in MoECLIP-Med ({type(error).__name__}). The image is not the cause: {HOW_TO_REPORT}"


def show_trace(error: Exception) -> None:
    """Write the error's own words to the terminal, if `MOECLIP_MED_DEBUG` asks for that."""
    if is_debugging():
        traceback.print_exception(error)


def is_debugging() -> bool:
    """Whether tracebacks go to the terminal."""
    return bool(os.environ.get(_DEBUG))


class Part:
    """A part of a controller: it goes with it, and fails by it. Mixed into what has a controller."""

    _controller: Guarded

    @property
    def is_closed(self) -> bool:
        """Whether the widget is gone."""
        return self._controller.is_closed

    def fail(self, sentence: str) -> None:
        """Say what was wrong."""
        self._controller.fail(sentence)
