"""A real PACS on loopback: upload, score, store, read back; and everything that goes wrong on the way."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import time
from datetime import date
from pathlib import Path

import orthanc
import pydicom
import pytest
from batch_fakes import FakeDetector
from conftest import Patient, write_series
from moeclip_transforms.errors import InputError

from moeclip_med.batch.pacs.dimse import DicomNode
from moeclip_med.batch.pacs.scoring import PacsJob, reason_not_to_fetch
from moeclip_med.batch.pacs.server import PacsAddress, PacsError, PacsServer, PacsUnreachableError, RemoteSeries
from moeclip_med.batch.pacs.watching import Watcher, WatchMemory, WatchQuery
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.pipeline import ScoreSettings
from moeclip_med.results import ResultFormat

needs_orthanc = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing() or "-")
FORMATS = frozenset({ResultFormat.SEG, ResultFormat.SR})


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


def job(server: PacsServer, **changes) -> PacsJob:
    return PacsJob(server, FakeDetector(), ScoreSettings(FORMATS), Pseudonyms(b"k" * 32), **changes)


@needs_orthanc
def test_a_series_is_uploaded_scored_stored_and_read_back(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    (result,) = job(server, destination=server, output=tmp_path / "out").score_study(patient.study_uid)
    assert (result.state, result.findings, result.known) == ("scored", 1, 0)
    assert result.stored == 2
    series = server.find_series(patient.study_uid)
    assert sorted(found.modality for found in series) == ["MR", "SEG", "SR"]
    (segmentation,) = [found for found in series if found.modality == "SEG"]
    assert segmentation.uid in result.stored_series
    server.fetch(segmentation, tmp_path / "down")
    (back,) = (tmp_path / "down").iterdir()
    sent = pydicom.dcmread(result.folder / "segmentation.dcm")
    assert pydicom.dcmread(back).PixelData == sent.PixelData
    assert pydicom.dcmread(back).SOPInstanceUID == sent.SOPInstanceUID


@needs_orthanc
def test_a_series_comes_back_as_it_was_stored(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    (series,) = server.find_series(patient.study_uid)
    assert series.instances == 6
    assert server.fetch(series, tmp_path / "down") == 6
    before = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, (tmp_path / "up").iterdir())}
    after = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, (tmp_path / "down").iterdir())}
    assert before == after


@needs_orthanc
def test_nothing_is_stored_twice_and_own_results_are_never_scored(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    job(server, destination=server).score_study(patient.study_uid)
    count = pacs.count()
    again = job(server, destination=server).score_study(patient.study_uid)
    assert pacs.count() == count
    assert sorted(result.state for result in again) == ["left out", "left out", "scored"]
    (scored,) = [result for result in again if result.state == "scored"]
    assert (scored.stored, scored.known) == (0, 2)


@needs_orthanc
def test_own_captures_that_look_like_images_are_known_by_their_header(pacs, tmp_path):
    """As on a PACS that tells no manufacturer: the series is fetched, and left out when it is seen."""
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    captures = PacsJob(
        server, FakeDetector(), ScoreSettings(frozenset({ResultFormat.SC})), Pseudonyms(b"k" * 32), destination=server
    )
    assert captures.score_study(patient.study_uid)[0].stored == 6
    found = [
        RemoteSeries(s.study_uid, s.uid, s.modality, "", s.instances) for s in server.find_series(patient.study_uid)
    ]
    server.find_series = lambda _: found
    count = pacs.count()
    reasons = {result.state: result.reason for result in captures.score_study(patient.study_uid)}
    assert reasons["left out"] == "a result of MoECLIP-Med itself"
    assert pacs.count() == count


@needs_orthanc
def test_results_are_kept_under_pseudonyms(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    job(server, output=tmp_path / "out").score_study(patient.study_uid)
    names = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")]
    assert names
    assert not [name for name in names for value in patient.identifying() if value in name]


@needs_orthanc
def test_results_go_out_by_c_store(pacs, tmp_path):
    server = connect(pacs.url)
    patient = upload(server, tmp_path / "up")
    node = DicomNode.parse(f"TEST@127.0.0.1:{pacs.dicom_port}")
    assert job(server, destination=node).score_study(patient.study_uid)[0].stored == 2
    assert sorted(found.modality for found in server.find_series(patient.study_uid)) == ["MR", "SEG", "SR"]
    (scored, *_) = [r for r in job(server, destination=node).score_study(patient.study_uid) if r.state == "scored"]
    assert (scored.stored, scored.known) == (0, 2)


def test_a_node_that_is_not_there_is_said():
    port = orthanc.free_port()
    with pytest.raises(PacsUnreachableError) as caught:
        DicomNode("127.0.0.1", port, "TEST").store(pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm")))
    assert str(caught.value) == f"TEST@127.0.0.1:{port} cannot be reached or does not accept us; check its settings"
    with pytest.raises(InputError) as caught:
        DicomNode.parse("somewhere")
    assert (
        str(caught.value)
        == '--c-store "somewhere" is not understood; write TITLE@host:port, e.g. "ARCHIVE@10.0.0.5:104"'
    )


@needs_orthanc
def test_a_line_cut_in_the_middle_of_a_series_is_tried_again_until_all_is_there(pacs, line, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    server = connect(line.url)
    (series,) = server.find_series(patient.study_uid)
    line.cut_after, line.most_cuts = 20_000, 2
    assert server.fetch(series, tmp_path / "down") == 6
    assert line.cuts == 2
    assert len(list((tmp_path / "down").iterdir())) == 6


@needs_orthanc
def test_a_line_that_is_always_cut_is_given_up_and_nothing_is_stored(pacs, line, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    server = connect(line.url)
    count = pacs.count()
    line.cut_after = 20_000
    with pytest.raises(
        PacsUnreachableError, match=r"a series \(.*\) \(3 tries\); check that it runs and try again later"
    ):
        job(server, destination=server).score_study(patient.study_uid)
    assert pacs.count() == count


@needs_orthanc
def test_a_slow_line_is_waited_for(pacs, line, tmp_path):
    patient = upload(connect(pacs.url), tmp_path / "up")
    line.pause = 0.02
    server = connect(line.url)
    started = time.monotonic()
    assert server.fetch(server.find_series(patient.study_uid)[0], tmp_path / "down") == 6
    assert time.monotonic() - started > 0.2


@needs_orthanc
def test_a_server_stopped_while_storing_goes_on_after_its_restart_without_doubles(tmp_path):
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
        with pytest.raises(PacsUnreachableError):
            job(client, destination=client).score_study(patient.study_uid)
        server.start()
        client.store = real
        (scored, *_) = [
            r for r in job(client, destination=client).score_study(patient.study_uid) if r.state == "scored"
        ]
        assert (scored.stored, scored.known) == (1, 1)
        assert server.count() == 6 + 2
    finally:
        server.stop()


@needs_orthanc
def test_the_wrong_password_is_said(pacs):
    with pytest.raises(PacsError) as caught:
        connect(pacs.url, password="wrong").find_series("1.2.3")
    assert str(caught.value) == (
        f"{pacs.url} answers 401: it does not let us in; check user and password, or the token"
    )


@needs_orthanc
def test_a_study_that_is_not_there_is_said(pacs):
    with pytest.raises(PacsError) as caught:
        connect(pacs.url).find_series("1.2.3")
    assert str(caught.value) == f"{pacs.url} holds no study 1.2.3; check the StudyInstanceUID"


@needs_orthanc
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls_with_a_named_authority_and_without(pacs, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
    server = orthanc.Line(pacs.port, certificate=both)
    try:
        assert connect(server.url, ca_bundle=tmp_path / "cert.pem").find_studies({"PatientID": "nobody"}) == []
        with pytest.raises(PacsError) as caught:
            connect(server.url).find_studies({})
        assert str(caught.value) == (
            f"{server.url} has a certificate that is not trusted; name the authority's with --ca-bundle"
        )
    finally:
        server.close()


# A server that says what it is told to.


class Puppet(http.server.BaseHTTPRequestHandler):
    answers: list[tuple[int, bytes]] = []
    asked: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def puppet():
    handler = type("OnePuppet", (Puppet,), {"answers": [], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
    yield handler
    server.shutdown()
    server.server_close()


SERIES = b'[{"0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}, "00080060": {"vr": "CS", "Value": ["CT"]}}]'


def test_500_is_tried_again_with_growing_pauses(puppet):
    puppet.answers[:] = [(500, b""), (503, b""), (200, SERIES)]
    started = time.monotonic()
    (series,) = connect(puppet.url).find_series("1.2.3")
    assert series == RemoteSeries("1.2.3", "1.2.3.4", "CT", "", 0)
    assert len(puppet.asked) == 3
    assert time.monotonic() - started >= 0.05 + 0.10


def test_500_for_ever_is_given_up(puppet):
    puppet.answers[:] = [(500, b"")]
    with pytest.raises(PacsUnreachableError) as caught:
        connect(puppet.url).find_series("1.2.3")
    assert str(caught.value) == (
        f"{puppet.url} answers 500 when asked for the list of series (3 tries); check that it runs and try again later"
    )
    assert len(puppet.asked) == 3


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[1, 2]", b'"text"', b"\xff\xfe\x00"])
def test_rubbish_is_said_at_once(puppet, body):
    puppet.answers[:] = [(200, body)]
    with pytest.raises(PacsError) as caught:
        connect(puppet.url).find_series("1.2.3")
    assert str(caught.value) == (
        f"{puppet.url} answers what is not DICOM JSON when asked for the list of series; check --url"
    )
    assert len(puppet.asked) == 1


def test_rubbish_instead_of_a_series_is_said(puppet, tmp_path):
    puppet.answers[:] = [(200, b"this is no multipart message")]
    with pytest.raises(PacsError, match="answers what cannot be understood when asked for a series"):
        connect(puppet.url).fetch(RemoteSeries("1.2.3", "1.2.3.4", "CT", "", 3), tmp_path)


def test_401_is_not_tried_again(puppet):
    puppet.answers[:] = [(401, b"")]
    with pytest.raises(PacsError, match="answers 401: it does not let us in"):
        connect(puppet.url).find_series("1.2.3")
    assert len(puppet.asked) == 1


def test_the_bearer_token_is_sent(puppet):
    puppet.answers[:] = [(200, SERIES)]
    connect(puppet.url, user="", token="secret").find_series("1.2.3")
    assert [authorization for _, authorization in puppet.asked] == ["Bearer secret"]


def test_nobody_at_home_is_said():
    url = f"http://127.0.0.1:{orthanc.free_port()}/dicom-web"
    with pytest.raises(PacsUnreachableError) as caught:
        connect(url).find_series("1.2.3")
    assert str(caught.value) == (
        f"{url} cannot be reached for the list of series (ConnectionError) (3 tries); check that it runs and try again later"
    )


def test_what_is_no_address_is_said():
    with pytest.raises(InputError) as caught:
        connect("pacs.example")
    assert str(caught.value) == '--url "pacs.example" is not an address; write e.g. "https://pacs.example/dicom-web"'


@pytest.mark.parametrize(
    ("modality", "manufacturer", "reason"),
    [
        ("CT", "Maker", ""), ("OT", "", ""), ("SR", "Maker", "modality SR, not an image"),
        ("OT", "MoECLIP-Med", "a result of MoECLIP-Med itself"),
    ],
)  # fmt: skip
def test_what_need_not_be_fetched(modality, manufacturer, reason):
    assert reason_not_to_fetch(RemoteSeries("1", "2", modality, manufacturer, 3)) == reason


# Watching.


@needs_orthanc
def test_watching_scores_each_study_once_when_it_is_complete_and_again_when_it_grew(tmp_path):
    pacs = orthanc.Orthanc(tmp_path / "orthanc")
    memory = WatchMemory(tmp_path / "watch.sqlite")
    try:
        server = connect(pacs.url)
        patient = upload(server, tmp_path / "up")
        seen: list[str] = []
        failures: list[str] = []
        day = date(2024, 2, 29)

        def look() -> int:
            watcher = Watcher(job(server, destination=server), memory, WatchQuery(days=2))
            return watcher.look(day, lambda _, r: seen.append(r.state), lambda _, reason: failures.append(reason))

        assert [look(), look(), look(), look()] == [0, 1, 0, 0], "when it held the same twice; then never again"
        assert seen == ["scored"]
        assert pacs.count() == 6 + 2
        write_series(tmp_path / "late", patient, shape=(64, 64, 4), seed=4)
        for path in sorted((tmp_path / "late").iterdir()):
            server.store(pydicom.dcmread(path))
        assert [look(), look(), look()] == [0, 1, 0]
        assert pacs.count() == 6 + 2 + 4 + 2, "the results of the first series were there already"
        assert failures == []
        assert Watcher(job(server), memory, WatchQuery(days=1)).look(date(2024, 3, 5), print, print) == 0, "another day"
    finally:
        memory.close()
        pacs.stop()


def test_the_query_names_days_and_modality():
    assert WatchQuery(3, "CT").filters(date(2024, 3, 1)) == {
        "StudyDate": "20240228-20240301", "ModalitiesInStudy": "CT",
    }  # fmt: skip


def test_a_study_that_fails_is_tried_three_times_and_no_more(tmp_path):
    memory = WatchMemory(tmp_path / "watch.sqlite")
    assert not memory.is_ready("1.2", "[]")
    for _ in range(3):
        assert memory.is_ready("1.2", "[]")
        memory.note_try("1.2", is_done=False)
    assert not memory.is_ready("1.2", "[]")
    assert not memory.is_ready("1.2", "[1]"), "new content has to settle"
    assert memory.is_ready("1.2", "[1]")
