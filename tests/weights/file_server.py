"""A server of files on this machine, with and without TLS."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves bytes by path, over TLS unless told otherwise; a text is an address to redirect to."""

    def __init__(self, context=None):
        super().__init__(("localhost", 0), _Answer)
        self.files, self.headers, self.asked = {}, {}, []
        self.scheme = "http" if context is None else "https"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, path):
        return f"{self.scheme}://localhost:{self.server_port}{path}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        body = b"" if isinstance(content, str | None) else content
        self.send_response(404 if content is None else 302 if isinstance(content, str) else 200)
        headers = {"Content-Length": str(len(body))} | self.server.headers
        headers |= {"Location": content} if isinstance(content, str) else {}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(context=None):
    server = FileServer(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
