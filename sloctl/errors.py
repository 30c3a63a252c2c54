"""Every error that sloctl raises on purpose, and the exit code that each one stands for.

::

    SloctlError                     exit 1
    ├── UsageError                  exit 2   wrong option, missing file, a missing program
    │   └── InvalidFile             exit 2   problems in an SLO file (all of them at once)
    └── BackendError                exit 3   a server that we asked
        ├── BackendUnavailable      exit 3   no connection, TLS failure, 502/503/504 after all retries
        ├── BackendTimeout          exit 3   no (whole) answer in time
        ├── BackendRefused          exit 3   401, 403: credentials
        ├── BackendLimit            exit 3   too much data at once, for the server or for this side
        ├── BackendRateLimit        exit 3   429: too many requests
        ├── BadAnswer               exit 3   HTML, truncated JSON, an unknown form
        │   └── PartialAnswer       exit 3   the server says that data is missing from it
        └── QueryRejected           exit 2   the server cannot parse or execute the query

Foreign exceptions are converted at the boundary, in the adapters. A message names the thing that failed
and what to do; it never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EXIT_OK = 0
EXIT_PROBLEMS = 1
EXIT_USAGE = 2
EXIT_BACKEND = 3
EXIT_WAIT = 4
EXIT_INTERRUPTED = 130

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in an SLO file, as data; ``field`` is the path of the key (``slos[2].objective``)."""

    position: Position
    severity: Severity
    code: str
    field: str
    message: str
    hint: str = ""


class SloctlError(Exception):
    """Base of all errors that a user may see; ``str(error)`` is the whole message."""

    exit_code = EXIT_PROBLEMS

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SloctlError):
    """The command cannot run as it was called."""

    exit_code = EXIT_USAGE


class InvalidFile(UsageError):
    """One or more SLO files have problems; ``problems`` holds every one of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        errors = sum(1 for p in problems if p.severity == "error")
        super().__init__(f"{errors} error{'s' if errors != 1 else ''} in the SLO file")
        self.problems = tuple(problems)


class BackendError(SloctlError):
    """A server that was asked did not give a usable answer.

    ``backend`` is its kind ("prometheus"), ``url`` its address without credentials.
    """

    exit_code = EXIT_BACKEND

    def __init__(self, message: str, *, backend: str, url: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.backend = backend
        self.url = url


class BackendUnavailable(BackendError):
    """No connection could be made, or the server is overloaded or shutting down."""


class BackendTimeout(BackendError):
    """The server did not answer in full within the time-out."""


class BackendRefused(BackendError):
    """The server wants other credentials (401, 403)."""


class BackendLimit(BackendError):
    """Too much is asked for at once: samples per query, query time, the size of the answer. Less may be had."""


class BackendRateLimit(BackendError):
    """The server is asked too often (429): asking for less, which is to ask more often, cannot help."""


class BadAnswer(BackendError):
    """The answer is not what the API promises: HTML, truncated JSON, wrong types."""


class PartialAnswer(BadAnswer):
    """The server says that its answer lacks data, or leaves it in doubt."""


class QueryRejected(BackendError):
    """The server rejects the query itself; asking again cannot help."""

    exit_code = EXIT_USAGE
