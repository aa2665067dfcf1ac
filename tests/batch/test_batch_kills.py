"""A run that is killed again and again, at any moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from batch_fakes import LoadFake, Recorder, settings
from hospital_files import write_nifti

from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.overview import read_status

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX signal"),
    pytest.mark.timeout(280),
]
RUN = """
    import sys
    from pathlib import Path
    from batch_fakes import LoadFake, Recorder, settings
    from moeclip_med.batch.driver import run_batch

    if __name__ == "__main__":
        watcher = Recorder()
        watcher.working = lambda counts, slices: print(counts.finished, flush=True)
        load = LoadFake(seconds_per_slice=0.01)
        run_batch(settings(Path(sys.argv[1]), Path(sys.argv[2]), identify=True), watcher, load=load)
        print("finished", flush=True)
"""


def start_run(script: Path, root: Path, output: Path) -> subprocess.Popen:
    script.write_text(textwrap.dedent(RUN))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(
        [sys.executable, str(script), str(root), str(output)], stdout=subprocess.PIPE, text=True, env=environment
    )


def records(output: Path) -> dict[Path, tuple[int, int]]:
    """Every finished result, by the inode and time of the file that is written last."""
    facts = {path: path.stat() for path in (output / "studies").rglob("record.json")}
    return {path: (fact.st_ino, fact.st_mtime_ns) for path, fact in facts.items()}


def kill(run: subprocess.Popen) -> None:
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()


def rows(output: Path) -> list[tuple[str, str, str]]:
    with (output / "triage.csv").open(encoding="utf-8", newline="") as stream:
        return sorted((row["study_uid"], row["state"], row["score"]) for row in csv.DictReader(stream))


def kill_often(tmp_path: Path, n_studies: int, n_kills: int, n_early: int) -> None:
    """Start a run and kill it, `n_kills` times while it scores and `n_early` times at any moment from its start."""
    chance = random.Random(n_studies)
    root, output = tmp_path / "archive", tmp_path / "killed"
    for number in range(n_studies):
        write_nifti(root / f"{number:03d}.nii", blob=300.0 + 5 * number)
    before: dict[Path, tuple[int, int]] = {}
    while_scoring = 0
    moments = [True] * n_kills + [False] * n_early
    chance.shuffle(moments)
    for waits_for_work in moments:
        run = start_run(tmp_path / "run.py", root, output)
        if waits_for_work:
            while int(run.stdout.readline()) <= len(before):
                """Not yet at work: a worker takes seconds to start."""
            time.sleep(chance.uniform(0.0, 0.5))
        else:
            time.sleep(chance.uniform(0.0, 6.0))
        kill(run)
        after = records(output)
        assert before.items() <= after.items(), "what was finished is neither lost nor done again"
        while_scoring += len(after) > len(before)
        before = after
        if (output / ".batch" / "ledger.sqlite").is_file():
            assert read_status(output).counts.finished <= len(after)
    assert 0 < len(before) < n_studies, "the kills came in the middle"
    assert while_scoring >= n_kills / 2
    run = start_run(tmp_path / "run.py", root, output)
    assert run.stdout.read().split()[-1] == "finished"
    assert run.wait() == 0
    assert before.items() <= records(output).items()
    assert len(records(output)) == n_studies
    assert not list((output / ".batch" / "unfinished").iterdir())
    run_batch(settings(root, tmp_path / "undisturbed", identify=True), Recorder(), load=LoadFake())
    assert rows(output) == rows(tmp_path / "undisturbed")


@pytest.mark.slow
def test_kill_9_then_the_same_command_gives_what_an_undisturbed_run_gives(tmp_path, without_processes):
    kill_often(tmp_path, n_studies=40, n_kills=1, n_early=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_at_any_moment(tmp_path, without_processes):
    kill_often(tmp_path, n_studies=250, n_kills=16, n_early=4)
