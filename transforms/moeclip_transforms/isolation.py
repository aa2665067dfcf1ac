"""A function called in a process of its own, which may die, hang or ask for too much without harm to the caller.

Libraries written in C read headers and pixels that strangers made; a fault in one of them ends the process it runs in.
`IsolatedProcess` runs such calls elsewhere: a death, a time limit or a memory limit becomes an `InputError`.
It guards against accidents of foreign code, it is no sandbox: the process has the rights of its user.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import IO

Result = TypeVar("Result")

_HEAD = struct.Struct("<QQ")
_LENGTH = struct.Struct("<Q")
_GRACE_SECONDS = 5.0
_PATIENCE = 5.0
"""Times its processor time that a call may take by the clock: other processes may keep it waiting."""
_LEAST_WAIT_SECONDS = 0.05
_MEBIBYTE = 1 << 20
_PIPE_BYTES = 1 << 20
"""Of the pipes, where the operating system lets it be chosen (Linux): arrays of pixels go through them."""


@dataclass(frozen=True)
class CallLimits:
    """What one call may take.

    Attributes:
        seconds: Processor time, and five times as much by the clock; the start of the process counts for the first
            call.
        memory_bytes: Address space beyond what the process holds before the call; None for no limit. It is kept
            where the operating system can (Linux); elsewhere only the time is.
    """

    seconds: float = 60.0
    memory_bytes: int | None = 2 << 30


class IsolatedProcess:
    """A process that calls functions one after the other; started when first needed, and anew after a death.

    Use it in a `with` statement, or call `close`. Several threads may share it: their calls wait for each other.

    Args:
        limits: What each call may take.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        self.limits = limits or CallLimits()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, function: Callable[..., Result], *arguments: object, what: str, limits: CallLimits | None = None
    ) -> Result:
        """Call a function there and give its result.

        Args:
            function: One that can be imported by its module and name.
            *arguments: What it takes; pickled, as its result is.
            what: What is being read, for the message: a file name in quotes.
            limits: What this call may take; the limits of the process if None.

        Raises:
            InputError: When the process dies or passes a limit; or when the function raises one.
            Exception: What else the function raises.
        """
        limits = limits or self.limits
        request = pickle.dumps((function.__module__, function.__qualname__, arguments, limits))
        with self._lock:
            try:
                succeeded, outcome = self._exchange(request, what, limits)
            except BaseException:  # an answer that was not read to its end would be taken for that of the next call
                self.close()
                raise
        if succeeded:
            return outcome  # type: ignore[no-any-return]  # what the function gave
        raise InputError(f"{what} {_too_much(limits.memory_bytes)}") if isinstance(outcome, MemoryError) else outcome

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def _exchange(self, request: bytes, what: str, limits: CallLimits) -> tuple[bool, Any]:
        process = self._running()
        is_done, too_long = threading.Event(), list[str]()
        watch = threading.Thread(target=_watch, args=(process, limits.seconds, is_done, too_long), daemon=True)
        watch.start()
        try:
            return _ask(process, request)
        except (EOFError, OSError) as error:
            code = process.wait()
            if too_long:
                msg = (
                    f"{what} takes longer to read than {too_long[0]}; it is damaged or very large: check it with the "
                    "program that wrote it."
                )
            else:
                msg = (
                    f"{what} ended the process that reads it ({_death(code)}); it is damaged: copy it again, or "
                    "convert it with the program that wrote it."
                )
            raise InputError(msg) from error
        finally:
            is_done.set()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.close()
        self._owner = os.getpid()
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # an interrupt reaches the caller, who ends it
            pipesize=_PIPE_BYTES,
        )
        return self._process


_shared = IsolatedProcess()
atexit.register(_shared.close)


def call_isolated(
    function: Callable[..., Result], *arguments: object, what: str, limits: CallLimits | None = None
) -> Result:
    """Call a function in the process that this one keeps for such calls; see `IsolatedProcess.call`."""
    return _shared.call(function, *arguments, what=what, limits=limits)


_is_expendable = False


def make_expendable() -> None:
    """Say that this process may die: what it is asked to call foreign code for, it calls itself.

    For processes that do nothing but read and score, and are watched and replaced by another one.
    """
    global _is_expendable  # noqa: PLW0603  a fact about the process
    _is_expendable = True


