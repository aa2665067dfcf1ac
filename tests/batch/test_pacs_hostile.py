"""A PACS that lies, forgets, repeats itself, never ends: nothing of it holds up another study."""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta

import pytest
import requests
from hospital_files import Patient, write_series
from moeclip_transforms.errors import InputError
from pacs_jobs import states
from puppet_watch import DAY, SHAPE, Watch, connect, study

from moeclip_med.batch.pacs import dicomweb, http
from moeclip_med.batch.pacs.dicomweb import PacsError, PacsUnreachableError, RemoteSeries
from moeclip_med.batch.pacs.http import AnswerLimits
from moeclip_med.batch.pacs.service import Metrics, Service, read_watch_status
from moeclip_med.batch.pacs.watching import PacsWatcher, WatchMemory, WatchQuery


def test_a_series_that_always_answers_500_holds_up_neither_its_study_nor_others(puppet, watch, tmp_path):
    first, uids = study(puppet, tmp_path / "a", series=3)
    study(puppet, tmp_path / "b")
    puppet.faults.status[f"studies/{first}/series/{uids[1]}"] = 500
    watch.poll()
    poll = watch.poll()
    assert (poll.scored, poll.put_off) == (1, 1)
    assert states(watch.listener.results) == ["done", "done", "done", "failed"]
    (pending,) = watch.memory.pending()
    assert (pending.study_uid, pending.tries) == (first, 1)
    assert "answers 500" in pending.reason
    puppet.faults.status.clear()
    asked = len(puppet.asked)
    assert watch.poll(after=1.0).scored == 0, "not before its time"
    assert watch.poll(after=120.0).scored == 1
    fetched = [path for _, path, _ in puppet.asked[asked:] if path.endswith(tuple(uids))]
    assert [path.rpartition("/")[2] for path in fetched] == [uids[1]], "what was done is not fetched again"
    assert watch.memory.pending() == []
    assert watch.job.output.ledger.counts().series["failed"] == 0


def test_each_further_try_waits_longer_up_to_six_hours(puppet, watch, tmp_path):
    uid, (series,) = study(puppet, tmp_path / "a")
    puppet.faults.status[f"studies/{uid}/series/{series}"] = 503
    watch.poll()
    waits = []
    for _ in range(12):
        watch.poll(after=6 * 3600 + 1)
        waits.append(watch.memory.pending()[0].next_try - watch.now)
    assert waits[:3] == [60.0, 120.0, 240.0]
    assert waits[-1] == 6 * 3600


def test_a_study_that_is_gone_between_two_questions_is_told_and_comes_back_as_new(puppet, watch, tmp_path):
    gone, _ = study(puppet, tmp_path / "a")
    study(puppet, tmp_path / "b")
    puppet.faults.forgets.add(gone)
    watch.poll()
    assert watch.poll().scored == 1
    assert any("no longer there" in notice for notice in watch.listener.notices)
    assert not any(gone in notice for notice in watch.listener.notices), "by its pseudonym"
    puppet.faults.forgets.clear()
    assert [watch.poll().scored, watch.poll().scored] == [0, 1]


@pytest.mark.parametrize("count", ["many", -3, None, 10**30, 10**400, float("nan"), [], 2.5, True, "3"])
def test_a_count_that_is_none_is_not_believed(puppet, watch, tmp_path, count):
    study(puppet, tmp_path / "a")
    puppet.faults.counts = count
    watch.poll()
    assert watch.poll().scored == 1


def test_a_count_that_is_too_high_puts_off_that_study_alone(puppet, watch, tmp_path):
    study(puppet, tmp_path / "a")
    puppet.faults.counts = 99
    watch.poll()
    poll = watch.poll()
    assert (poll.scored, poll.put_off) == (0, 1)
    assert "only 3 of 99 instances came" in watch.memory.pending()[0].reason


@pytest.mark.parametrize("uid", ["", "..", "../../etc", "1.2/3", "x" * 65, None, 5, {}, "1.2 3", "1.2\n3"])
def test_items_without_a_usable_uid_are_told_and_left_out(puppet, watch, tmp_path, uid):
    study(puppet, tmp_path / "a")
    puppet.faults.extra = [{"0020000D": {"vr": "UI", "Value": [uid]}}, {"0020000D": {}}, {}]
    watch.poll()
    assert watch.poll().scored == 1
    assert all("/.." not in path for _, path, _ in puppet.asked)
    if uid != 5:
        assert any("3 items without a usable UID" in notice for notice in watch.listener.notices)


def test_a_list_that_is_capped_is_read_to_its_end(puppet, tmp_path):
    puppet.faults.extra = [{"0020000D": {"Value": [f"1.2.{n}"]}} for n in range(257)]
    for cap in (100, 7):
        puppet.faults.cap, puppet.faults.warning = cap, '299 host "limited"' if cap == 7 else ""
        found = connect(puppet.url).find_studies({})
        assert len(found.uids) == 257
        assert found.notices == ()


