"""Jobs on a PACS that score in this process."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from batch_fakes import FakeDetector, settings

from moeclip_med.batch.driver import settings_that_matter, work_order
from moeclip_med.batch.output import BatchOutput
from moeclip_med.batch.pacs.dicomweb import PacsServer
from moeclip_med.batch.pacs.scoring import PacsJob, PacsResult
from moeclip_med.batch.resources import Resources
from moeclip_med.batch.study import StudyScorer
from moeclip_med.pipeline import ScoreSettings
from moeclip_med.results import ResultFormat

FORMATS = frozenset({ResultFormat.SEG, ResultFormat.SR})


@contextmanager
def pacs_job(server: PacsServer, folder: Path, *, formats=FORMATS, destination=None, detector=None):
    """A job that keeps its results in a folder."""
    folder.mkdir(exist_ok=True)
    chosen = settings(folder, folder / "out", score=ScoreSettings(formats))
    with BatchOutput(folder / "out") as output:
        fingerprint = output.agree_on(settings_that_matter(chosen), redo=False)
        order = work_order(chosen, output, fingerprint, Resources(1, 1, None))
        scorer = StudyScorer(order, detector or FakeDetector(), output.private / "unfinished" / "here")
        (folder / "scratch").mkdir(exist_ok=True)
        yield PacsJob(server, scorer, output, folder / "scratch", destination)


def states(results: list[PacsResult]) -> list[str]:
    return sorted(record.state.value for result in results for record in result.records)


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.results: list[PacsResult] = []
        self.troubles: list[tuple[str, str]] = []
        self.notices: list[str] = []

    def series(self, study, result):
        self.results.append(result)

    def trouble(self, study, reason, next_try):
        self.troubles.append((study, reason))

    def notice(self, message):
        self.notices.append(message)