def call_foreign(
    function: Callable[..., Result], *arguments: object, what: str, limits: CallLimits | None = None
) -> Result:
    """Call a function that hands a stranger's bytes to foreign code: elsewhere, unless this process is expendable.

    An expendable process keeps the memory limit as well; who watches it keeps the time. See `IsolatedProcess.call`.
    """
    if not _is_expendable:
        return call_isolated(function, *arguments, what=what, limits=limits)
    memory_bytes = (limits or _shared.limits).memory_bytes
    try:
        with _memory_limit(memory_bytes):
            return function(*arguments)
    except MemoryError as error:
        raise InputError(f"{what} {_too_much(memory_bytes)}") from error


def _watch(process: subprocess.Popen[bytes], seconds: float, is_done: threading.Event, too_long: list[str]) -> None:
    """End a process whose call is not done in time; says first which limit it passed."""
    start, used_before = time.monotonic(), _processor_seconds(process.pid)
    longest = seconds * _PATIENCE
    wait = seconds
    while not is_done.wait(wait):
        used, passed = _processor_seconds(process.pid) - used_before, time.monotonic() - start
        if used >= seconds or passed >= longest:
            too_long.append(f"{seconds:g} s of processor time" if used >= seconds else f"{longest:g} s")
            process.kill()
            return
        wait = min(max(seconds - used, _LEAST_WAIT_SECONDS), longest - passed)


def _processor_seconds(pid: int) -> float:
    import psutil

    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:  # it has ended
        return 0.0
    return float(used.user + used.system)


def _too_much(memory_bytes: int | None) -> str:
    limit = "there is" if memory_bytes is None else f"the {memory_bytes // _MEBIBYTE} MiB that it may take"
    return f"needs more memory to read than {limit}; it is damaged or very large."


def _ask(process: subprocess.Popen[bytes], request: bytes) -> tuple[bool, Any]:
    """Send a request and wait for its answer: a pickle, and beside it the buffers of its arrays."""
    assert process.stdin is not None  # noqa: S101  for the type checker: both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(_HEAD.pack(len(request), 0) + request)
    process.stdin.flush()
    size, count = _HEAD.unpack(_read(process.stdout, _HEAD.size))
    lengths = [_LENGTH.unpack(_read(process.stdout, _LENGTH.size))[0] for _ in range(count)]
    buffers = [_read(process.stdout, length) for length in lengths]
    answer: tuple[bool, Any] = pickle.loads(_read(process.stdout, size), buffers=buffers)  # noqa: S301  our own process
    return answer


def _read(pipe: IO[bytes], size: int) -> bytearray:
    content = bytearray(size)
    view, place = memoryview(content), 0
    while place < size:
        count = pipe.readinto(view[place:])  # type: ignore[attr-defined]  # of a buffered reader
        if not count:
            raise EOFError
        place += count
    return content


def _death(code: int) -> str:
    import signal

    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def serve() -> None:
    """Answer the calls on standard input until it is closed: what the process of an `IsolatedProcess` does."""
    import faulthandler

    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come among the answers
    while head := requests.read(_HEAD.size):
        module, name, arguments, limits = pickle.loads(requests.read(_HEAD.unpack(head)[0]))  # noqa: S301  our caller
        faulthandler.dump_traceback_later(
            limits.seconds * _PATIENCE + _GRACE_SECONDS, exit=True
        )  # in case its caller is gone
        answer = _answer(module, name, arguments, limits.memory_bytes)
        buffers: list[pickle.PickleBuffer] = []
        try:
            content = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
        except Exception as error:  # noqa: BLE001  what cannot be sent is told as what it is
            buffers.clear()
            content = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        parts = [buffer.raw() for buffer in buffers]
        answers.write(_HEAD.pack(len(content), len(parts)))
        answers.writelines(_LENGTH.pack(part.nbytes) for part in parts)
        answers.writelines(parts)
        answers.write(content)
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _answer(module: str, name: str, arguments: tuple[Any, ...], memory_bytes: int | None) -> tuple[bool, Any]:
    try:
        function: Any = import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        with _memory_limit(memory_bytes):
            return True, function(*arguments)
    except MemoryError:
        return False, MemoryError()
    except InputError as error:
        return False, InputError(str(error))  # its subclasses are made from other things than their message
    except Exception as error:  # noqa: BLE001  raised again in the caller
        error.add_note(reason(error))
        return False, error


@contextlib.contextmanager
def _memory_limit(memory_bytes: int | None) -> Iterator[None]:
    """Let this process grow by so much and no more."""
    from pathlib import Path

    if memory_bytes is None or sys.platform != "linux":
        yield
        return
    import resource

    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
