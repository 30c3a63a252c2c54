"""Commands of a GitHub workflow, which it shows as annotations: no text gets out of its place in one."""

from __future__ import annotations

from sloctl.spec.yaml.wording import CONTROL_IN_LINES


def annotation(level: str, text: str, **properties: object) -> str:
    """``::error file=…,line=…::text``; ``level`` is error, warning or notice."""
    given = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{level}{' ' if given else ''}{given}::{_data(text)}"


def _data(text: str) -> str:
    plain = CONTROL_IN_LINES.sub("\N{REPLACEMENT CHARACTER}", text)
    return plain.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
