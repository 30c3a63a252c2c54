"""Connections that can be cut from outside: by a deadline for the whole answer, or by an interruption.

The time-outs of ``requests`` count silence between two bytes, so a server that drips one byte a second is
read for ever. A ``Watch`` holds a duplicate of each socket that one attempt uses; shutting it down ends any
read, TLS handshakes included, on whichever thread it blocks. This module must not know what is asked.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, Literal

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_current = threading.local()


class Watch:
    """The sockets of one attempt. ``cut`` says why they were shut down, if they were."""

    def __init__(self, seconds: float) -> None:
        self.reason: Literal["", "deadline", "interrupted"] = ""
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False
        self._timer = threading.Timer(seconds, self.cut, ("deadline",))
        self._timer.daemon = True

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While it lasts, connections used by this thread belong to this watch."""
        _current.watch = self
        self._timer.start()
        try:
            yield
        finally:
            _current.watch = None
            self._timer.cancel()
            with self._lock:
                self._over = True
                for held in self._sockets:
                    held.close()

    def cut(self, reason: Literal["deadline", "interrupted"]) -> None:
        """Shut all sockets down, those that are yet to come as well."""
        with self._lock:
            if self._over:
                return
            self.reason = self.reason or reason
            for held in self._sockets:
                _shut(held)

    def hold(self, connection: socket.socket) -> None:
        """Make a socket part of the attempt."""
        held = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._sockets.append(held)
            if self.reason:
                _shut(held)


class WatchedAdapter(HTTPAdapter):
    """Sends requests over connections that the thread's ``Watch`` can cut; never retries by itself."""

    def __init__(self, pool_size: int) -> None:
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class, with watched connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """As in the base class, with watched connections."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Held:
    """A connection whose socket belongs to the attempt that uses it, from the first moment on.

    ``sock`` is where the libraries keep a connection's socket: before they greet a proxy or begin TLS, too.
    """

    held: Any = None

    @property
    def sock(self) -> Any:
        return self.held

    @sock.setter
    def sock(self, value: Any) -> None:
        if value is not None:
            _hold(value)
        self.held = value


class _Connection(_Held, HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _hold(self.sock)
        super().request(*args, **kwargs)


class _TlsConnection(_Held, HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _hold(self.sock)
        super().request(*args, **kwargs)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def _hold(connection: socket.socket) -> None:
    watch: Watch | None = getattr(_current, "watch", None)
    if watch is not None:
        watch.hold(connection)


def _shut(held: socket.socket) -> None:
    with contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)
