"""A real Orthanc with DICOMweb on loopback, and a line to it that can be cut."""

from __future__ import annotations

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


def missing() -> str:
    """Why no Orthanc can be started here, or ""."""
    if find() is None:
        return "needs Orthanc (Debian package orthanc)"
    return "" if PLUGIN.exists() else "needs the DICOMweb plugin (Debian package orthanc-dicomweb)"


def find() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """One server with an empty archive; can be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        self.port, self.dicom_port = free_port(), free_port()
        self.url = f"http://localhost:{self.port}/dicom-web"
        settings = {
            "Name": "TEST", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.port, "DicomPort": self.dicom_port, "DicomAet": "TEST", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False, "HttpDescribeErrors": True,
        }  # fmt: skip
        (folder / "storage").mkdir(parents=True, exist_ok=True)
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(json.dumps(settings))
        self._process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [find(), str(self._configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        message = "Orthanc did not start"
        raise RuntimeError(message)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def count(self) -> int:
        """Instances in the archive, by Orthanc's own interface."""
        request = urllib.request.Request(f"http://localhost:{self.port}/statistics")
        import base64

        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])


class Line:
    """A TCP line to a server: it can be cut after so many bytes of answers, made slow, or encrypted (TLS)."""

    def __init__(self, target: int, certificate: Path | None = None) -> None:
        self._target = target
        self.cut_after: int | None = None
        self.cuts = 0
        self.most_cuts = 10**9
        self.pause = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.url = f"http{'s' if certificate else ''}://localhost:{self._listening.getsockname()[1]}/dicom-web"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def _serve(self, ours: socket.socket) -> None:
        if self._tls is not None:
            try:
                ours = self._tls.wrap_socket(ours, server_side=True)
            except (OSError, ValueError):
                ours.close()
                return
        with ours, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as theirs:
            threading.Thread(target=self._carry, args=(ours, theirs), daemon=True).start()
            left = None
            while data := theirs.recv(4096):
                time.sleep(self.pause)
                if left is None and self.cuts < self.most_cuts:
                    left = self.cut_after
                if left is not None:
                    left -= len(data)
                    if left < 0:
                        self.cuts += 1
                        break
                ours.sendall(data)
            for end in (ours, theirs):
                end.shutdown(socket.SHUT_RDWR)  # closing alone says nothing while the other thread reads

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def close(self) -> None:
        self._listening.close()
