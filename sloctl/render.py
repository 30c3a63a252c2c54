"""Writes YAML and JSON texts: deterministic, readable, and safe for any string.

Only mappings, lists, strings, integers and booleans are written. A string is plain only where no YAML 1.1 or
1.2 reader can take it for something else; texts of several lines are literal blocks; everything else is
double-quoted. (A general dumper needs a minute where this one needs a second, for the rules of 1,000 SLOs.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Node = str | int | bool | Mapping[str, "Node"] | Sequence["Node"]

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|[0-9]+(?:[a-z]+[0-9]*)+")
_AMBIGUOUS = re.compile(
    r"(?i)y|n|yes|no|on|off|true|false|null|none|~|nan|\.?inf|[0-9]+e[0-9]+|0[xob].*|[0-9._:-]+"
)
_BLOCK_UNSAFE = re.compile(
    r"[^\n\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]|[ \t]\n|[ \t]\Z"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _quoted(text: str) -> str:
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        elif 0xD800 <= ord(char) <= 0xDFFF:
            out.append("\\ufffd")
        else:
            code = ord(char)
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def scalar(value: str | int) -> str:
    """One scalar on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value):
        return value
    return _quoted(value)


def _is_block(text: str) -> bool:
    return (
        "\n" in text and text[0] not in " \n\t" and not text.endswith("\n") and not _BLOCK_UNSAFE.search(text)
    )


def _write(out: list[str], value: Node, pad: str, lead: str) -> None:
    """Append ``value``; ``lead`` is what its first line starts with (a key and colon, or a dash)."""
    if isinstance(value, str):
        if _is_block(value):
            out.append(f"{lead} |-")
            out.extend(f"{pad}{line}" if line else "" for line in value.split("\n"))
        else:
            out.append(f"{lead} {scalar(value)}")
    elif isinstance(value, int):
        out.append(f"{lead} {scalar(value)}")
    elif isinstance(value, Mapping):
        if not value:
            out.append(f"{lead} {{}}")
            return
        if lead.endswith("-"):  # the first key stands beside the dash
            start = len(out)
            _mapping(out, value, pad)
            out[start] = f"{lead} {out[start][len(pad) :]}"
        else:
            out.append(lead)
            _mapping(out, value, pad)
    elif not value:
        out.append(f"{lead} []")
    else:
        out.append(lead)
        for item in value:
            _write(out, item, pad + "  ", pad + "-")


def _mapping(out: list[str], value: Mapping[str, Node], pad: str) -> None:
    for key, item in value.items():
        _write(out, item, pad + "  ", f"{pad}{scalar(key)}:")


def yaml(document: Mapping[str, Node], *, comment: str = "") -> str:
    """A YAML document; ``comment`` goes before it, each line behind ``#``."""
    out = [f"# {line}".rstrip() for line in comment.split("\n")] if comment else []
    _mapping(out, document, "")
    return "\n".join(out) + "\n"
