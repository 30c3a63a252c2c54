"""Alertmanager's API, version 2: silences, status, alerts.

The adapter behind ``sloctl.backends.silences.SilenceStore``. It must not know what a silence is for.
API: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from sloctl.backends.alertmanager.answers import (
    Alert,
    judge,
    read_alerts,
    read_id,
    read_silences,
    read_status,
    write,
)
from sloctl.backends.http.client import HttpClient
from sloctl.backends.http.session import HttpSession
from sloctl.backends.silences import Silence, same_scope
from sloctl.settings.backends import AlertmanagerSettings
from sloctl.telemetry.protocol import NOTHING, Observer

MAX_BYTES = 64 * 2**20
"""The largest answer that is read, decompressed: a hundred thousand silences."""
_API = "/api/v2"


class Alertmanager(HttpClient[AlertmanagerSettings, HttpSession]):
    """One Alertmanager; a context manager that closes its connections.

    Nothing is sent before the first question. Each method raises ``BackendError`` (see ``sloctl.errors``).
    ``observer`` is told of each request. The other keyword arguments are for tests: ``sleep`` (seconds), ``now``
    (Unix seconds), ``jitter`` (0..1), and the largest answer in bytes.
    """

    def __init__(
        self,
        settings: AlertmanagerSettings,
        *,
        sleep: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int = MAX_BYTES,
        observer: Observer = NOTHING,
    ) -> None:
        session = HttpSession(
            settings, sleep=sleep, now=now, jitter=jitter, max_bytes=max_bytes, observer=observer
        )
        super().__init__(settings, session)

    def silences(self) -> Sequence[Silence]:
        """All silences, in the server's order; expired ones are among them for as long as it keeps them."""
        return self._session.ask("GET", f"{_API}/silences", partial(judge, read_silences))

    def post(self, silence: Silence) -> str:
        """Store a new silence, or one with an ``id`` anew; its id from now on.

        Alertmanager makes another silence of each request. Where an answer was lost, this looks whether the
        silence is there before it sends again.
        """
        return self._session.ask(
            "POST",
            f"{_API}/silences",
            partial(judge, read_id),
            json=write(silence),
            done=lambda: self._stored(silence),
        )

    def expire(self, silence_id: str) -> None:
        """End a silence now; one that has ended stays as it is. Raises ``QueryRejected`` for an unknown one."""
        path = f"{_API}/silence/{quote(silence_id, safe='')}"
        self._session.ask("DELETE", path, partial(judge, lambda _body: True, empty=True))

    def status(self) -> dict[str, Any]:
        """Version, cluster, configuration and uptime, as the server states them."""
        return self._session.ask("GET", f"{_API}/status", partial(judge, read_status))

    def alerts(self) -> Sequence[Alert]:
        """All alerts that the server holds, those that are silenced or inhibited included."""
        return self._session.ask("GET", f"{_API}/alerts", partial(judge, read_alerts))

    def _stored(self, silence: Silence) -> str | None:
        """The id under which a silence was stored, if it was: its end, in milliseconds, tells it from others."""
        for other in self.silences():
            if (
                other.live
                and (other.ends, other.author, other.comment)
                == (silence.ends, silence.author, silence.comment)
                and same_scope(other, silence)
            ):
                return other.id
        return None