def test_a_server_that_ignores_the_offset_ends_and_is_told_where_there_may_be_more(puppet):
    puppet.faults.extra = [{"0020000D": {"Value": [f"1.2.{n}"]}} for n in range(150)]
    puppet.faults.ignores_offset = True
    assert connect(puppet.url).find_studies({}).notices == (), "it gave all at once"
    puppet.faults.cap, puppet.faults.warning = 100, '299 host: "there are more \x1b[31m"'
    found = connect(puppet.url).find_studies({})
    assert len(found.uids) == 100
    (notice,) = found.notices
    assert "there may be more" in notice
    assert "\x1b" not in notice
    assert len(puppet.asked) == 4


def test_a_list_without_end_ends(puppet, monkeypatch):
    monkeypatch.setattr(dicomweb, "MOST_ITEMS", 2000)
    puppet.faults.endless = True
    found = connect(puppet.url).find_studies({})
    assert len(found.uids) == 2000
    assert "does not end" in found.notices[0]


def test_a_study_taken_just_before_midnight_and_one_from_tomorrow_are_seen(puppet, watch, tmp_path):
    study(puppet, tmp_path / "yesterday", day="20240228")
    study(puppet, tmp_path / "tomorrow", day="20240301")
    watch.poll(DAY)
    assert watch.poll(DAY).scored == 2


def test_after_a_week_without_power_nothing_is_missed(puppet, watch, tmp_path):
    watch.poll(DAY)
    study(puppet, tmp_path / "meanwhile", day="20240302")
    later = DAY + timedelta(days=7)
    watch.poll(later)
    assert watch.poll(later).scored == 1
    assert watch.memory.watermark(DAY) == later


def test_a_clock_that_was_ahead_for_a_while_hides_no_study(puppet, watch, tmp_path):
    watch.poll(DAY)
    watch.poll(date(2099, 1, 1))
    study(puppet, tmp_path / "after", day="20240301")
    later = DAY + timedelta(days=1)
    watch.poll(later)
    assert watch.poll(later).scored == 1
    assert any("clock was set back" in notice for notice in watch.listener.notices)
    assert watch.memory.watermark(DAY) == later


def test_a_clock_that_stands_before_the_first_poll_is_not_believed(puppet, watch, tmp_path):
    watch.poll(DAY)
    study(puppet, tmp_path / "long ago", day="20010101")
    assert watch.poll(date(1970, 1, 1)).listed == 0
    assert watch.memory.watermark(DAY) == DAY


def test_a_study_put_off_by_a_clock_that_was_ahead_is_tried_again(puppet, watch, tmp_path):
    _, (series,) = study(puppet, tmp_path / "a")
    puppet.faults.cut[series] = 100
    watch.now += 3e9
    watch.poll(DAY)
    watch.poll(DAY)
    assert len(watch.memory.pending()) == 1
    puppet.faults.cut.clear()
    watch.now -= 3e9
    assert watch.poll(DAY).scored == 1


def test_what_is_still_arriving_at_midnight_is_scored_though_the_query_no_longer_names_it(puppet, watch, tmp_path):
    study(puppet, tmp_path / "a", day="20240227")
    watch.poll(DAY)
    watch.memory.keep_fact("watermark", "2024-03-10")
    assert watch.poll(date(2024, 3, 10)).scored == 1
    assert states(watch.listener.results) == ["done"]


def test_a_pacs_that_says_nothing_ends_the_look_and_the_watermark_stays(puppet, watch, tmp_path):
    for number in range(5):
        _, (series,) = study(puppet, tmp_path / str(number))
        puppet.faults.silent.add(series)
    watch.poll(DAY)
    with pytest.raises(PacsUnreachableError):
        watch.poll(DAY + timedelta(days=1))
    assert watch.memory.watermark(DAY) == DAY
    puppet.faults.silent.clear()
    assert watch.poll(DAY + timedelta(days=1), after=3600).scored == 5


def test_a_series_whose_answer_is_always_cut_is_put_off_and_its_files_removed(puppet, watch, tmp_path):
    _, (series,) = study(puppet, tmp_path / "a")
    puppet.faults.cut[series] = 30
    watch.poll()
    assert watch.poll().put_off == 1
    assert list(watch.job.scratch.iterdir()) == []


def test_instances_of_another_patient_are_refused_and_nothing_of_them_is_kept(puppet, watch, tmp_path):
    _, (series,) = study(puppet, tmp_path / "a")
    write_series(tmp_path / "other", Patient(), shape=SHAPE)
    puppet.faults.instead[series] = tmp_path / "other"
    watch.poll()
    assert watch.poll().put_off == 1
    assert "another study or series" in watch.memory.pending()[0].reason
    assert list(watch.job.scratch.iterdir()) == []


def test_a_series_that_the_pacs_lists_for_another_study_is_refused(puppet, tmp_path):
    puppet.faults.body["studies/1.2/series"] = b'[{"0020000E": {"Value": ["1.2.3"]}, "0020000D": {"Value": ["6.6.6"]}}]'
    with pytest.raises(PacsError, match="another study"):
        connect(puppet.url).find_series("1.2")


