"""Spans in files: folders, JSON documents and JSON lines, packed or not, of any format that decoders know.

The format is told from the content, document by document. Lines of JSON are read some at a time: a file of them may be
larger than memory. This module must not know how formats are written.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias

import msgspec

from sloctl.backends.answers import MAX_VALUES
from sloctl.backends.http import decoding
from sloctl.backends.spans import ATTEMPT_TAGS, Spans
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin, documents
from sloctl.backends.traces.columns import MAX_SPANS, merge
from sloctl.backends.traces.sampling import Sample, too_large
from sloctl.errors import UsageError
from sloctl.extras import needed

SUFFIXES = tuple(f".{kind}{packed}" for kind in ("json", "jsonl", "ndjson") for packed in ("", ".gz", ".zst"))
"""What files in a folder are called that are read; a file that is named itself may have any name."""
_Decoder: TypeAlias = decode_zipkin.Decoder | decode_jaeger.Decoder | decode_otlp.Decoder
_GZIP, _ZSTD, _BOM = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
_BUFFER = 1 << 20
_BLOCK = 1 << 18
"""So many bytes of lines are read at once; of small documents, thousands."""
_NAMED = 10
"""So many files that were passed over are named; others are counted."""
_Broken: TypeAlias = tuple[type[Exception], ...]
_OTLP_KEYS = (b"resourceSpans", b"batches", b"result")
_FIRST_KEY = re.compile(rb'\s*\{\s*"(\w{1,20})"')


class _Peek(msgspec.Struct, gc=False):
    """Keys by which a document is known."""

    resource_spans: msgspec.Raw = msgspec.field(name="resourceSpans", default=documents.NOTHING)
    batches: msgspec.Raw = documents.NOTHING
    result: msgspec.Raw = documents.NOTHING
    trace: msgspec.Raw = documents.NOTHING
    data: msgspec.Raw = documents.NOTHING
    spans: msgspec.Raw = documents.NOTHING
    jaeger_id: msgspec.Raw = msgspec.field(name="spanID", default=documents.NOTHING)
    model_id: msgspec.Raw = msgspec.field(name="spanId", default=documents.NOTHING)
    zipkin_id: msgspec.Raw = msgspec.field(name="id", default=documents.NOTHING)
    trace_id: msgspec.Raw = msgspec.field(name="traceId", default=documents.NOTHING)


_peek = msgspec.json.Decoder(_Peek)


class _Unknown(Exception):
    pass


def read(
    paths: Sequence[Path],
    attempt_tags: Sequence[str] = ATTEMPT_TAGS,
    *,
    limit: int = decoding.MAX_BYTES,
    max_spans: int = MAX_SPANS,
) -> Spans:
    """All spans of files and folders; folders are searched to the bottom for :data:`SUFFIXES`.

    ``attempt_tags`` are as in the decoders; ``limit`` is the largest document in bytes (of JSON lines, each line is a
    document), ``max_spans`` how many spans are held, or names of that size: of more, every other trace is left out,
    again and again, see :mod:`sloctl.backends.traces.sampling`. Lines that are no JSON, as a cut last one, count as
    rejected. A file in a folder that cannot be used, or has another name, is named in ``incomplete``; one that was
    named itself raises ``UsageError``, as do paths that do not exist. Duplicates stay.
    """
    reader = _Reader(attempt_tags, limit, max_spans)
    _read(reader, paths)
    return reader.spans()


def _read(reader: _Reader, paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            reader.passed_over(path, [one for one in inside if not one.name.endswith(SUFFIXES)])
            for inner in filter(lambda one: one.name.endswith(SUFFIXES), inside):
                try:
                    reader.file(inner)
                except (UsageError, OSError) as error:
                    reader.incomplete.append(str(error))
        else:
            try:
                reader.file(path)
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror or error}") from error


class _Reader:
    def __init__(self, attempt_tags: Sequence[str], limit: int, max_spans: int) -> None:
        self.incomplete: list[str] = []
        self._sample = Sample()
        self._zipkin = decode_zipkin.Decoder(attempt_tags, sample=self._sample)
        self._jaeger = decode_jaeger.Decoder(attempt_tags, sample=self._sample)
        self._otlp = decode_otlp.Decoder(attempt_tags, sample=self._sample)
        self._decoders: tuple[_Decoder, ...] = (self._zipkin, self._jaeger, self._otlp)
        self._lines = 0
        self._limit, self._max_spans = limit, max_spans

    def spans(self) -> Spans:
        self._thin()
        self._bound()
        parts = [one.spans() for one in self._decoders]
        if self._sample.large:
            self.incomplete.append(too_large(self._sample, self._max_spans))
        rejected = {"a line is not JSON": self._lines} if self._lines else {}
        return merge([*parts, Spans(parts[0].frame[:0], rejected, incomplete=tuple(self.incomplete))])

    def passed_over(self, folder: Path, files: Sequence[Path]) -> None:
        """Say which files of a folder are not read, for their names."""
        kinds = "not named as JSON or lines of JSON, packed or not"
        self.incomplete += [f"{path}: passed over, {kinds}" for path in files[:_NAMED]]
        if len(files) > _NAMED:
            self.incomplete.append(f"{folder}: {len(files) - _NAMED:,} more files passed over, {kinds}")

    def file(self, path: Path) -> None:
        try:
            self._documents(path)
        except _Unknown as error:
            raise UsageError(f"{path}: holds no spans in a format that is known") from error
        except RecursionError as error:
            raise UsageError(f"{path}: is nested too deeply") from error
        except decoding.TooManyValues as error:
            raise UsageError(f"{path}: a document of {error}; write one trace or span a line") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: is not what it should be: {error}") from error

    def _documents(self, path: Path) -> None:
        with path.open("rb", buffering=_BUFFER) as plain:
            file, broken = _unpacked(plain)
            head = next((line for line in self._head(file, path, broken) if not line.isspace()), b"")
            head = decoding.sound(head.removeprefix(_BOM))
            if not head:
                return
            try:
                documents.RAW.decode(head)
            except msgspec.DecodeError:
                self._document(self._whole(head, file, path, broken))
                return
            self._document(head)
            for block in self._blocks(file, path, broken):
                self._lines_of(block, path)

    def _head(self, file: IO[bytes], path: Path, broken: _Broken) -> Iterator[bytes]:
        """Lines of a file, as long as they can be read."""
        while True:
            try:
                line = file.readline(self._limit + 1)
            except broken as error:
                self.incomplete.append(f"{path}: cannot be unpacked to its end: {error}")
                return
            if len(line) > self._limit:
                raise UsageError(_too_large(path, self._limit))
            if not line:
                return
            yield line

    def _whole(self, head: bytes, file: IO[bytes], path: Path, broken: _Broken) -> bytes:
        try:
            body = head + file.read(self._limit - len(head) + 1)
        except broken as error:
            raise UsageError(f"{path}: cannot be unpacked to its end: {error}") from error
        if len(body) > self._limit:
            raise UsageError(_too_large(path, self._limit))
        return decoding.sound(body)

    def _blocks(self, file: IO[bytes], path: Path, broken: _Broken) -> Iterator[bytes]:
        """Whole lines of a file, some together; what can be read of a file that was cut while it was packed."""
        held: list[bytes] = []
        size, begun = 0, False
        while True:
            try:
                piece = file.read1(_BLOCK)  # type: ignore[attr-defined]
            except broken as error:
                self.incomplete.append(f"{path}: cannot be unpacked to its end: {error}")
                yield b"".join(held).rpartition(b"\n")[0]
                return
            held.append(piece)
            size += len(piece)
            begun = begun or b"\n" in piece
            if not piece or (begun and size >= _BLOCK):
                block, _, rest = b"".join(held).rpartition(b"\n") if piece else (b"".join(held), b"", b"")
                yield block
                if not piece:
                    return
                held, size, begun = [rest], len(rest), False
            if not begun and size > self._limit:
                raise UsageError(_too_large(path, self._limit))

    def _lines_of(self, block: bytes, path: Path) -> None:
        """Read a block of lines: at once where they are of one form and all is well, else one by one."""
        block = decoding.sound(block.strip())
        if len(block) <= self._limit and self._at_once(block):
            return
        for line in block.split(b"\n"):
            if len(line) > self._limit:
                raise UsageError(_too_large(path, self._limit))
            if not line or line.isspace():
                continue
            try:
                self._document(line)
            except (*documents.FAILURES, decoding.TooManyValues, _Unknown):
                self._lines += 1

    def _at_once(self, block: bytes) -> bool:
        if len(block) > MAX_VALUES:
            return False
        try:
            first = documents.RAW.decode(block.partition(b"\n")[0])
            if documents.first(first) == b"[":
                first = next(iter(documents.RAW_LIST.decode(first)), documents.NOTHING)
            decoder = self._decoder(first)
        except (*documents.FAILURES, _Unknown):
            return False
        if not decoder.feed_lines(b"[" + block.replace(b"\n", b",") + b"]", block.count(b"\n") + 1):
            return False
        self._bound()
        return True

    def _document(self, body: bytes) -> None:
        """Read a document, and hold no more than may be."""
        decoding.check(body)
        self._feed(body)
        self._bound()

    def _bound(self) -> None:
        self._sample.bound(self._max_spans, self._weight, self._thin)

    def _weight(self) -> int:
        return sum(one.weight for one in self._decoders)

    def _thin(self, most: int | None = None) -> None:
        for one in self._decoders:
            one.thin(most)

    def _feed(self, body: bytes | msgspec.Raw) -> None:
        if documents.first(body) != b"[":
            self._decoder(body).feed(body)
            return
        items = documents.RAW_LIST.decode(body)
        inner = next((item for item in items if documents.first(item) in (b"{", b"[")), None)
        if inner is None:
            if items:
                raise _Unknown
            return
        if documents.first(inner) == b"[" or self._decoder(inner) is self._zipkin:
            self._zipkin.feed(body)
            return
        for item in items:
            self._feed(item)

    def _decoder(self, body: bytes | msgspec.Raw) -> _Decoder:
        known = _FIRST_KEY.match(body)
        if known and known[1] in _OTLP_KEYS:
            return self._otlp
        if known and known[1] == b"data":
            return self._jaeger
        found = _peek.decode(body)
        if any(map(bytes, (found.resource_spans, found.batches, found.result, found.trace))):
            return self._otlp
        if any(map(bytes, (found.data, found.spans, found.jaeger_id, found.model_id))):
            return self._jaeger
        if bytes(found.zipkin_id) or bytes(found.trace_id):
            return self._zipkin
        raise _Unknown


def _unpacked(plain: IO[bytes]) -> tuple[IO[bytes], _Broken]:
    """What a file holds, unpacked if it is packed, and what reading it raises where it is broken or cut.

    Raises ``UsageError`` where what unpacks it is not installed.
    """
    magic = plain.read(4)
    plain.seek(0)
    if magic[:2] == _GZIP:
        unzipped: IO[bytes] = gzip.GzipFile(fileobj=plain)  # type: ignore[assignment]
        return unzipped, (EOFError, zlib.error, gzip.BadGzipFile)
    if magic != _ZSTD:
        return plain, ()
    with needed("traces", "reading what zstd packed"):
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            import backports.zstd as zstd
    unpacked: IO[bytes] = zstd.ZstdFile(plain)  # type: ignore[assignment]
    return unpacked, (EOFError, zstd.ZstdError)


def _too_large(path: Path, limit: int) -> str:
    return f"{path}: a document of more than {limit >> 20} MiB; write one document a line"
