"""A DICOMweb server that holds studies and misbehaves in every way that it is told to."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "puppet"


@dataclass
class Faults:
    """What the puppet does wrong; nothing at first.

    Attributes:
        status: By the start of a path: the status to answer with, for ever.
        redirect: By method: where to send on to, and the status.
        cap: Give no more items at a time.
        warning: Say so (Warning: 299).
        ignores_offset: Give the first page whatever is asked for.
        endless: Make up new studies for ever.
        counts: What NumberOfSeriesRelatedInstances says.
        extra: Items put into every list of studies.
        instead: By SeriesInstanceUID: the folder whose instances are sent instead.
        cut: By SeriesInstanceUID: how many bytes of the answer are skipped at the end.
        body: By the start of a path: a body to answer with.
        raw: By the start of a path: what gives the pieces of an answer, its head too.
        drip: Seconds between pieces of an answer.
        silent: Series whose connection is closed without an answer.
        forgets: Studies that are listed and then not there.
    """

    status: dict[str, int] = field(default_factory=dict)
    redirect: dict[str, tuple[str, int]] = field(default_factory=dict)
    cap: int | None = None
    warning: str = ""
    ignores_offset: bool = False
    endless: bool = False
    counts: object = None
    extra: list[dict] = field(default_factory=list)
    instead: dict[str, Path] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    body: dict[str, bytes] = field(default_factory=dict)
    raw: dict[str, Callable[[], Iterable[bytes]]] = field(default_factory=dict)
    drip: float = 0.0
    silent: set[str] = field(default_factory=set)
    forgets: set[str] = field(default_factory=set)


class Puppet:
    """The server; `faults` may be changed while it runs."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.files: dict[str, dict[str, list[bytes]]] = {}
        self.dates: dict[str, str] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.stored: list[bytes] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.get(self)

            def do_POST(self) -> None:
                outer.post(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/dicom-web"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def hold(self, folder: Path, date: str = "20240229") -> str:
        """Take the files of a folder; returns the StudyInstanceUID."""
        for path in sorted(folder.iterdir()):
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            study = self.files.setdefault(str(dataset.StudyInstanceUID), {})
            study.setdefault(str(dataset.SeriesInstanceUID), []).append(path.read_bytes())
            self.dates[str(dataset.StudyInstanceUID)] = date
        return str(dataset.StudyInstanceUID)

    def get(self, request: http.server.BaseHTTPRequestHandler) -> None:  # noqa: C901, PLR0911 - one line per fault
        parts = urlsplit(request.path)
        path, query = parts.path.removeprefix("/dicom-web/"), parse_qs(parts.query)
        self.asked.append(("GET", request.path, request.headers.get("Authorization", "")))
        if "GET" in self.faults.redirect:
            return self._redirect(request, "GET")
        for start, status in self.faults.status.items():
            if path.startswith(start):
                return self._send(request, status, b"")
        for start, body in self.faults.body.items():
            if path.startswith(start):
                return self._send(request, 200, body)
        for start, pieces in self.faults.raw.items():
            if path.startswith(start):
                return self._send_raw(request, pieces())
        match path.split("/"):
            case ["studies"]:
                return self._list(request, query, self._studies(query))
            case ["studies", study, "series"]:
                if study in self.faults.forgets or study not in self.files:
                    return self._send(request, 404, b"")
                return self._list(request, query, self._series(study))
            case ["studies", study, "series", series]:
                return self._instances(request, study, series)
            case ["studies", study, "instances"]:
                return self._send(request, 200, json.dumps(self._held(study, query)).encode())
        return self._send(request, 404, b"")

    def post(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(("POST", request.path, request.headers.get("Authorization", "")))
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if "POST" in self.faults.redirect:
            return self._redirect(request, "POST")
        content = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self.stored.append(content)
        dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
        answer = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [dataset.SOPInstanceUID]}}]}}
        return self._send(request, 200, json.dumps(answer).encode())

    def _studies(self, query: dict[str, list[str]]) -> list[dict]:
        first, _, last = query.get("StudyDate", ["-"])[0].partition("-")
        held = [
            {"0020000D": {"vr": "UI", "Value": [uid]}}
            for uid in self.files
            if (not first or self.dates[uid] >= first) and (not last or self.dates[uid] <= last)
        ]
        made_up = range(int(query["offset"][0]), int(query["offset"][0]) + int(query["limit"][0]))
        made_up = [{"0020000D": {"Value": [f"9.{n}"]}} for n in made_up] if self.faults.endless else []
        return made_up or [*held, *self.faults.extra]

    def _series(self, study: str) -> list[dict]:
        items = []
        for uid, contents in self.files[study].items():
            dataset = pydicom.dcmread(io.BytesIO(contents[0]), stop_before_pixels=True)
            count = len(contents) if self.faults.counts is None else self.faults.counts
            items.append(
                {
                    "0020000E": {"vr": "UI", "Value": [uid]},
                    "00080060": {"vr": "CS", "Value": [dataset.Modality]},
                    "00201209": {"vr": "IS", "Value": [count]},
                }
            )
        return items

    def _list(self, request, query: dict[str, list[str]], items: list[dict]) -> None:
        offset, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["1000"])[0])
        if self.faults.ignores_offset or self.faults.endless:
            offset = 0
        page = items[offset : offset + min(limit, self.faults.cap or limit)]
        headers = {"Warning": self.faults.warning} if self.faults.warning and page else {}
        self._send(request, 200, json.dumps(page).encode(), headers=headers)

    def _instances(self, request, study: str, series: str) -> None:
        if series in self.faults.silent:
            request.close_connection = True
            request.connection.close()
            return
        if series in self.faults.instead:
            contents = [path.read_bytes() for path in sorted(self.faults.instead[series].iterdir())]
        else:
            contents = self.files[study][series]
        body = b"".join(
            f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content for content in contents
        )
        body += f"\r\n--{BOUNDARY}--".encode()
        body = body[: len(body) - self.faults.cut.get(series, 0)]
        kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
        self._send(request, 200, body, kind=kind)

    def _held(self, study: str, query: dict[str, list[str]]) -> list[dict]:
        wanted = query.get("SOPInstanceUID", [""])[0]
        known = {str(pydicom.dcmread(io.BytesIO(c), stop_before_pixels=True).SOPInstanceUID) for c in self.stored}
        return [{"00080018": {"vr": "UI", "Value": [wanted]}}] if wanted in known else []

    def _redirect(self, request, method: str) -> None:
        target, status = self.faults.redirect[method]
        self._send(request, status, b"", headers={"Location": target})

    def _send_raw(self, request, pieces: Iterable[bytes]) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            for piece in pieces:
                request.wfile.write(piece)

    def _send(self, request, status: int, body: bytes, *, kind="application/dicom+json", headers=None) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        if not self.faults.drip:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        try:
            for start in range(0, len(body), 1000 if self.faults.drip else max(1, len(body))):
                request.wfile.write(body[start : start + (1000 if self.faults.drip else len(body))])
                time.sleep(self.faults.drip)
        except OSError:
            pass  # the client had enough
