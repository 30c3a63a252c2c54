"""What the environment says: addresses, credentials, TLS files. The only reader of the environment.

Secrets come from variables or from files that they name, never from the SLO file, a command line or an
address; here they are wrapped so that no message, log line or ``repr`` can show them. This module must not
know what a setting is used for, and imports no client library.

Each variable below starts with ``SLOCTL_PROMETHEUS_``:

- ``URL``: the address, where an option does not give one; it goes before the SLO file's.
- ``TOKEN`` or ``TOKEN_FILE``: bearer token; the file is read anew for each request.
- ``USERNAME`` with ``PASSWORD`` or ``PASSWORD_FILE``: basic authentication.
- ``HEADERS``: further headers, ``X-Scope-OrgID=shop,X-Other=1``.
- ``CA_FILE``: certificate authorities to trust; ``CERT_FILE`` and ``KEY_FILE``: client certificate. All PEM.
- ``INSECURE``: ``true`` accepts any certificate.
- ``TIMEOUT`` (seconds per request, whole answer included), ``RETRIES`` (after the first attempt) and
  ``CONCURRENCY`` (requests in flight at once).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from sloctl.errors import UsageError

_PREFIX = "SLOCTL_PROMETHEUS_"
_EXAMPLE = "for example http://prometheus:9090"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
N = TypeVar("N", int, float)


class Secret:
    """A string that shows itself to nobody but the caller of ``reveal``."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: str, *, path: Path | None = None) -> None:
        self._value = value
        self._path = path

    @classmethod
    def read(cls, path: str, variable: str) -> Secret:
        """The secret in a file, without the white space around it; ``variable`` is named in errors."""
        file = Path(path)
        try:
            value = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(
                f"{variable}: cannot read {path}: {error.strerror or 'not a file'}",
                hint="give the path of a readable file that holds the secret and nothing else",
            ) from None
        except ValueError:
            raise UsageError(f"{variable}: {path} is not a text file") from None
        return cls(_printable(value, f"{variable}: {path}"), path=file)

    def reveal(self) -> str:
        """The secret itself. A secret from a file is read anew: tokens in pods are replaced every hour."""
        if self._path is not None:
            # In the middle of being replaced it may be unreadable: the last one read may still hold.
            with contextlib.suppress(OSError, ValueError, UsageError):
                self._value = _printable(self._path.read_text(encoding="utf-8").strip(), "")
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret cannot be pickled or copied")


@dataclass(frozen=True)
class PrometheusSettings:
    """How to reach one Prometheus (or Thanos, Mimir, VictoriaMetrics).

    ``timeout`` is in seconds and covers connecting and the whole answer of one attempt; ``retries`` counts
    further attempts; ``concurrency`` is how many requests may be in flight. ``cert`` is a client certificate
    and its key. Raises ``UsageError`` for an address that cannot be one, or that holds credentials.
    """

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
        object.__setattr__(self, "url", check_url(self.url, "the Prometheus address"))
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
        if parts.scheme == "http" and not _loopback(parts.hostname or "") and (self.token or self.password):
            found.append(f"credentials go unencrypted to {self.url}; use https")
        if self.insecure:
            found.append(f"the certificate of {self.url} is not verified ({_PREFIX}INSECURE)")
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
    ) -> PrometheusSettings:
        """The settings of this run: options (the keyword arguments) go before variables.

        ``environ`` defaults to the process's own. ``default_url`` is the SLO file's address: it gives way
        to ``url`` and to ``SLOCTL_PROMETHEUS_URL``. Raises ``UsageError`` naming the variable and the file.
        """
        env = _Variables(os.environ if environ is None else environ)
        address = url or env.get("URL") or default_url
        if not address:
            raise UsageError(
                "no Prometheus address",
                hint=f"give --prometheus URL, set {_PREFIX}URL, or write sources.prometheus in the SLO file",
            )
        if not url and env.get("URL"):
            check_url(address, f"{_PREFIX}URL")
        token, password = env.secret("TOKEN"), env.secret("PASSWORD")
        username = env.get("USERNAME")
        if bool(username) != bool(password):
            raise UsageError(f"{_PREFIX}USERNAME and {_PREFIX}PASSWORD (or _PASSWORD_FILE) go together")
        if token and username:
            raise UsageError(f"both {_PREFIX}TOKEN and {_PREFIX}USERNAME are set; use one of them")
        headers = _headers(env.get("HEADERS"))
        if (token or username) and any(name.lower() == "authorization" for name in headers):
            raise UsageError(f"{_PREFIX}HEADERS sets Authorization beside a token or user name; use one")
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


