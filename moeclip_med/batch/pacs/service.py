"""`pacs watch` as a service: poll after poll until it is told to stop, with figures for whoever runs it.

The figures are Prometheus metrics on loopback alone: numbers, no identifiers, no pseudonyms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError, MissingExtraError

from moeclip_med.batch.output import PRIVATE_NAME
from moeclip_med.batch.pacs.http import PacsError
from moeclip_med.batch.pacs.watching import WatchMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moeclip_med.batch.pacs.scoring import PacsResult
    from moeclip_med.batch.pacs.watching import PacsWatcher, Pending, WatchListener

MEMORY_NAME = "watch.sqlite"
LONGEST_PAUSE_SECONDS = 600.0


class Metrics:
    """Figures of a watch, served on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        """Serve them at `/metrics`; port 0 takes a free one.

        Raises:
            MissingExtraError: If `prometheus_client` is not installed.
            InputError: If the port is taken.
        """
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, start_http_server
        except ImportError as error:
            raise MissingExtraError(package="prometheus_client", extra="pacs", purpose="--metrics-port") from error
        registry = CollectorRegistry()
        self._polls = Counter("moeclip_med_polls", "Polls of the PACS.", ["outcome"], registry=registry)
        self._series = Counter("moeclip_med_series", "Series by outcome.", ["outcome"], registry=registry)
        self._sent = Counter("moeclip_med_objects_stored", "DICOM objects stored.", registry=registry)
        self._pending = Gauge("moeclip_med_studies_pending", "Studies that wait for another try.", registry=registry)
        self._last = Gauge(
            "moeclip_med_last_poll_seconds", "When the last complete poll ended, Unix time.", registry=registry
        )
        self._seconds = Summary("moeclip_med_poll_seconds", "How long polls took.", registry=registry)
        try:
            self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        except OSError as error:
            raise InputError(
                f"--metrics-port {port} cannot be used ({error.strerror or error}); name another one"
            ) from error
        self.port = int(self._server.server_port)

    def series(self, result: PacsResult) -> None:
        """Count what became of a series."""
        for record in result.records:
            self._series.labels(record.state.value).inc()
        if result.error:
            self._series.labels("put off").inc()
        self._sent.inc(result.stored)

    def poll(self, outcome: str, seconds: float, pending: int) -> None:
        """Count a poll: "whole" or "failed"."""
        self._polls.labels(outcome).inc()
        self._seconds.observe(seconds)
        self._pending.set(pending)
        if outcome == "whole":
            self._last.set_to_current_time()

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Service:
    """Polls again and again.

    Attributes:
        watcher: Polls.
        memory: What it remembers; also when it last looked, for the health check.
        listener: Told about what goes wrong with a poll.
        interval: Between two polls, s; longer while the PACS does not answer.
        after_poll: Called after each poll that scored something: writes the lists.
        metrics: Told about polls, or None.
    """

    watcher: PacsWatcher
    memory: WatchMemory
    listener: WatchListener
    interval: float
    after_poll: Callable[[], None]
    metrics: Metrics | None = None

    def run(self, polls: int | None = None) -> None:
        """Poll for ever, or so many times. A signal ends it as an exception, which lets go of everything in order.

        Raises:
            InputError: If no poll can succeed: the disk is full, or the output is gone.
        """
        pause, done = self.interval, 0
        while polls is None or done < polls:
            if done:
                time.sleep(pause)
            done += 1
            pause = self.interval if self._poll() else min(2 * pause, max(self.interval, LONGEST_PAUSE_SECONDS))

    def _poll(self) -> bool:
        """Poll once; returns whether the list of studies came whole."""
        started = time.monotonic()
        is_whole = True
        try:
            poll = self.watcher.poll(datetime.now(UTC).date())
            if poll.scored or poll.put_off:
                self.after_poll()
            self.memory.keep_fact("last poll", str(time.time()))
        except PacsError as error:
            is_whole = False
            self.listener.notice(str(error))
        if self.metrics is not None:
            outcome = "whole" if is_whole else "failed"
            self.metrics.poll(outcome, time.monotonic() - started, len(self.memory.pending()))
        return is_whole


@dataclass(frozen=True)
class WatchStatus:
    """How a watch fares, read from its memory.

    Attributes:
        seconds_since_poll: Since the last poll that went well, s; None before the first.
        watermark: The day up to which every poll succeeded, or "".
        counts: Studies by state: changing, waiting, done, gone.
        pending: Studies that wait for another try.
    """

    seconds_since_poll: float | None
    watermark: str
    counts: dict[str, int]
    pending: tuple[Pending, ...]


def read_watch_status(output: Path) -> WatchStatus:
    """Read how the watch with this output folder fares; changes nothing.

    Raises:
        InputError: If the folder holds no watch.
    """
    path = output / PRIVATE_NAME / MEMORY_NAME
    if not path.is_file():
        raise InputError(f'"{output}" holds no watch; name the --output folder of "moeclip-med pacs watch"')
    memory = WatchMemory(path, read_only=True)
    try:
        last = memory.fact("last poll")
        return WatchStatus(
            time.time() - float(last) if last else None,
            memory.fact("watermark"),
            memory.counts(),
            tuple(memory.pending()),
        )
    finally:
        memory.close()
