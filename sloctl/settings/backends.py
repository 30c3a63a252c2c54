"""What the environment says of the servers that sloctl asks: addresses, credentials, TLS files.

Secrets come from variables or from files that they name, never from the SLO file, a command line or an
address; here they are wrapped so that no message, log line or ``repr`` can show them. This module must not
know what a setting is used for, and imports no client library.

Each variable below starts with ``SLOCTL_PROMETHEUS_`` or, for silences, with ``SLOCTL_ALERTMANAGER_``, or, for
traces, with ``SLOCTL_TRACES_``:

- ``URL``: the address, where an option does not give one; it goes before the SLO file's.
- ``TOKEN`` or ``TOKEN_FILE``: bearer token; the file is read anew for each request.
- ``USERNAME`` with ``PASSWORD`` or ``PASSWORD_FILE``: basic authentication.
- ``HEADERS``: further headers, ``X-Scope-OrgID=shop,X-Other=1``.
- ``CA_FILE``: certificate authorities to trust; ``CERT_FILE`` and ``KEY_FILE``: client certificate. All PEM.
- ``INSECURE``: ``true`` accepts any certificate.
- ``TIMEOUT`` (seconds per request, whole answer included), ``RETRIES`` (after the first attempt) and, for
  Prometheus and traces, ``CONCURRENCY`` (requests in flight at once).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self
from urllib.parse import urlsplit

from sloctl.errors import UsageError
from sloctl.settings.secret import Secret, printable
from sloctl.settings.servers import ALERTMANAGER, PROMETHEUS, TRACES, Backend, check_url, loopback
from sloctl.settings.variables import Variables

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class BackendSettings:
    """How to reach one server.

    ``timeout`` is in seconds and covers connecting and the whole answer of one attempt; ``retries`` counts
    further attempts; ``concurrency`` is how many requests may be in flight. ``cert`` is a client certificate
    and its key. Raises ``UsageError`` for an address that cannot be one, or that holds credentials.
    """

    BACKEND: ClassVar[Backend]

    url: str
    timeout: float = 30.0
    retries: int = 3
    concurrency: int = 4
    headers: Mapping[str, Secret] = field(default_factory=dict)
    token: Secret | None = None
    username: str = ""
    password: Secret | None = None
    ca_file: str = ""
    cert: tuple[str, str] | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "url", check_url(self.url, f"the {self.BACKEND.title} address", self.BACKEND)
        )
        if not 0 < self.timeout <= 3600:
            raise UsageError(f"the time-out must be over 0 and at most 3600 seconds, not {self.timeout:g}")
        if not 0 <= self.retries <= 20:
            raise UsageError(f"retries must be between 0 and 20, not {self.retries}")
        if not 1 <= self.concurrency <= 64:
            raise UsageError(f"concurrency must be between 1 and 64, not {self.concurrency}")
        if self.token and self.username:
            raise UsageError("both a bearer token and a user name are set; use one of them")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but unwise; for the caller to show once."""
        found = []
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not loopback(parts.hostname or "") and (self.token or self.password):
            found.append(f"credentials go unencrypted to {self.url}; use https")
        if self.insecure:
            found.append(f"the certificate of {self.url} is not verified ({self.BACKEND.prefix}INSECURE)")
        return tuple(found)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        url: str | None = None,
        default_url: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        concurrency: int | None = None,
    ) -> Self:
        """The settings of this run: options (the keyword arguments) go before variables.

        ``environ`` defaults to the process's own. ``default_url`` is the SLO file's address: it gives way
        to ``url`` and to the variable. Raises ``UsageError`` naming the variable and the file.
        """
        backend, prefix = cls.BACKEND, cls.BACKEND.prefix
        env = Variables(prefix, environ)
        address = url or env.get("URL") or default_url
        if not address:
            raise UsageError(
                f"no {backend.title} address",
                hint=f"give {backend.option} URL, set {prefix}URL, "
                f"or write sources.{backend.name} in the SLO file",
            )
        if not url and env.get("URL"):
            check_url(address, f"{prefix}URL", backend)
        token, password = env.secret("TOKEN"), env.secret("PASSWORD")
        username = env.get("USERNAME")
        if bool(username) != bool(password):
            raise UsageError(f"{prefix}USERNAME and {prefix}PASSWORD (or _PASSWORD_FILE) go together")
        if token and username:
            raise UsageError(f"both {prefix}TOKEN and {prefix}USERNAME are set; use one of them")
        headers = _headers(env)
        if (token or username) and any(name.lower() == "authorization" for name in headers):
            raise UsageError(f"{prefix}HEADERS sets Authorization beside a token or user name; use one")
        ca_file, cert = _tls_files(env)
        return cls(
            url=address,
            timeout=env.number("TIMEOUT", float, timeout, cls.timeout),
            retries=env.number("RETRIES", int, retries, cls.retries),
            concurrency=env.number("CONCURRENCY", int, concurrency, cls.concurrency),
            headers=headers,
            token=token,
            username=username,
            password=password,
            ca_file=ca_file,
            cert=cert,
            insecure=env.flag("INSECURE"),
        )


class PrometheusSettings(BackendSettings):
    """How to reach one Prometheus (or Thanos, Mimir, VictoriaMetrics)."""

    BACKEND = PROMETHEUS


@dataclass(frozen=True)
class AlertmanagerSettings(BackendSettings):
    """How to reach one Alertmanager (or a cluster of them behind one address, or Mimir's).

    It answers from memory: one that has not done so for 10 seconds will not.
    """

    BACKEND = ALERTMANAGER

    timeout: float = 10.0


class TracesSettings(BackendSettings):
    """How to reach one Zipkin, Jaeger, Tempo or ClickHouse."""

    BACKEND = TRACES


def _headers(env: Variables) -> dict[str, Secret]:
    headers: dict[str, Secret] = {}
    parts = [part for part in env.get("HEADERS").split(",") if part.strip()]
    for count, item in enumerate(parts, start=1):
        name, separator, value = (part.strip() for part in item.partition("="))
        if not separator or not _HEADER_NAME.fullmatch(name):
            raise UsageError(f"{env.prefix}HEADERS: item {count} is not of the form Name=value")
        headers[name] = Secret(printable(value, f"{env.prefix}HEADERS: the value of {name}"))
    return headers


def _tls_files(env: Variables) -> tuple[str, tuple[str, str] | None]:
    """The file of authorities and the client certificate, tried here so that errors name the variable."""
    ca_file, cert_file, key_file = env.get("CA_FILE"), env.get("CERT_FILE"), env.get("KEY_FILE")
    if key_file and not cert_file:
        raise UsageError(f"{env.prefix}KEY_FILE is set without {env.prefix}CERT_FILE")
    if not ca_file and not cert_file:
        return "", None
    import ssl  # slow to import, and few need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        _try_tls(f"{env.prefix}CA_FILE", ca_file, lambda: context.load_verify_locations(cafile=ca_file))
    if not cert_file:
        return ca_file, None
    # An encrypted key would make the TLS library ask for its password on the terminal.
    pair = (cert_file, key_file or cert_file)
    _try_tls(
        f"{env.prefix}CERT_FILE",
        " with ".join(dict.fromkeys(pair)),
        lambda: context.load_cert_chain(*pair, "-"),
    )
    return ca_file, pair


def _try_tls(variable: str, path: str, load: Callable[[], None]) -> None:
    import ssl

    try:
        load()
    except ssl.SSLError:
        raise UsageError(f"{variable}: {path} is not usable", hint="PEM, key without password") from None
    except OSError as error:
        raise UsageError(f"{variable}: cannot read {path}: {error.strerror}") from None
