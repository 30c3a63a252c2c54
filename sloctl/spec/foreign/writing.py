"""YAML as people write it: short mappings on one line, numbers as they are, PromQL in single quotes. Knows no SLO."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal

from sloctl.model.durations import number

_WIDTH = 110
_KEY = re.compile(r"[A-Za-z_]+")
_PLAIN = re.compile(
    r"(?!(?i:y|n|yes|no|on|off|true|false|null)$)[A-Za-z][A-Za-z0-9-]*|(?:[0-9]+(?:ms|[smhdwx]+))+|openslo/v1"
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_EXPRESSIONS = frozenset({"bad", "good", "total", "query"})
"""Keys that stand on lines of their own, for their values are long."""


def block(value: Mapping[str, object], pad: str) -> Iterator[str]:
    """A mapping as lines."""
    for key, item in value.items():
        lead = f"{pad}{_key(key)}:"
        short = _flow(item)
        if short is not None and len(lead) + len(short) < _WIDTH:
            yield f"{lead} {short}"
        elif isinstance(item, Mapping):
            yield lead
            yield from block(item, f"{pad}  ")
        elif isinstance(item, list) and item:
            yield lead
            for part in item:
                inline = _flow(part) if isinstance(part, Mapping) else _item(part)
                if not isinstance(part, Mapping) or (inline and len(pad) + len(inline) + 4 < _WIDTH):
                    yield f"{pad}  - {inline}"
                else:
                    first, *rest = block(part, f"{pad}    ")
                    yield f"{pad}  - {first.lstrip()}"
                    yield from rest
        else:
            yield f"{lead} {_scalar(item)}"


def comment(pad: str, text: str) -> Iterator[str]:
    """A text as comments of a file's width."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return (f"{pad}# {line}" for line in textwrap.wrap(clean, _WIDTH - len(pad) - 2, break_on_hyphens=False))


def _key(key: str) -> str:
    return key if _KEY.fullmatch(key) else json.dumps(key)


def _flow(value: object) -> str | None:
    """A mapping of scalars, or a list of them, on one line; None for what is neither."""
    if isinstance(value, list):
        flat = not any(isinstance(item, Mapping | list) for item in value)
        return f"[{', '.join(map(_item, value))}]" if flat else None
    if not isinstance(value, Mapping) or any(isinstance(item, Mapping) for item in value.values()):
        return None
    if any(key in _EXPRESSIONS or _holds_mappings(item) for key, item in value.items()):
        return None
    return (
        "{" + ", ".join(f"{_key(key)}: {_flow(item) or _scalar(item)}" for key, item in value.items()) + "}"
    )


def _holds_mappings(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _item(value: object) -> str:
    """An item of a list; response codes are numbers."""
    return str(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal | int):
        return number(Decimal(value))
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable() and '"' in text:
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=not text.isprintable())
