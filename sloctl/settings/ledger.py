"""What the environment says of the ledger: its address, which may hold a password.

``SLOCTL_LEDGER_URL`` or ``SLOCTL_LEDGER_URL_FILE`` is the address. How the ledger is kept is the SLO file's to say:
``sloctl.model.ledger``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sloctl.errors import UsageError
from sloctl.settings.secret import Secret
from sloctl.settings.variables import Variables, environment


@dataclass(frozen=True)
class LedgerAddress:
    """Where the ledger is: an address of SQLAlchemy, which may hold a password; None is nowhere, by request.

    ``given`` says whether somebody named it, or it is the default.
    """

    url: Secret | None
    given: bool = False

    @property
    def file(self) -> bool:
        """Whether it is a file's address."""
        return self.url is not None and self.url.reveal().startswith("sqlite:")

    @property
    def exists(self) -> bool:
        """Whether there is a file already, of a ledger that is a file."""
        return self.url is not None and Path(self.url.reveal().removeprefix("sqlite:///")).is_file()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, option: str | None = None) -> Self:
        """``option`` (an address, the path of an SQLite file, or ``none``), else ``SLOCTL_LEDGER_URL`` or
        ``SLOCTL_LEDGER_URL_FILE``, else ``sloctl/ledger.db`` in the user's folder for state (XDG_STATE_HOME).

        ``environ`` defaults to the process's own. Raises ``UsageError``.
        """
        if option is not None:
            return cls(_url(option), given=True)
        found = Variables("SLOCTL_LEDGER_", environ).secret("URL")
        if found is not None:
            return cls(_url(found.reveal()), given=True)
        every = environment() if environ is None else environ
        home = Path(every.get("HOME") or Path.home())
        state = Path(every.get("XDG_STATE_HOME") or home / ".local" / "state")
        return cls(Secret(f"sqlite:///{state / 'sloctl' / 'ledger.db'}"))


def _url(text: str) -> Secret | None:
    """The address that a text means. Raises UsageError for one that may be another form of address, with a password."""
    if text.strip().lower() == "none":
        return None
    if "://" not in text and re.match(r"[^/]*[:=]", text):
        raise UsageError(
            "the ledger's address is neither a URL nor the path of a file",
            hint="write postgresql://user@host/database; or ./NAME for a file whose name has a colon or '='",
        )
    return Secret(text.strip() if "://" in text else f"sqlite:///{Path(text).absolute()}")
