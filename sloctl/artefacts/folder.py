"""Writes generated artefacts into a folder, and touches no file there that is not its own.

The manifest ``.sloctl-manifest.json`` says which SLO set wrote which file, with which content, and from which SLO
files. It is meant to be committed beside the artefacts: one file a line, sorted, no times. Nothing is written before
everything is known to be allowed: a file that exists and is in no manifest is somebody else's, one with another content
than we gave it was edited, and a set of the same name from other SLO files is another set. It must not know what the
files mean.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import io
import json
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

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
    """Digests by name: ``files`` as written, ``pending`` as a run that has not ended was about to write.

    ``sources`` are the SLO files as they were named, relative to the output folder; empty if that is not known.
    """

    files: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

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

    def written(self, owner: str, name: str, digest: str) -> None:
        """Note what a run that was killed has written: what the next one announces takes the place of that."""
        self.sets.setdefault(owner, _Set()).files[name] = digest

    def unfinished(self) -> set[str]:
        """Folders in which a run that was killed may have left a temporary file ("" is the top)."""
        pending = {name for own in self.sets.values() for name in own.pending}
        return {"", *(name.rpartition("/")[0] for name in pending)} if pending else set()

    def announce(self, owner: str, digests: Mapping[str, str], folders: Iterable[str]) -> None:
        """Note what is about to be written, before it is."""
        self._release(digests, owner)
        self.sets.setdefault(owner, _Set()).pending.update(digests)
        self.folders.update(folders)

    def settle(
        self, owner: str, digests: Mapping[str, str], gone: Iterable[str], sources: Sequence[str]
    ) -> None:
        """Note what has been written, from which SLO files if that is known, and what exists no more."""
        self._release(digests, owner)
        own = self.sets.setdefault(owner, _Set())
        own.sources = list(sources) or own.sources
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
            name: {"files": own.files}
            | ({"pending": own.pending} if own.pending else {})
            | ({"sources": own.sources} if own.sources else {})
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
        sources = [os.fspath(source) for source in entries.get("sources", [])]
        own = _Set(_digests(entries["files"]), _digests(entries.get("pending", {})), sources)
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


MAX_DIFF_LINES = 2000
LOCK_PATIENCE = 30.0
"""Seconds to wait for another run that writes into the same folder."""

_Kind = Literal["missing", "folder", "file", "symbolic link", "special file"]


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """What a run did; names are relative to the output folder, sorted.

    ``restored`` are those of ``written`` that somebody had edited by hand, which is done by request alone. ``kept`` are
    no longer generated but were edited by hand, so they were left where they are: a caller warns about both.
    """

    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


Change = Literal["changed", "edited by hand", "missing", "no longer generated"]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a run would change: each file by its name relative to the output folder, sorted, and a unified diff."""

    files: Mapping[str, Change]
    diff: str


def write(
    outdir: Path,
    files: Iterable[tuple[str, str]],
    *,
    owner: str,
    sections: Collection[str],
    sources: Iterable[Path] = (),
    force: bool = False,
) -> WrittenFiles:
    """Write ``files`` (name below ``outdir``, content) of the SLO set ``owner``; remove its stale ones.

    ``sections`` are the top-level folders that were generated: only files of these can be stale. Content
    that is already there is not written again, and adopted if it was not ours. ``sources`` are the SLO files, if they
    are known. ``force`` overwrites what was edited by hand, and what a set of the same name from other sources wrote.

    Raises UsageError for a file that is not ours, edited by hand or another set's, a broken manifest or a bad name
    (nothing was written then), and when the system refuses: no permission, disk full (no file is half-written then).
    """
    contents = _contents(files, sections)
    with _system_errors(outdir):
        outdir.mkdir(parents=True, exist_ok=True)
        with _locked(outdir):
            run = _Run(outdir, contents, owner, sections, sources)
            if not force:
                run.refuse_other_sources()
                run.refuse_edited()
            return run.apply()


def check(
    outdir: Path,
    files: Iterable[tuple[str, str]],
    *,
    owner: str,
    sections: Collection[str],
    sources: Iterable[Path] = (),
    force: bool = False,
    max_lines: int = MAX_DIFF_LINES,
) -> Difference:
    """What ``write`` would change: the files, and a unified diff from the folder (a/) to ``files`` (b/).

    Writes nothing. A diff of more than ``max_lines`` lines is cut, and ends with what it leaves out. What was edited by
    hand is part of it. Raises UsageError where else ``write`` would before it writes.
    """
    contents = _contents(files, sections)
    with _system_errors(outdir):
        run = _Run(outdir, contents, owner, sections, sources)
        if not force:
            run.refuse_other_sources()
        return run.difference(max_lines)


