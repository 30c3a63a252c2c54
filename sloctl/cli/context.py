"""What every command needs: where to say things, options that several have, the SLO file and its problems, the time."""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import click

from sloctl.cli import completing
from sloctl.errors import InvalidFile, Problem, UsageError
from sloctl.settings.variables import environment

if TYPE_CHECKING:
    from sloctl.mesh import Result, Traffic
    from sloctl.model import SloSet
    from sloctl.spec import Source


class Input:
    """What the file arguments mean, standard input included, which can be read only once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.paths = [Path(name) for name in names]
        self._content: bytes | None = None
        if "-" in names and sys.stdin is not None:
            from sloctl.spec.yaml.files import MAX_BYTES

            self._content = sys.stdin.buffer.read(MAX_BYTES + 1)

    @property
    def stdin(self) -> IO[bytes] | None:
        """Standard input, to be read from its beginning."""
        return None if self._content is None else io.BytesIO(self._content)

    def render(self, problems: Sequence[Problem]) -> str:
        """One block per problem: place, message, line, hint."""
        from sloctl.spec import render_text, source_lines
        from sloctl.spec.yaml.files import STDIN

        texts = {} if self._content is None else {STDIN: self._content.decode("utf-8-sig", "replace")}
        return render_text(problems, lines=source_lines(problems, texts=texts))

    def show(self, problems: Sequence[Problem]) -> None:
        """The problems on stderr."""
        click.echo(self.render(problems), err=True, nl=False)


F = TypeVar("F", bound=Callable[..., Any])

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No Prometheus has data from before; a smaller number of seconds is a slip."""


@dataclass(frozen=True, slots=True)
class Context:
    """How much to say."""

    quiet: bool = False
    verbose: bool = False

    def say(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def give(self, text: str, output: Path | None, said: str) -> None:
        """What a command was asked for: on stdout, or whole in a file, of which stderr then has what is ``said``."""
        if output is None:
            click.echo(text, nl=not text.endswith("\n"))
            return
        from sloctl.artefacts import atomic

        atomic.write(output, text if text.endswith("\n") else f"{text}\n")
        self.say(said)

    def warn(self, text: str) -> None:
        """A warning on stderr, unless quiet."""
        self.say(f"sloctl: warning: {text}")

    def detail(self, text: str) -> None:
        """A line on stderr with ``--verbose``."""
        if self.verbose:
            click.echo(text, err=True)


pass_context = click.make_pass_decorator(Context)


def files_option(function: F) -> F:
    """``-f FILE…``: SLO files and folders; ``-f`` may be left out."""

    @functools.wraps(function)
    def taking(*arguments: Any, files: tuple[str, ...], paths: tuple[str, ...], **options: Any) -> Any:
        return function(*arguments, files=named((*files, *paths)), **options)

    argument = click.argument("paths", nargs=-1, metavar="[FILE]...", shell_complete=completing.files)
    return named_files_option(argument(cast("F", taking)))


def named_files_option(function: F) -> F:
    """``-f FILE…``, for commands whose arguments are something else: see :func:`named`."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        metavar="FILE",
        shell_complete=completing.files,
        help="SLO file, a folder of them, or - for stdin. May be given more than once.",
    )(function)


def named(files: tuple[str, ...]) -> tuple[str, ...]:
    """The files, of which there has to be one. Raises UsageError."""
    if not files:
        hint = (
            "slo.yaml is here: -f slo.yaml"
            if Path("slo.yaml").is_file()
            else "sloctl init writes a first one"
        )
        raise UsageError("no SLO file is named (-f FILE)", hint=hint)
    return files


def set_option(function: F) -> F:
    """``-f FILE…`` of commands that are of all sets unless it names one: see :func:`set_name_of`."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        metavar="FILE",
        shell_complete=completing.files,
        help="SLO file: only its set. Else all sets.",
    )(function)