class _Variables:
    """The variables of one backend; an empty one counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str:
        return self._environ.get(_PREFIX + name, "").strip()

    def secret(self, name: str) -> Secret | None:
        value, path = self.get(name), self.get(f"{name}_FILE")
        if value and path:
            raise UsageError(f"both {_PREFIX}{name} and {_PREFIX}{name}_FILE are set; use one of them")
        if path:
            return Secret.read(path, f"{_PREFIX}{name}_FILE")
        return Secret(_printable(value, f"{_PREFIX}{name}")) if value else None

    def number(self, name: str, parse: Callable[[str], N], option: N | None, default: N) -> N:
        if option is not None:
            return option
        text = self.get(name)
        try:
            return parse(text) if text else default
        except ValueError:
            raise UsageError(f"{_PREFIX}{name}: {text!r} is not a number") from None

    def flag(self, name: str) -> bool:
        text = self.get(name).lower()
        if text not in _TRUE | _FALSE:
            raise UsageError(f"{_PREFIX}{name}: {text!r} is neither true nor false")
        return text in _TRUE


def environment() -> Mapping[str, str]:
    """The process's environment, for those who are handed one."""
    return dict(os.environ)


def redact(url: str) -> str:
    """An address without what may be secret in it: credentials, query, fragment."""
    head, separator, rest = url.partition("://")
    if not separator:
        head, rest = "", url
    _, at, place = rest.rpartition("@")
    return head + separator + ("***@" if at else "") + re.split(r"[?#]", place, maxsplit=1)[0]


def check_url(url: str, what: str) -> str:
    """``url`` without a slash at its end; raises ``UsageError`` if it is no plain http(s) address.

    ``what`` names the address in the message, which never holds the credentials that were found in it.
    """
    shown = redact(url)
    if "@" in url:
        raise UsageError(
            f"{what} holds credentials: {shown}",
            hint=f"set {_PREFIX}USERNAME and {_PREFIX}PASSWORD_FILE, or {_PREFIX}TOKEN_FILE, instead",
        )
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise UsageError(f"{what} is not an address: {shown}", hint=_EXAMPLE) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or re.search(r"\s", url):
        raise UsageError(f"{what} is not an http(s) address: {shown}", hint=_EXAMPLE)
    if parts.query or parts.fragment:
        raise UsageError(f"{what} may not have a query or fragment: {shown}")
    return url.rstrip("/")


def _loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _printable(value: str, what: str) -> str:
    if not value:
        raise UsageError(f"{what} is empty")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"{what} holds characters that no header may hold (a line break, perhaps)")
    return value


def _headers(text: str) -> dict[str, Secret]:
    headers: dict[str, Secret] = {}
    for count, item in enumerate((part for part in text.split(",") if part.strip()), start=1):
        name, separator, value = (part.strip() for part in item.partition("="))
        if not separator or not _HEADER_NAME.fullmatch(name):
            raise UsageError(f"{_PREFIX}HEADERS: item {count} is not of the form Name=value")
        headers[name] = Secret(_printable(value, f"{_PREFIX}HEADERS: the value of {name}"))
    return headers


def _tls_files(env: _Variables) -> tuple[str, tuple[str, str] | None]:
    """The file of authorities and the client certificate, tried here so that errors name the variable."""
    ca_file, cert_file, key_file = env.get("CA_FILE"), env.get("CERT_FILE"), env.get("KEY_FILE")
    if key_file and not cert_file:
        raise UsageError(f"{_PREFIX}KEY_FILE is set without {_PREFIX}CERT_FILE")
    if not ca_file and not cert_file:
        return "", None
    import ssl  # slow to import, and few need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        _try_tls(f"{_PREFIX}CA_FILE", ca_file, lambda: context.load_verify_locations(cafile=ca_file))
    if not cert_file:
        return ca_file, None
    # An encrypted key would make the TLS library ask for its password on the terminal.
    pair = (cert_file, key_file or cert_file)
    _try_tls(
        f"{_PREFIX}CERT_FILE", " with ".join(dict.fromkeys(pair)), lambda: context.load_cert_chain(*pair, "-")
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
