"""Writes generated artefacts into a folder, and touches no file there that is not its own.

It must not know what the files mean; what it wrote before, it knows from the manifest (``sloctl.artefacts.manifest``).

Nothing is written before everything is known to be allowed: a file that exists, is in no manifest and has
other content than ours stops the run. No folder below the output folder is entered through a symbolic link.

A run may end at any moment. Before the first file changes, the manifest names what is about to be written;
afterwards it is settled. So a later run knows every file that an interrupted one left, and converges.
Runs into the same folder wait for each other (``flock`` on the folder itself, so that no lock file stays);
on a file system without such locks they are not kept apart.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import io
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

from sloctl.artefacts.manifest import MANIFEST, TEMPORARY, Manifest, load, name_problem, section
from sloctl.errors import UsageError

MAX_DIFF_LINES = 2000
LOCK_PATIENCE = 30.0
"""Seconds to wait for another run that writes into the same folder."""

_Kind = Literal["missing", "folder", "file", "symbolic link", "special file"]


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """What a run did; names are relative to the output folder, sorted.

    ``restored`` are those of ``written`` that somebody had edited by hand. ``kept`` are no longer generated
    but were edited by hand, so they were left where they are: a caller warns about them.
    """

    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


def write(
    outdir: Path, files: Iterable[tuple[str, str]], *, owner: str, sections: Collection[str]
) -> WrittenFiles:
    """Write ``files`` (name below ``outdir``, content) of the SLO set ``owner``; remove its stale ones.

    ``sections`` are the top-level folders that were generated: only files of these can be stale. Content
    that is already there is not written again, and adopted if it was not ours.

    Raises UsageError for a file that is not ours or another set's, a broken manifest or a bad name (nothing
    was written then), and when the system refuses: no permission, disk full (no file is half-written then).
    """
    contents = _contents(files, sections)
    with _system_errors(outdir):
        outdir.mkdir(parents=True, exist_ok=True)
        with _locked(outdir):
            return _Run(outdir, contents, owner, sections).apply()


def check(
    outdir: Path,
    files: Iterable[tuple[str, str]],
    *,
    owner: str,
    sections: Collection[str],
    max_lines: int = MAX_DIFF_LINES,
) -> str:
    """What ``write`` would change, as a unified diff from the folder (a/) to ``files`` (b/); "" if nothing.

    Writes nothing. A diff of more than ``max_lines`` lines is cut, and ends with what it leaves out.
    Raises UsageError where ``write`` would before it writes.
    """
    contents = _contents(files, sections)
    with _system_errors(outdir):
        return _Run(outdir, contents, owner, sections).diff(max_lines)


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
    manifest: Manifest = field(init=False)
    changed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.outdir / MANIFEST
        raw = _read(path)
        if raw is False:
            raise UsageError(f"{path} is a {_kind(path)}, not a manifest", hint="remove it")
        self.manifest = Manifest() if raw is None else load(raw, path)
        owners = self.manifest.owners()
        foreign = [name for name in self.contents if not self._may_write(name, owners.get(name))]
        if foreign:
            shown = ", ".join(str(self.outdir / name) for name in foreign[:10])
            more = f" and {len(foreign) - 10} more" if len(foreign) > 10 else ""
            raise UsageError(
                f"not written by sloctl, and in the way of what it would write: {shown}{more}",
                hint="move or remove it, or generate into another folder",
            )
        for name in self.manifest.names(self.owner):
            if section(name) in self.sections and name not in self.contents:
                self._no_longer_generated(name)

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
        if settled and not ours:
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
        self.manifest.settle(self.owner, digests, gone=[*self.stale, *self.gone])
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

    def diff(self, max_lines: int) -> str:
        """The changes as a unified diff, cut after ``max_lines`` lines."""
        lines: list[str] = []
        names = sorted([*self.changed, *self.stale])
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
