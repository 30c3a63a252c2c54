"""What not everybody needs and pip installs when asked to: ``sloctl[slack]``, and what is said where it is missing.

This module must not know what the packages are for; the one who imports them says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from sloctl.errors import UsageError

Extra = Literal["otel", "parquet", "postgres", "serve", "slack", "traces"]

EXTRAS: Mapping[Extra, Mapping[str, str]] = {
    "otel": {"opentelemetry.exporter.otlp": "opentelemetry-exporter-otlp-proto-http"},
    "parquet": {"pyarrow": "pyarrow"},
    "postgres": {"psycopg": "psycopg[binary]"},
    "serve": {"networkx": "networkx", "starlette": "starlette"},
    "slack": {"resvg_py": "resvg-py", "slack_sdk": "slack-sdk"},
    "traces": {"backports": "backports.zstd"},
}
"""The modules of each extra, and the packages that have them."""


@contextmanager
def needed(extra: Extra, purpose: str, *, otherwise: str = "") -> Iterator[None]:
    """Import in its body what an extra has. Raises UsageError, with the command that installs it, if it is missing.

    ``purpose`` is a subject for "needs": what was asked for. ``otherwise`` is another way out, if there is one.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or next(iter(EXTRAS[extra]))  # psycopg names none if the C library is not there
        found = [
            package for module, package in EXTRAS[extra].items() if f"{missing}.".startswith(f"{module}.")
        ]
        if not found:
            raise
        raise UsageError(
            f"{purpose} needs the package {found[0]}, which is not installed",
            hint=f"in the clone of sloctl: pip install '.[{extra}]'{otherwise}",
        ) from None