def set_name_of(context: Context, files: tuple[str, ...]) -> str | None:
    """The set that the files are of; None without files. Raises InvalidFile, UsageError."""
    return load(context, files).name if files else None


def source_options(function: F) -> F:
    """``--prometheus``, ``--timeout`` and ``--at``."""
    for option in (
        click.option(
            "--at",
            metavar="TIME",
            help="As of a past time: RFC 3339 (2026-03-01T12:00:00Z), Unix seconds, or an age such as 2h.",
        ),
        click.option(
            "--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30."
        ),
        click.option(
            "--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file."
        ),
    ):
        function = option(function)
    return function


def origin_option(function: F) -> F:
    """``--source``: where budgets are read."""
    return click.option(
        "--source",
        "origin",
        type=click.Choice(["auto", "ledger", "rules", "raw"]),
        default="auto",
        show_default=True,
        help="Read the ledger, or what the rules recorded, or evaluate the raw counters (slow); auto takes, for "
        "each SLO, the first that is there, up to date and has most of the window.",
    )(function)


def budget_options(function: F) -> F:
    """``--service``, ``--namespace`` and ``--owner``: some budgets of all."""
    for option in (
        click.option(
            "--owner",
            metavar="NAME",
            shell_complete=completing.of_file("owner"),
            help="Only budgets of this owner.",
        ),
        click.option(
            "--namespace",
            metavar="NAME",
            shell_complete=completing.of_file("namespace"),
            help="Only budgets of this namespace.",
        ),
        click.option(
            "--service",
            "services",
            multiple=True,
            metavar="NAME",
            callback=_places,
            shell_complete=completing.of_file("service"),
            help="Only budgets of this service, cart or shop/cart; several times for several.",
        ),
    ):
        function = option(function)
    return function


def place_of(text: str, option: str = "--service") -> tuple[str, str]:
    """Namespace ("" if it is not said) and name of a service, ``cart`` or ``shop/cart``. Raises UsageError."""
    namespace, slash, name = text.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace or any(char.isspace() for char in text):
        raise UsageError(f"{option}: {text!r} is no service", hint="write  cart  or  shop/cart")
    return namespace, name


def place_options(service: str | None, namespace: str | None) -> tuple[str, str]:
    """Namespace and name that ``--service`` and ``--namespace`` say together, "" for all. Raises UsageError.

    One that is given and empty, as by a variable that is not set, is not all.
    """
    place, name = ("", "") if service is None else place_of(service)
    if namespace is None:
        return place, name
    if not namespace or "/" in namespace or any(char.isspace() for char in namespace):
        raise UsageError(f"--namespace: {namespace!r} is no namespace", hint="write  --namespace shop")
    if place not in ("", namespace):
        raise UsageError(f"--service {service} is in another namespace than --namespace {namespace}")
    return namespace, name


def _places(_context: click.Context, _option: click.Parameter, services: tuple[str, ...]) -> tuple[str, ...]:
    for service in services:
        place_of(service)
    return services


def format_option(text: str = "How to print it.") -> Callable[[F], F]:
    """``--format table|json``; ``text`` is its help."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help=text,
    )


def _writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is None or str(path) == "-":
        return None
    from sloctl.artefacts import atomic

    atomic.target(path)
    return path


def output_option(function: F) -> F:
    """``-o FILE``: None for standard output. Whether it can be written is known before anything is asked."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        callback=_writable,
        metavar="FILE",
        help="Write it to this file instead, whole or not at all; - is stdout.",
    )(function)


def verdict_options(function: F) -> F:
    """``--format`` and ``-o`` of commands that a pipeline asks for a verdict."""
    form = click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", "junit", "github"]),
        default="text",
        show_default=True,
        help="How to print it: junit is an XML file of tests, github annotates a workflow.",
    )
    return form(output_option(function))


