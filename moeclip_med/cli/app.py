"""The command `moeclip-med`: its sub-commands, and how errors reach the user."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
import warnings
from typing import Annotated

import typer
from moeclip_transforms.errors import InputError, NoticeWarning

from moeclip_med import __version__
from moeclip_med.cli import batch, benchmark, calibrate, demo, export, info, pacs, score, train, weights
from moeclip_med.cli.console import print_error, print_warning
from moeclip_med.cli.logs import add_log_options, shown_on_terminal

EXIT_INTERNAL_ERROR = 1
EXIT_BAD_INPUT = 2
EXIT_HUNG_UP = 129
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def _exit_with(code: int | None, **_: object) -> None:
    """End with the exit code that a command returned."""
    if code:
        raise typer.Exit(code)


app = typer.Typer(
    name="moeclip-med",
    help="Zero-shot anomaly maps for medical images. Research use only: not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    result_callback=_exit_with,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - the signature is Typer's
    if value:
        typer.echo(f"moeclip-med {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Zero-shot anomaly maps for medical images. Research use only: not a medical device."""


app.command("score")(score.score_command)
app.command("info")(info.info_command)
app.command("demo")(demo.demo_command)
app.command("train")(train.train_command)
app.command("export")(export.export_command)
app.command("calibrate")(calibrate.calibrate_command)
app.add_typer(batch.batch_app, name="batch")
app.add_typer(benchmark.benchmark_app, name="benchmark")
app.add_typer(pacs.pacs_app, name="pacs")
app.add_typer(weights.weights_app, name="weights")
add_log_options(app)


def main() -> None:
    """Run the command line; every error becomes one sentence and an exit code.

    Exit codes: 0 done, 1 internal error, 2 bad input or usage, 3 done but some series or files failed; 129, 130 and 143
    ended by SIGHUP, SIGINT and SIGTERM.
    The environment variable MOECLIP_MED_DEBUG shows tracebacks as well.
    """
    _end_in_order_when_terminated()
    _print_whatever_the_encoding()
    with shown_on_terminal(), warnings.catch_warnings():
        _show_notices_only()
        try:
            app()
        except SystemExit as end:
            if end.code in {EXIT_HUNG_UP, EXIT_INTERRUPTED, EXIT_TERMINATED}:
                print_error("interrupted; results that were finished are kept, and none is left half written")
            raise
        except InputError as error:
            _show_traceback()
            print_error(str(error))
            sys.exit(EXIT_BAD_INPUT)
        except OSError as error:
            _show_traceback()
            print_error(_explain_os_error(error))
            sys.exit(EXIT_BAD_INPUT)
        except MemoryError:
            _show_traceback()
            print_error("memory ran out; close other programs, or allow this one more (ulimit -v, the job's limit)")
            sys.exit(EXIT_BAD_INPUT)
        except ImportError as error:
            _show_traceback()
            reason = str(error).partition("\n")[0] or "it says no reason"
            print_error(
                f"a library cannot be loaded ({reason}); install moeclip-med again, or allow it "
                "more memory (ulimit -v, the job's limit)"
            )
            sys.exit(EXIT_BAD_INPUT)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a user never sees a traceback
            _show_traceback()
            print_error(
                # A library's own words may quote a header.
                f"internal error of moeclip-med {__version__} ({type(error).__name__}); set MOECLIP_MED_DEBUG=1, run "
                "again, and report what it prints, less what names a patient"
            )
            sys.exit(EXIT_INTERNAL_ERROR)


def _end_in_order_when_terminated() -> None:
    """Let SIGTERM and SIGHUP unwind as an exit does: what was fetched or unpacked is removed, workers end.

    A SIGHUP that is ignored, as under nohup, stays so.
    """

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: a second one must not stop the cleaning up
        sys.exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_HUNG_UP)

    signal.signal(signal.SIGTERM, end)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, end)


def _print_whatever_the_encoding() -> None:
    """Print "?" for what the terminal's or file's encoding lacks, as that of Windows does, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _show_notices_only() -> None:
    """Show our own warnings as one line; hide those of libraries, which may quote values of a patient's header.

    A library that sets a filter when it is imported lets its own pass, so their kind is asked for here as well.
    """

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, NoticeWarning):
            print_warning(str(message))

    warnings.simplefilter("ignore")
    warnings.simplefilter("always", NoticeWarning)
    warnings.showwarning = show


def _show_traceback() -> None:
    if os.environ.get("MOECLIP_MED_DEBUG"):
        traceback.print_exc()


def _explain_os_error(error: OSError) -> str:
    where = f'"{error.filename}"' if error.filename else "a file"
    if error.errno == errno.ENOSPC:
        return f"{where}: the disk is full; free space or choose another output folder"
    if isinstance(error, PermissionError):
        return f"{where}: no permission to read or write; change its permissions or choose another folder"
    return f"{where}: {error.strerror or error}; check the path and try again"
