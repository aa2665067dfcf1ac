"""The scoring process: `python -m napari_moeclip.server`, started by the viewer, ended with it.

It reads requests from standard input and answers on standard output. Two lanes work side by side, so that a study can
be opened while another is scored; each does one thing at a time. When standard input closes, the viewer is gone and
the process ends at once.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from moeclip_transforms.errors import InputError

from napari_moeclip.guard import internal_error
from napari_moeclip.messages import CancelRequest, Envelope, LoadRequest, PriorRequest, ScoreRequest, decode, encode

if TYPE_CHECKING:
    from napari_moeclip.tasks import Tasks

_LOWER_PRIORITY = 5
_SCORING_LANE = (LoadRequest, ScoreRequest, PriorRequest)


class Server:
    """Takes requests from a stream and answers on another.

    Args:
        requests: Where the viewer writes.
        answers: Where the viewer reads.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._writing = threading.Lock()
        self._cancelled: set[int] = set()
        self._lanes: tuple[queue.SimpleQueue[Envelope], queue.SimpleQueue[Envelope]] = (
            queue.SimpleQueue(),
            queue.SimpleQueue(),
        )

    def run(self, tasks: Tasks) -> None:
        """Work until the stream of requests ends."""
        for lane in self._lanes:
            threading.Thread(target=self._work, args=(lane, tasks), daemon=True).start()
        for line in iter(self._requests.readline, b""):
            envelope = decode(line)
            if isinstance(envelope.content, CancelRequest):
                self._cancelled.add(envelope.number)
            else:
                self._lanes[isinstance(envelope.content, _SCORING_LANE)].put(envelope)

    def _work(self, lane: queue.SimpleQueue[Envelope], tasks: Tasks) -> None:
        while True:
            envelope = lane.get()
            number = envelope.number
            try:
                answer = tasks.do(
                    envelope.content,
                    on_progress=partial(self._send, number, "progress"),
                    should_stop=partial(self._is_cancelled, number),
                )
            except InputError as error:
                self._send(number, "failure", str(error))
            except MemoryError:
                self._send(number, "failure", "There is not enough memory for this image; close other programs.")
            except Exception as error:  # noqa: BLE001 - whatever it is, the viewer has to say it
                self._send(number, "failure", internal_error(error))
            else:
                self._send(number, "answer", answer)

    def _is_cancelled(self, number: int) -> bool:
        return number in self._cancelled

    def _send(self, number: int, kind: str, content: object) -> None:
        with self._writing:
            self._answers.write(encode(Envelope(number, kind, content)))
            self._answers.flush()


def main() -> None:
    """Serve the viewer on standard input and output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not mix with the answers
    _step_back()
    from napari_moeclip import shared
    from napari_moeclip.tasks import Tasks

    shared.belong_to(os.getppid())

    tasks = Tasks()
    try:
        Server(sys.stdin.buffer, answers).run(tasks)
    finally:
        tasks.close()
        os._exit(0)  # a batch may still run in a lane: nobody waits for it any more


def _step_back() -> None:
    """Leave the processor to the viewer when both want it."""
    import psutil

    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else _LOWER_PRIORITY)


if __name__ == "__main__":
    main()
