"""A detector small enough to test a batch with: it scores brightness, and misbehaves where a file tells it to.

Importable by worker processes, which inherit the import path of the tests.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from moeclip_med.batch.batch_settings import BatchSettings
from moeclip_med.batch.study import StudyScorer
from moeclip_med.batch.workers import Finished, Ready, StudyProgress
from moeclip_med.pipeline import ScoreSettings
from moeclip_med.results import ResultFormat
from moeclip_med.scoring.detector import SliceMaps
from moeclip_med.weights import Threshold

LIGHT = frozenset({ResultFormat.NIFTI, ResultFormat.JSON, ResultFormat.CSV, ResultFormat.RUN})

# So many slices tell the misbehaving fake what to do.
FAULT, SEGFAULT, HANG, HOG = 3, 5, 6, 7


class Scale:
    centre, spread = 0.0, 1.0

    def score(self, raw, out=None):
        scored = 1 / (1 + np.exp(-np.asarray(raw, dtype=np.float32)))
        if out is None:
            return scored.astype(np.float32)
        out[...] = scored
        return out

    def raw(self, score):
        return float(np.log(score / (1 - score)))


class FakeDetector:
    """Brightness as anomaly: the window's upper end scores 0.73."""

    crops_foreground = False
    notes = ()

    def __init__(self, identity: str = "f" * 64, seconds_per_slice: float = 0.0) -> None:
        self.identity = identity
        self.seconds_per_slice = seconds_per_slice
        self.engine = SimpleNamespace(name="fake", description="brightness", batch_size=8, fallback_reason="")
        self.metadata = SimpleNamespace(
            name="fake", version="1", score_scale=Scale(), weak_kinds={}, prompts=None,
            threshold=Threshold(0.7, "made up"), threshold_for=lambda _: Threshold(0.7, "made up"),
        )  # fmt: skip

    def map_slices(self, slices, box=None, *, want_routing=False):
        time.sleep(self.seconds_per_slice * len(slices))
        return SliceMaps(slices.mean(dim=1).to(torch.float32) * 2 - 1, None)


class MisbehavingDetector(FakeDetector):
    """Dies, hangs, hogs or raises on volumes of certain numbers of slices."""

    def map_slices(self, slices, box=None, *, want_routing=False):
        if len(slices) == SEGFAULT:
            os.kill(os.getpid(), signal.SIGSEGV)
        if len(slices) == HANG:
            time.sleep(3600)
        if len(slices) == HOG:
            self.hogged = np.ones(2 * 2**30 // 8)
            time.sleep(3600)
        if len(slices) == FAULT:
            raise KeyError("made up fault")
        return super().map_slices(slices, box)


@dataclass(frozen=True)
class LoadFake:
    identity: str = "f" * 64
    seconds_per_slice: float = 0.0
    misbehave: bool = False
    pids: Path | None = None
    """A folder where each worker leaves its process id."""

    def __call__(self):
        if self.pids is not None:
            (self.pids / str(os.getpid())).touch()
        if self.misbehave:
            return MisbehavingDetector(self.identity)
        return FakeDetector(self.identity, self.seconds_per_slice)


class ExecutorWithoutProcesses:
    """Scores in this process: loop, scorer and ledger of a run without the seconds that a worker takes to start.

    Takes the place of `moeclip_med.batch.driver.make_executor`.
    """

    def __init__(self, settings, resources, order, load):
        self._detector = load()
        self._scorer = StudyScorer(order, self._detector, order.private / "unfinished" / "here")
        self._is_ready = False
        self._job = None

    def free(self):
        return int(self._is_ready and self._job is None)

    def submit(self, job):
        self._job = job

    def wait(self, seconds):
        if not self._is_ready:
            self._is_ready = True
            return [Ready(self._detector.identity)]
        if self._job is None:
            return []
        job, self._job = self._job, None
        events = []
        outcome = self._scorer.score(job, lambda _, done, total: events.append(StudyProgress(job.study, done, total)))
        return [*events, Finished(outcome)]

    def close(self):
        pass


@dataclass
class Recorder:
    """A watcher that remembers."""

    warnings: list[str] = field(default_factory=list)
    plans: list[object] = field(default_factory=list)
    snapshots: list[object] = field(default_factory=list)

    def planning(self, what, done, total):
        pass

    def planned(self, plan, counts):
        self.plans.append(plan)

    def working(self, counts, slices):
        self.snapshots.append((counts, dict(slices)))

    def warn(self, message):
        self.warnings.append(message)


def settings(root: Path, output: Path, **changes) -> BatchSettings:
    score = changes.pop("score", ScoreSettings(formats=LIGHT))
    return BatchSettings(root, output, score, **{"workers": 1, "threads": 1, **changes})
