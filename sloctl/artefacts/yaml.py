"""Writes YAML texts: deterministic, readable, and safe for any string.

Only mappings, lists, strings, integers and booleans are written. A string is plain only where no YAML 1.1 or
1.2 reader can take it for something else; texts of several lines are literal blocks; everything else is
double-quoted. (A general dumper needs a minute where this one needs a second, for the rules of 1,000 SLOs.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

YamlValue = str | int | bool | Mapping[str, "YamlValue"] | Sequence["YamlValue"]
YamlMapping = dict[str, YamlValue]


class Kept(dict[str, YamlValue]):
    """A mapping that stands in several documents, and is written once: it must not change."""

    __slots__ = ("texts",)

    def __init__(self, mapping: YamlMapping) -> None:
        super().__init__(mapping)
        self.texts: dict[str, str] = {}
        """By how its first line is indented, and what that starts with."""


_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|[0-9]+[a-z][a-z0-9]*")
_AMBIGUOUS = re.compile(
    r"(?i)y|n|yes|no|on|off|true|false|null|none|~|nan|\.?inf|[0-9]+e[0-9]+|0[xob].*|[0-9._:-]+"
)
# What is written as it is: what a person can see. A list of its own, because str.isprintable() depends on the
# version of Python. Left out: controls, odd spaces, other line separators, zero-width and bidirectional marks.
_VISIBLE = (
    r"\x20-\x7e\xa1-\xac\xae-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff"
    r"\uf900-\ufdcf\ufdf0-\ufefe\uff01-\uffee\ufffc\ufffd\U00010000-\U0001fffd\U00020000-\U0003fffd"
)
_HIDDEN = re.compile(f"[^{_VISIBLE}]")
_ESCAPED = re.compile(f'["\\\\]|[^{_VISIBLE}]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_LONGEST_KEY = 500
"""A reader looks for the colon behind a key within 1,024 characters only (YAML 1.2.2, section 7.4)."""


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _visible(text: str) -> bool:
    # Within ASCII, isprintable() means the same in every version, and takes a tenth of the time.
    return (text.isascii() and text.isprintable()) or not _HIDDEN.search(text)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value):
        return value
    if not _visible(value):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_known_text = lru_cache(maxsize=4096)(_text)
"""For keys and short values, of which a file repeats a few a thousand times."""


def scalar(value: str | int) -> str:
    """One scalar on one line."""
    if isinstance(value, str):
        return _known_text(value) if len(value) < 60 else _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_block(text: str) -> bool:
    """Whether a literal block can hold a text so that a person sees all of it; one line feed may end it."""
    return (
        "\n" in text
        and text[0] not in " \n"
        and text[-1] != " "
        and text[-2:] != "\n\n"
        and " \n" not in text
        and _visible(text.replace("\n", ""))
    )


def _write_text(out: list[str], value: str, pad: str, lead: str) -> None:
    """Append a text, of several lines as a literal block."""
    if not _is_block(value):
        out.append(f"{lead} {scalar(value)}")
        return
    # "-" strips the line feed that would end the block, which "|" alone keeps.
    out.append(f"{lead} |" if value.endswith("\n") else f"{lead} |-")
    text = value.removesuffix("\n")
    if "\n\n" in text:
        out.extend(f"{pad}{line}" if line else "" for line in text.split("\n"))
    else:
        indented = text.replace("\n", f"\n{pad}")
        out.append(f"{pad}{indented}")


def _write(out: list[str], value: YamlValue, pad: str, lead: str) -> None:
    """Append ``value``; ``lead`` is what its first line starts with (a key and colon, or a dash)."""
    if isinstance(value, str):
        _write_text(out, value, pad, lead)
    elif isinstance(value, int):
        out.append(f"{lead} {scalar(value)}")
    elif isinstance(value, (dict, Mapping)):  # dict first: asking an abstract class takes five times as long
        if not value:
            out.append(f"{lead} {{}}")
        elif isinstance(value, Kept) and lead not in value.texts:
            lines: list[str] = []
            _write(lines, dict(value), pad, lead)
            value.texts[lead] = "\n".join(lines)
            out.append(value.texts[lead])
        elif isinstance(value, Kept):
            out.append(value.texts[lead])
        elif lead.endswith("-"):  # the first key stands beside the dash
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
            _write(out, item, f"{pad}  ", f"{pad}-")


@lru_cache(maxsize=4096)
def _lead(pad: str, key: str) -> str:
    """What a key's line starts with."""
    name = scalar(key)
    return f"{pad}{name}:" if len(name) <= _LONGEST_KEY else f"{pad}? {name}\n{pad}:"


def _mapping(out: list[str], value: Mapping[str, YamlValue], pad: str) -> None:
    inner = f"{pad}  "
    for key, item in value.items():
        lead = _lead(pad, key)
        if isinstance(item, str) and "\n" not in item:  # most values
            out.append(f"{lead} {_known_text(item) if len(item) < 60 else _text(item)}")
        else:
            _write(out, item, inner, lead)


def yaml(document: Mapping[str, YamlValue], *, comment: str = "") -> str:
    """A YAML document; ``comment`` goes before it, each line behind ``#``."""
    out = [f"# {_HIDDEN.sub(' ', line)}".rstrip() for line in comment.split("\n")] if comment else []
    if document:
        _mapping(out, document, "")
    else:
        out.append("{}")
    return "\n".join(out) + "\n"
