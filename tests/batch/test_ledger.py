"""The ledger keeps its promises: one claim per study, whole steps, a sentence when the disk is full."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from moeclip_transforms.errors import InputError
from sentences import facts, lacking

from moeclip_med.batch.database import RunLock, StorageError, explained
from moeclip_med.batch.ledger import Ledger
from moeclip_med.batch.records import FileStamp, SeriesRecord, SeriesState, StudyReport, StudyState


def filled(path: Path, n_studies: int) -> Ledger:
    ledger = Ledger(path)
    with ledger.transaction():
        for number in range(n_studies):
            ledger.add_study(f"study-{number:04d}", "patient-a", "signature", [FileStamp(Path("x"), 10, 1)])
    return ledger


def report(study: str, *, state: StudyState = StudyState.DONE) -> StudyReport:
    record = SeriesRecord(f"{study}/series", SeriesState.DONE, score=0.5, notes=("a note",))
    return StudyReport(study, state, series=(record,), seconds=1.5)


def test_a_study_goes_from_waiting_to_running_to_done(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 1)
    run = ledger.start_run("1.0")
    row = ledger.claim(run)
    assert row is not None
    assert (row.study, row.attempts, row.files, row.bytes) == ("study-0000", 1, 1, 10)
    assert ledger.counts().studies[StudyState.RUNNING] == 1
    assert ledger.claim(run) is None
    ledger.finish(report("study-0000"))
    assert ledger.counts().studies[StudyState.DONE] == 1
    assert list(ledger.series()) == [
        ("study-0000", SeriesRecord("study-0000/series", SeriesState.DONE, score=0.5, notes=("a note",)))
    ]


def test_what_a_killed_run_left_running_waits_again(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 2)
    ledger.claim(ledger.start_run("1.0"))
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    run = again.start_run("1.0")
    assert again.counts().studies[StudyState.WAITING] == 2
    assert again.claim(run).study == "study-0001"  # the one not yet tried comes first
    assert again.claim(run).attempts == 2


def test_changed_files_make_a_finished_study_wait_again(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 1)
    ledger.claim(ledger.start_run("1.0"))
    ledger.finish(report("study-0000"))
    stamps = [FileStamp(Path("x"), 10, 1)]
    with ledger.transaction():
        ledger.add_study("study-0000", "patient-a", "signature", stamps)
    assert ledger.counts().studies[StudyState.DONE] == 1
    with ledger.transaction():
        ledger.add_study("study-0000", "patient-a", "another signature", stamps)
    assert ledger.counts().studies[StudyState.WAITING] == 1


def test_deaths_are_counted(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 1)
    run = ledger.start_run("1.0")
    ledger.claim(run)
    assert ledger.give_back("study-0000", died=True) == 1
    ledger.claim(run)
    assert ledger.give_back("study-0000", died=True) == 2
    assert ledger.give_back("study-0000", died=False) == 2


def test_failures_are_tried_again_only_when_asked(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 2)
    run = ledger.start_run("1.0")
    ledger.claim(run)
    ledger.claim(run)
    ledger.finish(report("study-0000", state=StudyState.FAILED))
    ledger.finish(report("study-0001"))
    ledger.start_run("1.0")
    assert ledger.counts().studies[StudyState.WAITING] == 0
    ledger.retry(failed=True, filtered=False)
    assert ledger.counts().studies[StudyState.WAITING] == 1


def test_many_claimers_never_get_the_same_study(tmp_path):
    filled(tmp_path / "ledger.sqlite", 200).close()
    claimed: list[str] = []

    def claim_all() -> None:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        while (row := ledger.claim(1)) is not None:
            claimed.append(row.study)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"study-{number:04d}" for number in range(200)]


def test_a_second_run_is_turned_away_and_a_dead_one_is_not_in_the_way(tmp_path):
    code = f"""
        import time
        from pathlib import Path
        from moeclip_med.batch.database import RunLock
        lock = RunLock(Path({str(tmp_path / "lock")!r}), Path("out"))
        print("held", flush=True)
        time.sleep(60)
    """
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError) as caught:
        RunLock(tmp_path / "lock", Path("out"))
    assert facts(caught.value) == facts(
        'another run is working on "out"; wait for it ("moeclip-med batch status" tells how far it is), '
        "or choose another output folder"
    )
    holder.kill()
    holder.wait()
    RunLock(tmp_path / "lock", Path("out")).release()


WRITER = """
    import sys
    from pathlib import Path
    from test_ledger import report
    from moeclip_med.batch.ledger import Ledger
    ledger = Ledger(Path(sys.argv[1]))
    run = ledger.start_run("1.0")
    for _ in range(int(sys.argv[2])):
        row = ledger.claim(run)
        ledger.finish(report(row.study))
        print(row.study, flush=True)
    sys.stdin.read()  # a writer never ends by itself, however late its kill comes
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX signal")
def test_kill_9_at_any_moment_loses_nothing_and_does_nothing_twice(tmp_path):
    path = tmp_path / "ledger.sqlite"
    n_kills, most_a_writer = 8, 200
    n_studies = n_kills * most_a_writer + 1
    filled(path, n_studies).close()
    told: list[str] = []
    rng = random.Random(1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for _ in range(n_kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(most_a_writer)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        told += [writer.stdout.readline().strip() for _ in range(rng.randint(1, most_a_writer // 2))]
        time.sleep(rng.uniform(0.0, 0.002))  # anywhere within the next study's steps
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.read().split()
        writer.wait()
        writer.stdin.close()
        ledger = Ledger(path)
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        done = {row.study for row in ledger.studies() if row.state is StudyState.DONE}
        assert set(told) <= done, "a study whose end was told must be in the ledger"
        assert len(done) == len(list(ledger.series())), "study and series are entered together"
        assert ledger.counts().total == n_studies
        ledger.close()
    assert len(told) == len(set(told)), "no study was done twice"
    assert n_kills <= len(told) < n_studies, "every writer was killed at its work"


def test_a_full_disk_is_one_sentence_and_leaves_the_ledger_whole(tmp_path):
    ledger = filled(tmp_path / "ledger.sqlite", 50)
    with ledger.transaction() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    before = ledger.counts()
    long_report = StudyReport(
        "study-0000", StudyState.DONE, series=(SeriesRecord("s", SeriesState.DONE, reason="x" * 100_000),)
    )
    with pytest.raises(StorageError) as caught:
        ledger.finish(long_report)
    assert "the disk is full; free space" in str(caught.value)
    assert ledger.counts() == before


def test_a_damaged_ledger_is_one_sentence(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="is damaged .*; restore it from a copy, or start again in another"):
        Ledger(path)


def test_what_another_user_owns_is_named(tmp_path):
    """As the key, or a private folder, of another user's run."""
    with pytest.raises(StorageError) as caught, explained(tmp_path / "out"):
        raise PermissionError(1, "Operation not permitted", str(tmp_path / "out" / ".batch" / "key"))
    assert not lacking(caught.value, "key", "Operation not permitted", "another user", "output folder")
