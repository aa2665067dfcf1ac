"""What a command logs: sentences on standard error, and events as JSON lines in a file.

Every module logs to `logging.getLogger(__name__)`, below the logger `moeclip_med`; a library that uses the package
configures it as any other. The log file names no patient, file, UID or date: `Redactor` takes them out.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from moeclip_transforms.errors import InputError
from moeclip_transforms.printable import printable

from moeclip_med._version import __version__
from moeclip_med.cli.console import make_console
from moeclip_med.cli.options import parse_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGGER = logging.getLogger("moeclip_med")

VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, show_default=False, help="Say what is done and how long it took; -vv: in detail."
    ),
]
LogFileOption = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        help="Append events to this file as JSON lines, without names, paths, UIDs or dates.",
        parser=parse_path,
        metavar="PATH",
    ),
]
_STYLES = {logging.ERROR: ("error", "bold red"), logging.WARNING: ("warning", "bold yellow")}


class TerminalHandler(logging.Handler):
    """Shows records on standard error, with the colours of the console where it has any."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: as text, never as the markup or the terminal escapes that a name may hold."""
        label, style = _STYLES.get(record.levelno, ("", ""))
        console = make_console(stderr=True)
        if label:
            console.print(f"[{style}]{label}:[/] ", end="")
        console.print(printable(record.getMessage()), markup=False, style=None if label else "dim")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time (UTC), level, logger, message, and the numbers given as `facts`."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON without identifying text."""
        from moeclip_med.batch.redaction import Redactor

        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "command": self._command,
            "process": os.getpid(),
            "message": Redactor(())(record.getMessage()),
            **getattr(record, "facts", {}),
        }
        return json.dumps(event, ensure_ascii=False)


@contextmanager
def shown_on_terminal() -> Iterator[None]:
    """Show warnings and errors of the package on standard error; `-v` adds what is done.

    At the end log files are closed, and the logger is as it was before.
    """
    terminal, level, propagates = TerminalHandler(logging.WARNING), LOGGER.level, LOGGER.propagate
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(terminal)
    try:
        yield
    finally:
        _close_file()
        LOGGER.removeHandler(terminal)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates


def logged(command: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a command with the options `-v` and `--log-file` added to its own.

    Args:
        command: The function that Typer calls.
        name: How the log file calls it.
    """

    @wraps(command)
    def run(*arguments: Any, verbose: int, log_file: Path | None, **options: Any) -> Any:  # noqa: ANN401
        _set_level(verbose)
        _close_file()  # of a command that ran before in this process
        if log_file is not None:
            _open_file(log_file, name)
        started = time.perf_counter()
        LOGGER.info("moeclip-med %s: %s started", __version__, name)
        result = command(*arguments, **options)
        seconds = time.perf_counter() - started
        LOGGER.info("%s ended after %.1f s", name, seconds, extra={"facts": {"seconds": round(seconds, 3)}})
        return result

    own = inspect.signature(command, eval_str=True)
    if "log_file" in own.parameters:
        return command
    added = [
        inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=VerboseOption),
        inspect.Parameter("log_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LogFileOption),
    ]
    parameters = [*own.parameters.values(), *added]
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def add_log_options(app: typer.Typer, prefix: str = "") -> None:
    """Add the options `-v` and `--log-file` to every command of an application, and of those below it."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = logged(command.callback, f"{prefix} {command.name}".strip())
    for group in app.registered_groups:
        if group.typer_instance is not None:
            name = f"{prefix} {group.name}".strip()
            add_log_options(group.typer_instance, name)
            own = group.typer_instance.registered_callback
            runs_alone = group.typer_instance.info.invoke_without_command is True
            if runs_alone and own is not None and own.callback is not None:
                own.callback = logged(own.callback, name)


def _set_level(verbosity: int) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    for handler in LOGGER.handlers:
        if isinstance(handler, TerminalHandler):
            handler.setLevel(level)


def _open_file(path: Path, command: str) -> None:
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f'--log-file "{path}" cannot be written: {error.strerror}; name a file in a folder that exists'
        ) from error
    handler.setFormatter(JsonLines(command))
    LOGGER.addHandler(handler)


def _close_file() -> None:
    for handler in tuple(LOGGER.handlers):
        if isinstance(handler.formatter, JsonLines):
            LOGGER.removeHandler(handler)
            handler.close()
