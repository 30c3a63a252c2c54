"""The HTTP session under the Prometheus client: deadlines, retries, bounds and typed errors.

It is given to ``PrometheusConnect`` in place of its own session, which has no time limit, repeats rejected
queries, puts a POST's query into the URL, and leaves a string of an error. Every exception of ``requests``
ends here. This module must not know PromQL nor what is asked.
"""

from __future__ import annotations

import base64
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
import urllib3
from requests.auth import AuthBase

from sloctl import __version__
from sloctl.errors import BackendError, BackendTimeout, BackendUnavailable
from sloctl.prometheus_answers import SIZE_HINT, Failure, QueryTooLarge, judge, notices, say
from sloctl.prometheus_errors import FOREIGN, convert
from sloctl.prometheus_watch import Watch, WatchedAdapter
from sloctl.settings import PrometheusSettings

LOG = logging.getLogger(__name__)

BACKEND = "prometheus"
MAX_BYTES = 512 * 2**20
"""The largest answer that is read, decompressed."""
MAX_WAIT = 60.0
"""Seconds: a server that asks to wait longer is not waited for."""
_CONNECT = 10.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_MAX_NOTICES = 100
_INTERRUPTED = "the run was interrupted"


class Answer(requests.Response):
    """A judged answer: status 200, and a payload that has been checked."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self.payload = payload

    def json(self, **_options: Any) -> Any:
        """The payload, parsed once."""
        return self.payload


class Transport(requests.Session):
    """Sends requests to one Prometheus; safe to use from several threads.

    ``sleep`` (seconds), ``now`` (Unix seconds) and ``jitter`` (0..1) are injected in tests. ``sent`` counts
    HTTP requests, attempts included; ``notices`` holds what answers said beside their data, each once.
    """

    def __init__(
        self,
        settings: PrometheusSettings,
        *,
        sleep: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__()
        self.sent = 0
        self.notices: list[str] = []
        self._settings = settings
        self._cancelled = threading.Event()
        self._sleep = self._cancelled.wait if sleep is None else sleep
        self._now, self._jitter, self._max_bytes = now, jitter, max_bytes
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._get_only = False
        self._credentials = _Credentials(settings)
        self._adapter = WatchedAdapter(settings.concurrency + 4)
        self.headers.update({"Accept": "application/json", "User-Agent": f"sloctl/{__version__}"})
        self.verify = not settings.insecure and (settings.ca_file or True)
        self.cert = settings.cert
        if settings.insecure:  # The settings warn of it once; urllib3 would with every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get_adapter(self, url: str | bytes) -> WatchedAdapter:
        """Always the watched one, whatever the client mounts."""
        return self._adapter

    def request(self, method: str | bytes, url: str | bytes, *_args: Any, **kwargs: Any) -> Answer:
        """The judged answer to a request for ``url`` with ``params``, after retries where they may help.

        Of the other keyword arguments of ``requests`` none is heeded but ``retries``, which takes the place
        of the setting. Raises ``BackendError``.
        """
        retries = kwargs.get("retries", self._settings.retries)
        tries = 0
        while True:
            tries += 1
            try:
                return Answer(self._attempt(str(method), str(url), kwargs.get("params") or {}))
            except Failure as failure:
                wait = self._wait(failure, tries, retries)
                if wait is None:
                    raise self._error(failure, tries) from failure.__cause__
                LOG.info("%s: %s; asking again in %.1f s", self._settings.url, failure.cause, wait)
            self._sleep(wait)

    def cancel(self) -> None:
        """End all that is in flight, on every thread; later requests fail at once."""
        self._cancelled.set()
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.cut("interrupted")

    def close(self) -> None:
        """Cancel and release all connections."""
        self.cancel()
        self._adapter.close()
        super().close()

    def _wait(self, failure: Failure, tries: int, retries: int) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        allowed = {"never": 0, "once": min(1, retries), "yes": retries}[failure.again]
        if tries > allowed or self._cancelled.is_set() or (failure.after or 0) > MAX_WAIT:
            return None
        backoff: float = min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT) * (0.5 + 0.5 * self._jitter())
        return max(backoff, failure.after or 0)

    def _error(self, failure: Failure, tries: int) -> BackendError:
        url = self._settings.url
        cause = say(failure.cause, self._credentials.secrets())
        if tries > 1:
            cause += f" (tried {tries} times)"
        if (failure.after or 0) > MAX_WAIT:
            cause += f" (it asks to wait {failure.after:.0f} s)"
        return failure.kind(f"Prometheus at {url}: {cause}", backend=BACKEND, url=url, hint=failure.hint)

    def _attempt(self, method: str, url: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One request, whole answer included, within the time-out. Raises ``Failure``."""
        watch = Watch(self._settings.timeout)
        with self._lock:
            self._watches.add(watch)
            self.sent += 1
        try:
            if self._cancelled.is_set():
                raise Failure(BackendUnavailable, _INTERRUPTED)
            status, headers, body = self._exchange(watch, method, url, params)
        finally:
            with self._lock:
                self._watches.discard(watch)
        if method == "POST" and status in (405, 501) and not self._get_only:
            self._get_only = True  # Some proxies in front of Prometheus let nothing but GET pass.
            return self._attempt(method, url, params)
        secrets = self._credentials.secrets()
        path = url.removeprefix(self._settings.url)
        payload = judge(path, status, headers, body, now=self._now(), secrets=secrets)
        self._note(notices(payload, secrets))
        return payload

    def _exchange(
        self, watch: Watch, method: str, url: str, params: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. Raises ``Failure``, and no foreign exception."""
        limit = self._settings.timeout
        form = method == "POST" and not self._get_only
        started = time.monotonic()
        try:
            with (
                watch.active(),
                super().request(
                    "POST" if form else "GET",
                    url,
                    params=None if form else params,
                    data=params if form else None,
                    auth=self._credentials,
                    timeout=(min(_CONNECT, limit), limit),
                    allow_redirects=False,
                    stream=True,
                    verify=self.verify,
                    cert=self.cert,
                ) as response,
            ):
                body = self._read(response)
        except tuple(FOREIGN) as error:
            raise _cut(watch, limit) or convert(error) from error
        LOG.debug("%s %s: %d, %.3f s", method, url, response.status_code, time.monotonic() - started)
        # A connection that is shut down looks like the end of an answer of unknown length.
        if cut := _cut(watch, limit):
            raise cut
        return response.status_code, response.headers, body

    def _read(self, response: requests.Response) -> bytes:
        parts, size = [], 0
        for part in response.iter_content(2**20):
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                raise Failure(
                    QueryTooLarge, f"the answer is larger than {self._max_bytes:,} bytes", SIZE_HINT
                )
        return b"".join(parts)

    def _note(self, said: list[str]) -> None:
        with self._lock:
            new = [text for text in dict.fromkeys(said) if text not in self.notices]
            self.notices += new[: _MAX_NOTICES - len(self.notices)]


class _Credentials(AuthBase):
    """Adds what identifies the caller, at the last moment: nothing else holds it, and no .netrc is asked."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        settings = self._settings
        for name, value in settings.headers.items():
            request.headers[name] = value.reveal()
        if settings.token:
            request.headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        elif settings.username:
            request.headers["Authorization"] = f"Basic {self._basic()}"
        return request

    def secrets(self) -> list[str]:
        """All that must not be quoted, longest first."""
        settings = self._settings
        held = [secret.reveal() for secret in (settings.token, settings.password) if secret]
        held += [value.reveal() for value in settings.headers.values()]
        held += [self._basic()] if settings.username else []
        # Replacing "1" or a tenant's short name would only garble messages.
        return sorted({text for text in held if len(text) >= 6}, key=len, reverse=True)

    def _basic(self) -> str:
        password = self._settings.password.reveal() if self._settings.password else ""
        return base64.b64encode(f"{self._settings.username}:{password}".encode()).decode()


def _cut(watch: Watch, limit: float) -> Failure | None:
    if watch.reason == "deadline":
        hint = "raise the time-out (SLOCTL_PROMETHEUS_TIMEOUT), or ask for less"
        return Failure(BackendTimeout, f"no whole answer within {limit:g} s", hint, again="once")
    return Failure(BackendUnavailable, _INTERRUPTED) if watch.reason else None
