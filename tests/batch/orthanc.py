"""A real Orthanc with DICOMweb on loopback, and a line to it that can be cut."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "tester", "let me in"
START_SECONDS = 60.0


def missing() -> str:
    """Why no Orthanc can be started here, or ""."""
    if find() is None:
        return "needs Orthanc (Debian package orthanc)"
    return "" if PLUGIN.exists() else "needs the DICOMweb plugin (Debian package orthanc-dicomweb)"


def find() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def free_ports(count: int) -> list[int]:
    """Different ports that are free at this moment."""
    with contextlib.ExitStack() as opened:
        return [opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


class Orthanc:
    """One server with an empty archive; can be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        """Start it; the folder is where it keeps what it holds."""
        self._folder = folder
        self._process: subprocess.Popen | None = None
        (folder / "storage").mkdir(parents=True)
        for _ in range(3):  # another process may take a free port first
            self.port, self.dicom_port = free_ports(2)
            if self.start():
                break
        else:
            message = f"Orthanc did not start:\n{self._log.read_text(errors='replace')[-2000:]}"
            raise RuntimeError(message)
        self.url = f"http://localhost:{self.port}/dicom-web"

    @property
    def _log(self) -> Path:
        return self._folder / "orthanc.log"

    def _configure(self) -> Path:
        settings = {
            "Name": "TEST", "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"), "HttpPort": self.port, "DicomPort": self.dicom_port,
            "DicomAet": "TEST", "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False, "HttpDescribeErrors": True,
        }  # fmt: skip
        path = self._folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        return path

    def start(self) -> bool:
        """Start it, again after a stop; gives whether it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([find(), str(self._configure())], stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self._process.poll() is None
            time.sleep(0.05)
        self.stop()
        return False

    def stop(self) -> None:
        """End it as a failure of the machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def count(self) -> int:
        """Instances in the archive, by Orthanc's own interface."""
        request = urllib.request.Request(f"http://localhost:{self.port}/statistics")
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])


class Line:
    """A line to a server: it can be cut after so many bytes of answers, made slow, or encrypted (TLS).

    Orthanc's own TLS is not used, since Debian 12's build of it ends with a segmentation fault at the first request.
    """

    def __init__(self, target: int, certificate: Path | None = None) -> None:
        """Open it.

        Args:
            target: The port of the server.
            certificate: Key and certificate (PEM), for a line that speaks TLS.
        """
        self._target = target
        self.cut_after: int | None = None
        self.carried = 0
        self.cuts = 0
        self.most_cuts = 10**9
        self.pause = 0.0
        tls = None
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls))
        self.url = f"http{'s' if certificate else ''}://localhost:{server.sockets[0].getsockname()[1]}/dicom-web"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, questions: asyncio.StreamReader, ours: asyncio.StreamWriter) -> None:
        answers, theirs = await asyncio.open_connection("127.0.0.1", self._target)
        asking = asyncio.create_task(self._carry(questions, theirs))
        left = None
        with contextlib.suppress(ConnectionError):
            while data := await answers.read(4096):
                await asyncio.sleep(self.pause)
                if left is None and self.cuts < self.most_cuts:
                    left = self.cut_after
                if left is not None:
                    data, left = data[:left], left - len(data)
                self.carried += len(data)
                ours.write(data)
                await ours.drain()
                if left is not None and left < 0:
                    self.cuts += 1
                    break
        asking.cancel()
        for end in (ours, theirs):
            end.close()

    @staticmethod
    async def _carry(questions: asyncio.StreamReader, theirs: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await questions.read(65536):
                theirs.write(data)
                await theirs.drain()
        theirs.close()  # the client hung up: the server has to know

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
