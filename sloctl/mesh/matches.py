"""Whether a match takes all requests of another. What cannot be decided is not held to be covered."""

from __future__ import annotations

from sloctl.mesh.objects import at, labels, text, texts
from sloctl.mesh.world import Route
from sloctl.spec.yaml.tree import MAPPING, Node

_TEXTS = ("scheme", "method", "authority")
_EQUAL = ("port", "sourceNamespace")
_SILENT = ("name", "statPrefix", "ignoreUriCase")
_ANY = frozenset((".*", "^.*$"))
"""Patterns of all texts, and of all paths."""
_ALL = _ANY | {"/.*", "^/.*$", ".+", "^.+$"}
_KNOWN = frozenset(
    ("name", "uri", "ignoreUriCase", "headers", "queryParams", "withoutHeaders", "sourceLabels", "gateways",
     "statPrefix", *_TEXTS, *_EQUAL)
)  # fmt: skip


def covered(route: Route, earlier: Route, *, ordered: bool) -> bool:
    """Whether ``earlier`` takes every request that ``route`` would; without ``ordered``, only if they say the same."""
    if not ordered:
        theirs, mine = earlier.matches, route.matches
        if not theirs or not mine:
            return not theirs and not mine
        return all(any(match.same(other) for other in theirs) for match in mine)
    if not earlier.matches:
        return True
    if not route.matches:
        return any(_takes(match, None, route) for match in earlier.matches)
    return all(any(_takes(wide, match, route) for wide in earlier.matches) for match in route.matches)


def _takes(wide: Node, match: Node | None, route: Route) -> bool:
    """Whether ``wide`` takes every request that ``match`` (None: any) does."""
    if wide.kind != MAPPING or set(wide.entries) - _KNOWN:
        return False
    return all(_takes_by(key, wide, match, route) for key in wide.entries if key not in _SILENT)


def _takes_by(key: str, wide: Node, match: Node | None, route: Route) -> bool:
    """The same, by one condition of ``wide``."""
    if at(wide, key) is None:
        return False  # written, but with nothing: who knows what it means
    if key == "gateways":
        mine = texts(match, key) or route.gateways_as_written()
        return set(mine) <= set(texts(wide, key))
    if key == "uri":
        return _uri(wide, match)
    if match is None:
        return False
    if key in _EQUAL:
        return text(wide, key) == text(match, key)
    if key == "sourceLabels":
        return labels(wide, key).items() <= labels(match, key).items()
    if key in _TEXTS:
        return _text(at(wide, key), at(match, key))
    return _without(wide, match) if key == "withoutHeaders" else _each(wide, match, key)


def _uri(wide: Node, match: Node | None) -> bool:
    given, theirs = at(wide, "uri"), at(match, "uri")
    if text(given, "prefix") == "/" or text(given, "regex") in _ALL:
        return True
    if match is None or theirs is None:
        return False
    if text(match, "ignoreUriCase") == "true" and text(wide, "ignoreUriCase") != "true":
        return False
    return _text(given, theirs, fold=text(wide, "ignoreUriCase") == "true")


def _text(wide: Node | None, match: Node | None, *, fold: bool = False) -> bool:
    """Whether a StringMatch takes all texts that another takes."""
    if wide is None or match is None:
        return False
    prefix, exact, regex = (text(wide, key) for key in ("prefix", "exact", "regex"))
    theirs = {key: text(match, key) for key in ("prefix", "exact", "regex")}
    if fold:
        prefix, exact = prefix.lower(), exact.lower()
        theirs = {key: value if key == "regex" else value.lower() for key, value in theirs.items()}
    if prefix:
        return theirs["exact"].startswith(prefix) or theirs["prefix"].startswith(prefix)
    if exact:
        return theirs["exact"] == exact
    return bool(regex) and (theirs["regex"] == regex or regex in _ANY)


def _each(wide: Node, match: Node, key: str) -> bool:
    """Headers or query parameters: each that ``wide`` names must be in ``match``, and be taken."""
    mine, theirs = at(wide, key), at(match, key)
    if mine is None or theirs is None or mine.kind != MAPPING or theirs.kind != MAPPING:
        return False
    for name, value in mine.entries.items():
        other = theirs.entries.get(name)
        if other is None:
            return False
        present = value.empty or (value.kind == MAPPING and not value.entries)
        if not present and not _text(value, other):
            return False
    return True


def _without(wide: Node, match: Node) -> bool:
    mine, theirs = at(wide, "withoutHeaders"), at(match, "withoutHeaders")
    if mine is None or theirs is None or mine.kind != MAPPING or theirs.kind != MAPPING:
        return False
    return all(
        name in theirs.entries and value.same(theirs.entries[name]) for name, value in mine.entries.items()
    )