def test_a_list_of_too_many_bytes_is_not_read(puppet):
    puppet.faults.body["studies"] = b"[" + b" " * 3_000_000 + b"]"
    with pytest.raises(PacsError, match="sends more than 1 MiB"):
        connect(puppet.url, limits=AnswerLimits(json_bytes=2**20)).find_studies({})


def test_a_series_of_too_many_bytes_is_not_kept(puppet, tmp_path):
    uid, (series,) = study(puppet, tmp_path / "a")
    with pytest.raises(PacsError, match="sends more than"):
        connect(puppet.url, limits=AnswerLimits(series_bytes=5000)).fetch(
            RemoteSeries(uid, series, "MR", "", 3), tmp_path / "down"
        )


def test_an_answer_that_drips_ends(puppet, tmp_path):
    uid, (series,) = study(puppet, tmp_path / "a")
    puppet.faults.drip = 0.05
    with pytest.raises(PacsUnreachableError, match="takes longer than"):
        connect(puppet.url, attempts=1, limits=AnswerLimits(seconds=0.2)).fetch(
            RemoteSeries(uid, series, "MR", "", 3), tmp_path / "down"
        )


def endless(head: bytes, piece: bytes):
    """An answer that begins, and then sends a little for ever."""

    def pieces():
        yield head
        while True:
            time.sleep(0.02)
            yield piece

    return pieces


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        endless(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        endless(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["a byte now and then", "a header without end", "continue without end", "small chunks"],
)
def test_a_list_that_comes_byte_by_byte_ends(puppet, answer):
    puppet.faults.raw["studies"] = answer
    limits = AnswerLimits(json_seconds=0.3)
    with pytest.raises(PacsUnreachableError, match=r"takes longer than 0\.3 s") as caught:
        connect(puppet.url, attempts=1, limits=limits).find_studies({})
    assert caught.value.has_answered


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://\xe9\xff/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 5\r\n\r\n[]",
    ],
    ids=["no address", "no text", "a negative length", "no gzip", "two lengths"],
)
def test_malformed_answers_end_no_watch(puppet, watch, tmp_path, answer):
    first, _ = study(puppet, tmp_path / "a")
    study(puppet, tmp_path / "b")
    puppet.faults.raw[f"studies/{first}/"] = lambda: [answer]
    watch.poll()
    watch.poll()
    assert states(watch.listener.results) == ["done"]
    assert len(watch.listener.troubles) == 2


def test_a_server_that_asks_to_be_left_alone_is_for_a_minute_at_most(puppet, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for asked, expected in (("7", 7.0), ("99999999", 60.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 0.0)):
        head = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()
        puppet.faults.raw["studies"] = lambda head=head: [head]
        waits.clear()
        with pytest.raises(PacsUnreachableError):
            connect(puppet.url).find_studies({})
        assert max(waits) == expected


def test_a_full_disk_while_fetching_is_no_fault_of_the_pacs(puppet, watch, tmp_path, monkeypatch):
    study(puppet, tmp_path / "a")
    watch.poll()

    def full(*_: object):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(dicomweb, "save_parts", full)
    with pytest.raises(InputError, match="No space left on device") as caught:
        watch.poll()
    assert not isinstance(caught.value, PacsError)


def test_the_service_goes_on_after_trouble_tells_figures_and_its_health(puppet, tmp_path):
    uid, _ = study(puppet, tmp_path / "a", day=f"{date.today():%Y%m%d}")  # noqa: DTZ011
    metrics = Metrics(0)
    try:
        with ExitStack() as opened:
            watch = Watch(puppet, tmp_path, opened)
            memory = WatchMemory(watch.job.output.private / "watch.sqlite")
            opened.callback(memory.close)
            watcher = PacsWatcher(replace(watch.job, note_own=memory.note_own), memory, WatchQuery(), watch.listener)
            written: list[bool] = []
            service = Service(watcher, memory, watch.listener, 0.01, lambda: written.append(True), metrics)
            puppet.faults.status["studies"] = 503
            service.run(polls=1)
            assert len(watch.listener.notices) == 1
            puppet.faults.status.clear()
            service.run(polls=2)
            assert written == [True]
            status = read_watch_status(watch.job.output.folder)
            assert status.seconds_since_poll < 60
            assert status.counts == {"done": 1}
            if os.name == "posix":
                assert stat.S_IMODE((watch.job.output.private / "watch.sqlite").stat().st_mode) == 0o600
        told = requests.get(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5).text
        assert 'moeclip_med_polls_total{outcome="whole"} 2.0' in told
        assert 'moeclip_med_polls_total{outcome="failed"} 1.0' in told
        assert uid not in told
    finally:
        metrics.close()


def test_a_folder_without_a_watch_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no watch"):
        read_watch_status(tmp_path)


def test_waits_grow_and_end(puppet, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    puppet.faults.status["studies"] = 500
    with pytest.raises(PacsUnreachableError, match=r"\(5 tries\)"):
        connect(puppet.url, attempts=5, first_wait=1.0).find_studies({})
    assert [wait for wait in waits if wait >= 1] == [2.0, 4.0, 8.0]
    assert http.TIMEOUT_SECONDS[1] < 600
