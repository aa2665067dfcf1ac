"""A headless Chromium, driven through its own driver by the W3C WebDriver protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any


class Browser:
    """One window. Use it in a `with` statement."""

    def __init__(self, width: int = 1400, height: int = 900) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self._url.rsplit(":", 1)[1]
        self._driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}",
                     "--disable-dev-shm-usage"]  # fmt: skip
        wanted = {"goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
                  "goog:loggingPrefs": {"browser": "ALL"}}  # fmt: skip
        session = self._send("/session", {"capabilities": {"alwaysMatch": wanted}}, patience=20.0)
        self._url += f"/session/{session['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._send("", None)  # ends Chromium as well, which would outlive its driver
        self._driver.kill()
        self._driver.wait()

    def open(self, url: str) -> None:
        """Load a page."""
        self._send("/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run JavaScript in the page; gives what it returns."""
        return self._send("/execute/sync", {"script": script, "args": []})

    def complaints(self) -> list[str]:
        """What the browser's console holds of warnings and errors."""
        return [entry["message"] for entry in self._send("/se/log", {"type": "browser"})]

    def _send(self, path: str, body: dict[str, Any] | None, patience: float = 0.0) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="DELETE" if body is None else "POST",
        )
        end = time.monotonic() + patience
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)["value"]
            except urllib.error.HTTPError as error:
                raise RuntimeError(error.read().decode()) from error
            except urllib.error.URLError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