def ledger_option(function: F) -> F:
    """``--ledger``."""
    return click.option(
        "--ledger",
        "ledger_url",
        metavar="URL",
        help="The ledger: an SQLite file, postgresql://…, or none. Default: SLOCTL_LEDGER_URL, else a file in "
        "~/.local/state/sloctl.",
    )(function)


def load(context: Context, files: Sequence[str]) -> SloSet:
    """Load SLO files; their problems go to stderr. Raises InvalidFile, UsageError."""
    return load_with_sources(context, files)[0]


def load_with_sources(context: Context, files: Sequence[str]) -> tuple[SloSet, tuple[Source, ...]]:
    """The same, and the files that it is from as they were read. Raises InvalidFile, UsageError."""
    from sloctl import spec

    given = Input(files)
    sources = read(context, given)
    try:
        slo_set = spec.load_sources(sources, environment())
    except InvalidFile as error:
        given.show(error.problems)
        raise
    if slo_set.warnings and not context.quiet:
        given.show(slo_set.warnings)
    return slo_set, sources


def read(context: Context, given: Input) -> tuple[Source, ...]:
    """The files that are given; ``-v`` names those of a folder that are left alone. Raises UsageError."""
    from sloctl import spec

    left: list[Source] = []
    found = spec.read(given.paths, stdin=given.stdin, left=left)
    for source in left:
        context.detail(f"{source.name}: left alone: {source.left}")
    return found


def parse_time(text: str | None, now: datetime, option: str = "--at") -> datetime:
    """The time that ``option`` means, in UTC and whole seconds; ``now`` without it. Raises UsageError."""
    if text is None:
        return now.replace(microsecond=0)
    from sloctl.model.durations import parse_duration

    try:
        if (age := parse_duration(text)) is not None:
            time = now - timedelta(seconds=age)
        elif re.fullmatch(r"[0-9]{1,11}(\.[0-9]+)?", text):
            time = datetime.fromtimestamp(float(text), UTC)
        else:
            time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise UsageError(f"{option}: {text!r} has no time zone", hint=f"write {text}Z or {text}+01:00")
        time = time.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{option}: {text!r} is not a time",
            hint="write 2026-03-01T12:00:00Z, Unix seconds, or an age such as 2h",
        ) from error
    if not EARLIEST <= time <= now:
        when = "in the future" if time > now else f"before {EARLIEST.year}"
        raise UsageError(f"{option}: {text!r} is {when}", hint="it is for times that Prometheus has data of")
    return time


def now() -> datetime:
    """The time, in UTC: read here, and passed down from here."""
    return datetime.now(UTC)


def printable(text: str) -> str:
    """A text without control characters, for a terminal."""
    from sloctl.report.numbers import plain  # which not every start needs

    return plain(text)


mesh_option = click.option(
    "--mesh",
    "manifests",
    multiple=True,
    metavar="FILE",
    shell_complete=completing.files,
    help="Files or folders of the mesh's configuration (Istio, Gateway API), as for lint-mesh.",
)


def manifests_of(given: Input) -> tuple[Source, ...]:
    """The files of the mesh's configuration. Raises UsageError."""
    from sloctl.spec.yaml import files as reading

    for path in given.paths:
        if str(path) != "-" and not path.exists():
            raise UsageError(f"cannot read {path}: no such file or directory", hint="check the path")
    return tuple(reading.read(given.paths, given.stdin, (".yaml", ".yml", ".json")))


def linted(paths: Sequence[str], traffic: Traffic | None = None) -> Result:
    """What ``--mesh`` holds, judged. Raises UsageError."""
    from sloctl.mesh import lint

    if "-" in paths:
        raise UsageError("--mesh cannot read stdin", hint="name the files or folders")
    result = lint(manifests_of(Input(paths)), traffic=traffic)
    if not result.objects and not result.problems:
        raise UsageError(
            "--mesh: there is no object of Istio or the Gateway API here",
            hint="name the folder that holds them",
        )
    return result
