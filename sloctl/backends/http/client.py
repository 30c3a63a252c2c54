"""What the adapters of all backends have in common: a session, threads that ask side by side, and how both end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from sloctl.backends.http.session import HttpSession
from sloctl.settings.backends import BackendSettings

Settings = TypeVar("Settings", bound=BackendSettings)
Session = TypeVar("Session", bound=HttpSession)


class HttpClient(Generic[Settings, Session]):
    """One backend over HTTP; a context manager that closes its connections."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self._settings = settings
        self._session = session
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """End all that is in flight, on every thread; later questions fail at once. For any thread."""
        self._session.cancel()

    def close(self) -> None:
        """Cancel what is in flight and release all connections and threads; may be called twice."""
        self._session.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._session.close()

    @property
    def url(self) -> str:
        """The address, which never holds credentials."""
        return self._settings.url

    @property
    def queries(self) -> int:
        """How many HTTP requests were sent, repeated attempts included."""
        return self._session.sent

    def _threads(self) -> ThreadPoolExecutor:
        """The threads that ask side by side, made when they are first needed."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._settings.concurrency, f"sloctl-{self._settings.BACKEND.name}"
                )
            return self._pool
