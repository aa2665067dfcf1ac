"""Connections that can be cut from outside: a server that sends a byte now and then outlasts all timeouts of reads."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Iterator


class CuttableAdapter(HTTPAdapter):
    """An adapter for `requests` that knows its sockets, so that a request can be ended wherever it waits."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._pools = {"http": self._pool(HTTPConnectionPool), "https": self._pool(HTTPSConnectionPool)}
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Make the pools, of connections that are known; the arguments are those of `requests`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401  of urllib3, by requests
        """Return the manager of a proxy, whose connections are known as well."""
        manager: Any = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[threading.Event]:
        """Cut the connections when so much time has passed; gives what tells whether it has."""
        is_late = threading.Event()

        def cut() -> None:
            is_late.set()
            for opened in list(self._sockets):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)  # of TLS, too: its own shutdown is for its thread

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield is_late
        finally:
            timer.cancel()

    def _pool(self, base: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        sockets = self._sockets
        kind: Any = HTTPSConnection if base is HTTPSConnectionPool else HTTPConnection

        class KnownConnection(kind):  # type: ignore[misc]  # a variable base
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        return type(f"Known{base.__name__}", (base,), {"ConnectionCls": KnownConnection})
