"""A watch of the puppet PACS, whose clock is set by hand."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import date

from hospital_files import Patient, write_series
from pacs_jobs import Listener, pacs_job
from puppet import Puppet

from moeclip_med.batch.pacs.dicomweb import PacsServer
from moeclip_med.batch.pacs.http import PacsAddress
from moeclip_med.batch.pacs.watching import PacsWatcher, WatchMemory, WatchQuery

DAY = date(2024, 2, 29)


SHAPE = (64, 64, 3)


def connect(url: str, **changes) -> PacsServer:
    return PacsServer(PacsAddress(url, **{"attempts": 2, "first_wait": 0.01, **changes}))


def study(puppet: Puppet, folder, series: int = 1, day: str = "20240229") -> tuple[str, list[str]]:
    """Let the puppet hold a study; gives its UID and those of its series."""
    patient = Patient()
    uids = [write_series(folder / f"s{n}", patient, shape=SHAPE, seed=n) for n in range(series)]
    for number in range(series):
        puppet.hold(folder / f"s{number}", day)
    return patient.study_uid, uids


class Watch:
    """A watch of the puppet; its clock is set by hand."""

    def __init__(self, puppet: Puppet, folder, opened: ExitStack, **changes) -> None:
        self.now = 1_700_000_000.0
        self.listener = Listener()
        self.memory = WatchMemory(folder / "watch.sqlite")
        opened.callback(self.memory.close)
        self.job = opened.enter_context(pacs_job(connect(puppet.url), folder / "job", **changes))
        job = replace(self.job, note_own=self.memory.note_own)
        self.watcher = PacsWatcher(job, self.memory, WatchQuery(), self.listener, lambda: self.now)

    def poll(self, day: date = DAY, after: float = 60.0):
        self.now += after
        return self.watcher.poll(day)
