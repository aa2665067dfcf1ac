"""A real PACS on loopback: upload, score, store, read back; and everything that goes wrong on the way."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import orthanc
import pydicom
import pytest
from hospital_files import Patient, write_series
from pacs_jobs import Listener, pacs_job, states
from sentences import facts

from moeclip_med.batch.pacs.dicomweb import PacsAddress, PacsError, PacsServer, RemoteSeries
from moeclip_med.batch.pacs.dimse import DicomNode
from moeclip_med.batch.pacs.scoring import PacsJob
from moeclip_med.batch.pacs.watching import PacsWatcher, WatchMemory, WatchQuery
from moeclip_med.batch.records import SeriesState
from moeclip_med.results import ResultFormat

needs_orthanc = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing() or "-")


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch):
    """A request that hangs is a failure within the time that a test has."""
    monkeypatch.setattr("moeclip_med.batch.pacs.http.TIMEOUT_SECONDS", (5.0, 20.0))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    server = orthanc.Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture
def line(pacs):
    made = orthanc.Line(pacs.port)
    yield made
    made.close()


def connect(url: str, **changes) -> PacsServer:
    values = {"user": orthanc.USER, "password": orthanc.PASSWORD, "attempts": 3, "first_wait": 0.05, **changes}
    return PacsServer(PacsAddress(url, **values))


def upload(server: PacsServer, folder: Path, **changes) -> Patient:
    """Put a study with one series (and whatever `changes` says) into the PACS."""
    patient = Patient()
    write_series(folder, patient, **{"shape": (64, 64, 6), **changes})
    for path in sorted(folder.iterdir()):
        assert server.store(pydicom.dcmread(path))
    return patient


@pytest.fixture
def job(tmp_path):
    """Makes jobs that keep their results in one folder, one after the other."""
    with ExitStack() as opened:

        def make(server: PacsServer, name: str = "job", **changes) -> PacsJob:
            opened.close()
            return opened.enter_context(pacs_job(server, tmp_path / name, **changes))

        yield make


@needs_orthanc
def test_a_series_is_uploaded_scored_stored_and_read_back(pacs, job, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    made = job(server, destination=server)
    own: list[str] = []
    (result,) = replace(made, note_own=own.extend).score_study(patient.study_uid)
    (record,) = result.records
    assert record.reason == ""
    assert (record.state, record.findings, result.stored, result.known) == (SeriesState.DONE, 1, 2, 0)
    series = server.find_series(patient.study_uid)
    assert sorted(found.modality for found in series) == ["MR", "SEG", "SR"]
    (segmentation,) = [found for found in series if found.modality == "SEG"]
    assert segmentation.uid in own
    server.fetch(segmentation, tmp_path / "down")
    (back,) = (tmp_path / "down").iterdir()
    sent = pydicom.dcmread(made.output.folder / record.folder / "segmentation.dcm")
    assert pydicom.dcmread(back).PixelData == sent.PixelData
    assert pydicom.dcmread(back).SOPInstanceUID == sent.SOPInstanceUID


@needs_orthanc
def test_a_series_comes_back_as_it_was_stored(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    (series,) = server.find_series(patient.study_uid)
    assert series.instances == 6
    assert len(server.fetch(series, tmp_path / "down")) == 6
    before = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, (tmp_path / "up").iterdir())}
    after = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, (tmp_path / "down").iterdir())}
    assert before == after


@needs_orthanc
def test_nothing_is_stored_twice_and_own_results_are_never_scored(pacs, job, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    job(server, destination=server).score_study(patient.study_uid)
    count = pacs.count()
    again = job(server, destination=server).score_study(patient.study_uid)
    assert pacs.count() == count
    assert states(again) == ["done", "skipped", "skipped"]
    assert [(result.stored, result.known) for result in again if result.known] == [(0, 2)]


@needs_orthanc
def test_own_captures_that_look_like_images_are_known_by_their_header(pacs, job, tmp_path):
    """As on a PACS that tells no manufacturer: the series is fetched, and excluded when it is seen."""
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    captures = job(server, formats=frozenset({ResultFormat.SC}), destination=server)
    assert captures.score_study(patient.study_uid)[0].stored == 6
    found = [
        RemoteSeries(s.study_uid, s.uid, s.modality, "", s.instances) for s in server.find_series(patient.study_uid)
    ]
    server.find_series = lambda _: found
    count = pacs.count()
    records = [record for result in captures.score_study(patient.study_uid) for record in result.records]
    assert "a result of MoECLIP-Med itself" in [record.reason for record in records]
    assert pacs.count() == count


@needs_orthanc
def test_results_are_kept_under_pseudonyms(pacs, job, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    made = job(server)
    made.score_study(patient.study_uid)
    folder = made.output.folder
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert [path.name for path in made.scratch.iterdir()] == [], "what was fetched is gone"
    assert names
    assert not [name for name in names for value in patient.identifying() if value in name]


@needs_orthanc
def test_results_go_out_by_c_store(pacs, job, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    node = DicomNode.parse(f"TEST@127.0.0.1:{pacs.dicom_port}")
    assert job(server, destination=node).score_study(patient.study_uid)[0].stored == 2
    assert sorted(found.modality for found in server.find_series(patient.study_uid)) == ["MR", "SEG", "SR"]
    again = job(server, destination=node).score_study(patient.study_uid)
    assert [(result.stored, result.known) for result in again if result.known] == [(0, 2)]


@needs_orthanc
def test_a_line_cut_in_the_middle_of_a_series_is_tried_again_until_all_is_there(pacs, line, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    server = connect(line.url)
    (series,) = server.find_series(patient.study_uid)
    line.cut_after, line.most_cuts = 20_000, 2
    assert len(server.fetch(series, tmp_path / "down")) == 6
    assert line.cuts == 2
    assert len(list((tmp_path / "down").iterdir())) == 6


@needs_orthanc
@pytest.mark.parametrize("missing", [1000, 100, 3])
def test_a_line_cut_in_the_last_instance_is_noticed_though_every_instance_has_begun(pacs, line, tmp_path, missing):
    """Orthanc tells no length and ends the answer by closing the connection, as a cut line does."""
    patient = upload(connect(pacs.url), tmp_path / "up")
    server = connect(line.url)
    (series,) = server.find_series(patient.study_uid)
    before = line.carried
    server.fetch(series, tmp_path / "whole")
    line.cut_after, line.most_cuts = line.carried - before - missing, 1
    assert len(server.fetch(series, tmp_path / "down")) == 6
    assert line.cuts == 1
    whole, down = [[path.read_bytes() for path in sorted((tmp_path / n).iterdir())] for n in ("whole", "down")]
    assert down == whole


@needs_orthanc
def test_a_line_that_is_always_cut_is_given_up_and_nothing_is_stored(pacs, line, job, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    server = connect(line.url)
    count = pacs.count()
    line.cut_after = 20_000
    (result,) = job(server, destination=server).score_study(patient.study_uid)
    assert "(3 tries); check that it runs and try again later" in result.error
    assert [record.state for record in result.records] == [SeriesState.FAILED]
    assert pacs.count() == count


@needs_orthanc
def test_a_slow_line_is_waited_for(pacs, line, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    line.pause = 0.02
    server = connect(line.url)
    started = time.monotonic()
    assert len(server.fetch(server.find_series(patient.study_uid)[0], tmp_path / "down")) == 6
    assert time.monotonic() - started > 0.2


@needs_orthanc
def test_a_server_stopped_while_storing_goes_on_after_its_restart_without_doubles(job, tmp_path):
    server = orthanc.Orthanc(tmp_path / "orthanc")
    try:
        client = connect(server.url)
        patient = upload(client, tmp_path / "up")
        real, stored = client.store, []

        def store_one_then_stop(dataset):
            if stored:
                server.stop()
            stored.append(real(dataset))
            return stored[-1]

        client.store = store_one_then_stop
        (result,) = job(client, destination=client).score_study(patient.study_uid)
        assert result.is_unreachable
        assert result.stored == 1
        server.start()
        client.store = real
        again = job(client, destination=client).score_study(patient.study_uid)
        assert [(r.stored, r.known) for r in again if r.known] == [(1, 1)]
        assert server.count() == 6 + 2
    finally:
        server.stop()


@needs_orthanc
def test_a_user_who_is_not_let_in_is_told(pacs):
    with pytest.raises(PacsError) as caught:
        connect(pacs.url, user="nobody").find_series("1.2.3")
    assert facts(caught.value) == facts(
        f"{pacs.url} answers 401, not authorized; check user and password, or the token"
    )


@needs_orthanc
def test_a_study_that_is_not_there_is_said(pacs):
    with pytest.raises(PacsError) as caught:
        connect(pacs.url).find_series("1.2.3")
    assert facts(caught.value) == facts(f"{pacs.url} holds no study 1.2.3; check the StudyInstanceUID")


@needs_orthanc
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls_with_a_named_authority_and_without(pacs, tmp_path):
    certificate, both = tmp_path / "certificate.pem", tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", both, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    both.write_text(both.read_text() + certificate.read_text())
    server = orthanc.Line(pacs.port, certificate=both)
    try:
        assert connect(server.url, ca_bundle=certificate).find_studies({"PatientID": "nobody"}).uids == ()
        with pytest.raises(PacsError) as caught:
            connect(server.url).find_studies({})
        assert facts(caught.value) == facts(
            f"{server.url} has a certificate that is not trusted; name the authority's with --ca-bundle"
        )
    finally:
        server.close()


# Watching.


@needs_orthanc
def test_watching_scores_each_study_once_when_it_is_complete_and_again_when_it_grew(job, tmp_path):
    pacs = orthanc.Orthanc(tmp_path / "orthanc")
    memory = WatchMemory(tmp_path / "watch.sqlite")
    listener = Listener()
    try:
        server = connect(pacs.url)
        patient = upload(server, tmp_path / "up")
        made = replace(job(server, destination=server), note_own=memory.note_own)
        watcher = PacsWatcher(made, memory, WatchQuery(days=2), listener)

        def poll(day: date = date(2024, 2, 29)) -> int:
            return watcher.poll(day).scored

        assert [poll(), poll(), poll(), poll()] == [0, 1, 0, 0], "when it held the same twice; then never again"
        assert states(listener.results) == ["done"]
        assert pacs.count() == 6 + 2
        write_series(tmp_path / "late", patient, shape=(64, 64, 4), seed=4)
        for path in sorted((tmp_path / "late").iterdir()):
            server.store(pydicom.dcmread(path))
        assert [poll(), poll(), poll()] == [0, 1, 0]
        assert pacs.count() == 6 + 2 + 4 + 2, "the first series is not fetched again"
        assert (listener.troubles, listener.notices) == ([], [])
        assert poll(date(2024, 3, 5)) == 0
        assert memory.watermark(date(2024, 1, 1)) == date(2024, 3, 5)
    finally:
        memory.close()
        pacs.stop()
