"""The manifest of an output folder: which SLO set wrote which file, with which content.

Owns the form of ``.sloctl-manifest.json`` and the rules for names in it; it must not touch any other file.
The manifest is meant to be committed beside the artefacts: one file a line, sorted, no times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sloctl.errors import UsageError

MANIFEST = ".sloctl-manifest.json"
TEMPORARY = ".sloctl-tmp"
"""What a file is called until it is complete; one that stays was left by a run that was killed."""
VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEDY = (
    "restore it from version control; or remove it, and run again: files that are as generated are "
    "then ours again, and nothing else is touched"
)


def name_problem(name: str) -> str:
    """Why ``name`` cannot be a path below the output folder; "" if it can."""
    parts = name.split("/")
    if name.startswith("/"):
        return "it is absolute"
    if any(part in {"", ".", ".."} for part in parts):
        return "it has an empty part, '.' or '..'"
    if not name.isprintable() or "\\" in name:
        return "it has a control character or a backslash"
    if MANIFEST in parts or TEMPORARY in parts:
        return "the name is reserved"
    if len(name) > 1000 or any(len(part.encode()) > 255 for part in parts):
        return "it is too long"
    return ""


def section(name: str) -> str:
    """The top-level folder of a file, or its own name."""
    return name.partition("/")[0]


@dataclass(slots=True)
class _Set:
    """Digests by name: ``files`` as written, ``pending`` as a run that has not ended was about to write."""

    files: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files or self.pending)


@dataclass(slots=True)
class Manifest:
    """Files by the name of their SLO set, and the folders that we made."""

    sets: dict[str, _Set] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def names(self, owner: str) -> list[str]:
        """The files of a set, with those that may have been written, sorted."""
        own = self.sets.get(owner, _Set())
        return sorted(own.files.keys() | own.pending.keys())

    def owners(self) -> dict[str, str]:
        """The set of each file."""
        return {name: owner for owner in self.sets for name in self.names(owner)}

    def settled(self, owner: str, name: str) -> bool:
        """Whether the file was written, rather than about to be."""
        return owner in self.sets and name in self.sets[owner].files

    def wrote(self, owner: str, name: str, digest: str) -> bool:
        """Whether this is a content that we gave the file, or were about to."""
        own = self.sets.get(owner, _Set())
        return digest in (own.files.get(name), own.pending.get(name))

    def unfinished(self) -> set[str]:
        """Folders in which a run that was killed may have left a temporary file ("" is the top)."""
        pending = {name for own in self.sets.values() for name in own.pending}
        return {"", *(name.rpartition("/")[0] for name in pending)} if pending else set()

    def announce(self, owner: str, digests: Mapping[str, str], folders: Iterable[str]) -> None:
        """Note what is about to be written, before it is."""
        self._release(digests, owner)
        self.sets.setdefault(owner, _Set()).pending.update(digests)
        self.folders.update(folders)

    def settle(self, owner: str, digests: Mapping[str, str], gone: Iterable[str]) -> None:
        """Note what has been written, and what exists no more."""
        self._release(digests, owner)
        own = self.sets.setdefault(owner, _Set())
        own.files.update(digests)
        for name in digests:
            own.pending.pop(name, None)
        for name in gone:
            own.files.pop(name, None)
            own.pending.pop(name, None)
        self.sets = {name: entries for name, entries in self.sets.items() if entries}

    def _release(self, names: Iterable[str], owner: str) -> None:
        """Take files that exist no more from the other sets that once wrote them."""
        for other, entries in self.sets.items():
            if other != owner:
                for name in names:
                    entries.files.pop(name, None)
                    entries.pending.pop(name, None)

    def text(self) -> str:
        """The manifest file."""
        sets = {
            name: {"files": own.files} | ({"pending": own.pending} if own.pending else {})
            for name, own in self.sets.items()
        }
        document = {"version": VERSION, "folders": sorted(self.folders), "sets": sets}
        return json.dumps(document, indent=2, sort_keys=True) + "\n"


def load(raw: bytes, path: Path) -> Manifest:
    """Read a manifest. Raises UsageError, with what to do, unless all of it is as we write it."""
    try:
        document: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON", hint=_REMEDY) from None
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise UsageError(f"{path} was written by a newer sloctl", hint="use that version or a later one")
    try:
        return _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{path} is not a manifest of sloctl", hint=_REMEDY) from None


def _parse(document: Any) -> Manifest:
    if document["version"] != VERSION:
        raise ValueError("version")
    read = Manifest(folders={_name(folder) for folder in document["folders"]})
    seen: set[str] = set()
    for owner, entries in document["sets"].items():
        own = _Set(_digests(entries["files"]), _digests(entries.get("pending", {})))
        names = own.files.keys() | own.pending.keys()
        if seen & names:
            raise ValueError("two sets have the same file")
        seen |= names
        read.sets[owner] = own
    return read


def _digests(entries: Any) -> dict[str, str]:
    for name, digest in entries.items():
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a digest")
        _name(name)
    return dict(entries)


def _name(name: str) -> str:
    if name_problem(name):
        raise ValueError(name)
    return name