def _contents(files: Iterable[tuple[str, str]], sections: Collection[str]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name, text in files:
        if problem := name_problem(name):
            raise UsageError(f"cannot generate a file named {name!r}: {problem}")
        if name in contents:
            raise UsageError(f"two generated files have the same name: {name}")
        if section(name) not in sections:
            raise ValueError(f"{name} is in none of the sections {sorted(sections)}")
        try:
            contents[name] = text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} would hold {text[error.start]!r}, which is not a character") from None
    for name in contents:
        for folder in _folders(name):
            if folder in contents:
                raise UsageError(f"two generated files cannot both exist: {folder} and {name}")
    return dict(sorted(contents.items()))


def _folders(name: str) -> Iterator[str]:
    """``a/b`` and ``a`` for ``a/b/c``."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


@contextlib.contextmanager
def _system_errors(outdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or outdir
        raise UsageError(
            f"{os.fsdecode(place)}: {error.strerror or error}",
            hint="no file is half-written; run the command again when this is solved",
        ) from error


@contextlib.contextmanager
def _locked(outdir: Path) -> Iterator[None]:
    folder = os.open(outdir, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while not _lock(folder):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"another sloctl has been writing into {outdir} for {LOCK_PATIENCE:.0f} seconds",
                    hint="wait until it has ended, or end it, and run the command again",
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # anything else: a file system without locks
        return error.errno != errno.EWOULDBLOCK
    return True


def _kind(path: Path) -> _Kind:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return "missing"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "special file"


def _read(path: Path) -> bytes | Literal[False] | None:
    """The content of a regular file; None if nothing is there, False if something else is."""
    kind = _kind(path)
    if kind == "missing":
        return None
    return path.read_bytes() if kind == "file" else False


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


@dataclass(slots=True)
class _Run:
    """One run: finds what is to be done without changing anything, then does or shows it."""

    outdir: Path
    contents: dict[str, bytes]
    owner: str
    sections: Collection[str]
    sources: InitVar[Iterable[Path]]
    manifest: Manifest = field(init=False)
    given: list[str] = field(init=False)
    """The sources, as the manifest has them."""
    changed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def __post_init__(self, sources: Iterable[Path]) -> None:
        here = os.path.realpath(self.outdir)
        self.given = sorted({os.path.relpath(os.path.realpath(source), here) for source in sources})
        path = self.outdir / MANIFEST
        raw = _read(path)
        if raw is False:
            raise UsageError(f"{path} is a {_kind(path)}, not a manifest", hint="remove it")
        self.manifest = Manifest() if raw is None else load(raw, path)
        owners = self.manifest.owners()
        foreign = [name for name in self.contents if not self._may_write(name, owners.get(name))]
        if foreign:
            raise UsageError(
                f"not written by sloctl, and in the way of what it would write: {self._named(foreign)}",
                hint="move or remove it, or generate into another folder",
            )
        for name in self.manifest.names(self.owner):
            if section(name) in self.sections and name not in self.contents:
                self._no_longer_generated(name)

    def _named(self, names: Sequence[str]) -> str:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return ", ".join(str(self.outdir / name) for name in names[:10]) + more

    def refuse_edited(self) -> None:
        """Raise UsageError if a file that would be overwritten was edited by hand."""
        if self.restored:
            raise UsageError(
                f"edited by hand since sloctl wrote it: {self._named(self.restored)}",
                hint="change the SLO file instead (--check shows the difference); or overwrite it with --force",
            )

    def refuse_other_sources(self) -> None:
        """Raise UsageError if a set of the same name that came from other SLO files would lose anything."""
        known = set(self.manifest.sets.get(self.owner, _Set()).sources)
        given = set(self.given)
        lost = [*self.stale, *(name for name in self.changed if self._read(name))]
        if not known or not given or known <= given or given <= known or not lost:
            return
        before = ", ".join(os.path.normpath(self.outdir / source) for source in sorted(known))
        raise UsageError(
            f"the SLO set {self.owner!r} in {self.outdir} comes from {before}, and would lose {self._named(lost)}",
            hint="give each SLO file a metadata.name of its own, generate each into a folder of its own, or give all "
            "files at once (-f A -f B); if the file was moved, use --force",
        )

    def _may_write(self, name: str, known_owner: str | None) -> bool:
        """Whether the file is ours or not there; notes it when it has to be written."""
        for folder in _folders(name):
            if (kind := self._folder_kind(folder)) not in {"folder", "missing"}:
                raise UsageError(
                    f"{self.outdir / folder} is a {kind}, where sloctl needs a folder",
                    hint="move or remove it, or generate into another folder",
                )
        there = self._read(name)
        if there is not None and known_owner not in {None, self.owner}:
            raise UsageError(
                f"{self.outdir / name} belongs to the SLO set {known_owner!r}",
                hint="generate each set into a folder of its own; "
                f"or, if {known_owner!r} was renamed or is gone, remove its files first",
            )
        if there == self.contents[name]:
            return True
        self.changed.append(name)
        if not isinstance(there, bytes):
            return there is None
        settled = self.manifest.settled(self.owner, name)
        ours = self.manifest.wrote(self.owner, name, _digest(there))
        if ours:
            self.manifest.written(self.owner, name, _digest(there))
        elif settled:
            self.restored.append(name)
        return settled or ours

    def _no_longer_generated(self, name: str) -> None:
        there = self._read(name)
        if there is None:
            self.gone.append(name)
        elif there is not False and self.manifest.wrote(self.owner, name, _digest(there)):
            self.stale.append(name)
        elif self.manifest.settled(self.owner, name):
            self.kept.append(name)
        else:  # a run that was about to write it ended before, and somebody else wrote it since
            self.gone.append(name)

    def _read(self, name: str) -> bytes | Literal[False] | None:
        """As ``_read``, but nothing behind a symbolic link counts as a file."""
        folder = name.rpartition("/")[0]
        kind = self._folder_kind(folder) if folder else "folder"
        if kind == "folder":
            return _read(self.outdir / name)
        return None if kind == "missing" else False

    def _folder_kind(self, folder: str) -> _Kind:
        """What a folder is; what the first outer one is that is no folder."""
        if folder not in self._kinds:
            outer = folder.rpartition("/")[0]
            kind = self._folder_kind(outer) if outer else "folder"
            self._kinds[folder] = _kind(self.outdir / folder) if kind == "folder" else kind
        return self._kinds[folder]

    def apply(self) -> WrittenFiles:
        """Do it, in an order that can be interrupted anywhere: announce, write, remove, settle."""
        before = self.manifest.text()
        digests = {name: _digest(content) for name, content in self.contents.items()}
        for folder in self.manifest.unfinished():
            if not folder or self._folder_kind(folder) == "folder":
                (self.outdir / folder / TEMPORARY).unlink(missing_ok=True)
        if self.changed:
            needed = {folder for name in self.changed for folder in _folders(name)}
            missing = sorted(folder for folder in needed if self._folder_kind(folder) == "missing")
            self.manifest.announce(self.owner, {name: digests[name] for name in self.changed}, missing)
            before = self.manifest.text()
            self._replace(MANIFEST, before.encode())
            for folder in missing:
                (self.outdir / folder).mkdir(exist_ok=True)
            for name in self.changed:
                self._replace(name, self.contents[name])
        for name in self.stale:
            (self.outdir / name).unlink(missing_ok=True)
        self.manifest.settle(self.owner, digests, [*self.stale, *self.gone], self.given)
        self._remove_empty_folders()
        if (after := self.manifest.text()) != before:
            self._replace(MANIFEST, after.encode())
        unchanged = sorted(self.contents.keys() - set(self.changed))
        return WrittenFiles(*map(tuple, (self.changed, unchanged, self.stale, self.kept, self.restored)))

    def _replace(self, name: str, content: bytes) -> None:
        """Give a file new content at once: a reader sees the old one or the new one."""
        path = self.outdir / name
        temporary = path.with_name(TEMPORARY)
        temporary.unlink(missing_ok=True)  # of a run that was killed
        try:
            with open(temporary, "xb", opener=_create) as file:
                file.write(content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _remove_empty_folders(self) -> None:
        """Remove those folders that we made and that are empty now, innermost first."""
        for folder in sorted(self.manifest.folders, reverse=True):
            if self._folder_kind(folder) == "folder":
                with contextlib.suppress(OSError):  # not empty
                    (self.outdir / folder).rmdir()
            if not (self.outdir / folder).is_dir():
                self.manifest.folders.discard(folder)

    def difference(self, max_lines: int) -> Difference:
        """What ``apply`` would change, with a diff that is cut after ``max_lines`` lines."""
        names = sorted([*self.changed, *self.stale])
        return Difference({name: self._change(name) for name in names}, self._diff(names, max_lines))

    def _change(self, name: str) -> Change:
        if name in self.stale:
            return "no longer generated"
        if name in self.restored:
            return "edited by hand"
        return "missing" if self._read(name) is None else "changed"

    def _diff(self, names: Sequence[str], max_lines: int) -> str:
        lines: list[str] = []
        for done, name in enumerate(names, start=1):
            there = self._read(name)
            lines += _file_diff(name, None if there is False else there, self.contents.get(name))
            if len(lines) > max_lines:
                rest = [f"{len(lines) - max_lines} more lines of {name}"]
                if done < len(names):
                    rest.append(f"{len(names) - done} more files")
                return "".join([*lines[:max_lines], f"... {' and '.join(rest)}\n"])
        return "".join(lines)


def _file_diff(name: str, old: bytes | None, new: bytes | None) -> list[str]:
    head = [
        f"--- {'/dev/null' if old is None else f'a/{name}'}\n",
        f"+++ {'/dev/null' if new is None else f'b/{name}'}\n",
    ]
    body = list(difflib.unified_diff(_lines(old), _lines(new)))[2:]
    return head + [
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in body
    ]


def _lines(content: bytes | None) -> list[str]:
    """Lines with their ends; only ``\\n`` ends one, as in git."""
    text = (content or b"").decode(errors="backslashreplace")
    return list(io.StringIO(text, newline="\n"))
