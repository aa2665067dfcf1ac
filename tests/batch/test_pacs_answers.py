"""A PACS that answers rubbish, refuses, or is not there; and what is decided without asking it."""

from __future__ import annotations

import http.server
import threading
import time
from datetime import date

import orthanc
import pydicom
import pytest
from moeclip_transforms.errors import InputError
from sentences import facts

from moeclip_med.batch.pacs.dicomweb import PacsAddress, PacsError, PacsServer, PacsUnreachableError, RemoteSeries
from moeclip_med.batch.pacs.dimse import DicomNode
from moeclip_med.batch.pacs.scoring import reason_not_to_fetch
from moeclip_med.batch.pacs.watching import WatchQuery


def connect(url: str, **changes) -> PacsServer:
    return PacsServer(PacsAddress(url, attempts=3, first_wait=0.05, **changes))


@pytest.fixture
def puppet():
    """One that answers what it is told, one answer after the other."""
    served = Scripted()
    yield served
    served.close()


class Scripted:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization", "")))
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/dicom-web"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


SERIES = b'[{"0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}, "00080060": {"vr": "CS", "Value": ["CT"]}}]'


def test_500_is_tried_again_with_growing_pauses(puppet):
    puppet.answers[:] = [(500, b""), (503, b""), (200, SERIES)]
    started = time.monotonic()
    (series,) = connect(puppet.url).find_series("1.2.3")
    assert series == RemoteSeries("1.2.3", "1.2.3.4", "CT", "", 0)
    assert len(puppet.asked) == 3
    assert time.monotonic() - started >= 0.1


def test_500_for_ever_is_given_up(puppet):
    puppet.answers[:] = [(500, b"")]
    with pytest.raises(PacsUnreachableError) as caught:
        connect(puppet.url).find_series("1.2.3")
    assert facts(caught.value) == facts(
        f"{puppet.url} answers 500 when asked for the list of series (3 tries); check that it runs and try again later"
    )
    assert len(puppet.asked) == 3


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[1, 2]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000])
def test_rubbish_is_said_at_once(puppet, body):
    puppet.answers[:] = [(200, body)]
    with pytest.raises(PacsError) as caught:
        connect(puppet.url).find_series("1.2.3")
    assert facts(caught.value) == facts(
        f"{puppet.url} answers what is not DICOM JSON when asked for the list of series; check --url"
    )
    assert len(puppet.asked) == 1


@pytest.mark.parametrize("status", [300, 302, 304])
def test_a_redirect_to_nowhere_is_no_empty_list(puppet, status):
    puppet.answers[:] = [(status, b"")]
    with pytest.raises(PacsError, match=f"answers {status} when asked for the list of studies"):
        connect(puppet.url).find_studies({})


def test_rubbish_instead_of_a_series_is_said(puppet, tmp_path):
    puppet.answers[:] = [(200, b"this is no multipart message")]
    with pytest.raises(PacsUnreachableError, match=r"what came is no multipart message\) \(3 tries\)"):
        connect(puppet.url).fetch(RemoteSeries("1.2.3", "1.2.3.4", "CT", "", 3), tmp_path / "down")


def test_401_is_not_tried_again(puppet):
    puppet.answers[:] = [(401, b"")]
    with pytest.raises(PacsError, match="answers 401, not authorized"):
        connect(puppet.url).find_series("1.2.3")
    assert len(puppet.asked) == 1


def test_the_bearer_token_is_sent(puppet):
    puppet.answers[:] = [(200, SERIES)]
    connect(puppet.url, token="pass").find_series("1.2.3")  # noqa: S106 - it opens nothing
    assert [authorization for _, authorization in puppet.asked] == ["Bearer pass"]


def test_nobody_at_home_is_said_without_a_traceback_in_the_log(caplog):
    url = f"http://127.0.0.1:{orthanc.free_ports(1)[0]}/dicom-web"
    with pytest.raises(PacsUnreachableError) as caught:
        connect(url).find_series("1.2.3")
    assert facts(caught.value) == facts(
        f"{url} cannot be reached for the list of series (ConnectionError) (3 tries); "
        "check that it runs and try again later"
    )
    assert [record.name for record in caplog.records if record.levelname != "DEBUG"] == []


def test_what_is_no_address_is_said():
    with pytest.raises(InputError) as caught:
        connect("pacs.example")
    assert facts(caught.value) == facts(
        '--url "pacs.example" is not an address; write e.g. "https://pacs.example/dicom-web"'
    )


@pytest.mark.parametrize(
    ("modality", "manufacturer", "reason"),
    [
        ("CT", "Maker", ""), ("OT", "", ""), ("SR", "Maker", "modality SR, not an image"),
        ("OT", "MoECLIP-Med", "a result of MoECLIP-Med itself"),
    ],
)  # fmt: skip
def test_what_need_not_be_fetched(modality, manufacturer, reason):
    assert reason_not_to_fetch(RemoteSeries("1", "2", modality, manufacturer, 3)) == reason


def test_a_node_that_is_not_there_is_said():
    port = orthanc.free_ports(1)[0]
    with pytest.raises(PacsUnreachableError) as caught:
        DicomNode("127.0.0.1", port, "TEST").store(pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm")))
    assert facts(caught.value) == facts(
        f"TEST@127.0.0.1:{port} cannot be reached or refuses the connection; check its address, "
        "its title, and whether it accepts the title MOECLIPMED"
    )
    with pytest.raises(InputError) as caught:
        DicomNode.parse("somewhere")
    assert facts(caught.value) == facts(
        '--c-store "somewhere" is not understood; write TITLE@host:port, e.g. "ARCHIVE@10.0.0.5:104"'
    )


def test_the_query_starts_before_the_watermark_and_has_no_end():
    assert WatchQuery(3, "CT").filters(date(2024, 3, 1)) == {"StudyDate": "20240226-", "ModalitiesInStudy": "CT"}
