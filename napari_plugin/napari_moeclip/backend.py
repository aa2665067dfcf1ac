"""The viewer's end of the scoring process: starts it, asks it, hears from it, ends it."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError
from qtpy.QtCore import QEventLoop, QObject, QProcess, QProcessEnvironment, Qt, Signal
from qtpy.QtWidgets import QApplication

from napari_moeclip.guard import HOW_TO_REPORT, is_debugging
from napari_moeclip.messages import CancelRequest, Envelope, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtCore import QByteArray

_END_MS = 2000
_PAINT_EVERY_MS = 500
_SERVER = ("-m", "napari_moeclip.server")
_KILLED = 9


class Task(QObject):
    """One request and what comes of it.

    Signals:
        progressed: A message on the way.
        finished: The answer.
        failed: A sentence for the user; nothing more will come.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(str)

    def __init__(self, backend: Backend, number: int) -> None:
        super().__init__(backend)
        self._backend = backend
        self._number = number

    def cancel(self) -> None:
        """End it after the current batch; what was done until then is kept and answered."""
        self._backend.tell(Envelope(self._number, "request", CancelRequest()))


class Backend(QObject):
    """The scoring process.

    Attributes:
        users: How many widgets use it; when the last goes, it ends.

    Args:
        command: Arguments of the Python interpreter that start the server.
        interpreter: The Python interpreter; this process's own by default.
    """

    _arrived = Signal(object)

    def __init__(
        self, command: Sequence[str] = _SERVER, parent: QObject | None = None, interpreter: str = sys.executable
    ) -> None:
        super().__init__(parent)
        self._command = list(command)
        self._interpreter = interpreter
        self._process: QProcess | None = None
        self._tasks: dict[int, Task] = {}
        self._numbers = count()
        self.users = 0
        # Queued: what hears an answer may open an event loop of its own (napari draws progress that way), and Qt does
        # not promise to announce more output while a handler of earlier output has not returned.
        self._arrived.connect(self._hear, Qt.ConnectionType.QueuedConnection)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """The operating system's number of the process; 0 when there is none."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self) -> None:
        """Start the process, if it is not running; returns at once."""
        if self._process is not None:
            return
        process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        process.setProcessEnvironment(environment)
        if is_debugging():
            process.setProcessChannelMode(QProcess.ProcessChannelMode.ForwardedErrorChannel)
        else:  # what libraries print may quote a patient's header
            process.setStandardErrorFile(QProcess.nullDevice())
        process.readyReadStandardOutput.connect(self._read_answers)
        process.finished.connect(self._on_end, Qt.ConnectionType.QueuedConnection)
        process.errorOccurred.connect(self._on_trouble, Qt.ConnectionType.QueuedConnection)
        self._process = process
        process.start(self._interpreter, self._command)

    def ask(self, request: object) -> Task:
        """Send a request; connect to the task's signals before returning to the event loop."""
        self.start()
        number = next(self._numbers)
        task = self._tasks[number] = Task(self, number)
        self.tell(Envelope(number, "request", request))
        return task

    def wait_for(self, request: object) -> Any:  # noqa: ANN401 - each request has its own answer
        """Send a request and wait for its answer, with windows painted and no input taken meanwhile.

        Raises:
            InputError: What the process had to say against it, or that the viewer was closed meanwhile.
        """
        loop = QEventLoop()
        answers: list[Any] = []
        failures: list[str] = []
        task = self.ask(request)
        task.finished.connect(answers.append)
        task.failed.connect(failures.append)
        # napari's spinner paints the whole window again and again; without a graphics card that takes the processor
        # that reads. So windows are painted only now and then.
        while self._process is not None and not answers and not failures:
            self._process.waitForReadyRead(_PAINT_EVERY_MS)
            loop.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        if not answers and not failures:
            failures.append("The viewer was closed before the answer came; start it again.")
        if failures:
            raise InputError(failures[0])
        return answers[0]

    def tell(self, envelope: Envelope) -> None:
        """Send a message that is not answered."""
        if self._process is not None:
            self._process.write(encode(envelope))

    def leave(self) -> None:
        """Say that a widget is gone; with the last one the process ends."""
        self.users -= 1
        if self.users == 0:
            self.end()

    def end(self) -> None:
        """End the process and wait for that; unfinished requests are dropped."""
        process, self._process = self._process, None
        for task in self._tasks.values():
            task.deleteLater()
        self._tasks.clear()
        if process is None:
            return
        for signal in (
            process.readyReadStandardOutput,
            process.finished,
            process.errorOccurred,
        ):
            signal.disconnect()
        process.closeWriteChannel()
        if not process.waitForFinished(_END_MS):
            process.kill()
            process.waitForFinished(_END_MS)
        process.deleteLater()

    def _read_answers(self) -> None:
        while self._process is not None and self._process.canReadLine():
            self._arrived.emit(decode(_bytes(self._process.readLine())))

    def _hear(self, envelope: Envelope) -> None:
        task = self._tasks.get(envelope.number)
        if task is None:
            return
        if envelope.kind == "progress":
            task.progressed.emit(envelope.content)
            return
        del self._tasks[envelope.number]
        if envelope.kind == "answer":
            task.finished.emit(envelope.content)
        else:
            task.failed.emit(envelope.content)
        task.deleteLater()

    def _on_end(self, code: int) -> None:
        """The process ended though nobody asked it to (this may be heard late, when another has been started)."""
        if self._process is None or self._process.state() != QProcess.ProcessState.NotRunning:
            return
        self._give_up(_explain_end(code))

    def _on_trouble(self, error: QProcess.ProcessError) -> None:
        """A process that did not start has no end to hear of; any other trouble ends it."""
        if error == QProcess.ProcessError.FailedToStart and self._process is not None:
            self._give_up(f"The scoring process cannot be started ({self._process.errorString()}).")

    def _give_up(self, sentence: str) -> None:
        """Let every open request fail with a reason; the next one starts a new process."""
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.failed.emit(sentence)
            task.deleteLater()


_shared: Backend | None = None


def shared_backend() -> Backend:
    """The one scoring process of this application; it ends when the last window closes."""
    global _shared  # noqa: PLW0603 - one process per application is the point
    if _shared is None:
        application = QApplication.instance()
        _shared = Backend(parent=application)
        if isinstance(application, QApplication):
            application.aboutToQuit.connect(_shared.end)
            application.lastWindowClosed.connect(_shared.end)
    return _shared


def _explain_end(code: int) -> str:
    if abs(code) == _KILLED:
        reason, more = "it was killed, most likely because memory ran out", ""
    else:
        reason, more = f"exit code {code}", f" If it ends again: {HOW_TO_REPORT}"
    return f"The scoring process ended unexpectedly ({reason}); press Run to start again.{more}"


def _bytes(data: QByteArray) -> bytes:
    return bytes(data.data())
