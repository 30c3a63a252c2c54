"""What the environment says of the live pages: the token that readers need, if any."""

from __future__ import annotations

from collections.abc import Mapping

from sloctl.settings.secret import Secret
from sloctl.settings.variables import Variables


def token(environ: Mapping[str, str] | None = None) -> Secret | None:
    """``SLOCTL_SERVE_TOKEN``, or what is in the file that ``SLOCTL_SERVE_TOKEN_FILE`` names. Raises UsageError."""
    return Variables("SLOCTL_SERVE_", environ).secret("TOKEN")
