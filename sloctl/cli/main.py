"""The entry point: finds the command, runs it, and reports what went wrong in one line."""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from sloctl import __version__
from sloctl.cli import shadowing
from sloctl.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE, SloctlError

COMMANDS = {
    "init": "Write a commented starter SLO file.",
    "import": "Turn SLOs of Sloth, Pyrra, OpenSLO or Nobl9 into an SLO file.",
    "validate": "Check SLO files; name every problem with file, line and remedy.",
    "generate": "Write rules, alerts, their promtool tests and dashboards from an SLO file.",
    "run": "Run jobs once: slis, burn_rate, sidecar_restarts, retry_amplification, report.",
    "schedule": "Run the file's jobs on their schedules, with metrics and health.",
    "report": "Show error budgets, burn rates and what alerts.",
    "serve": "Show budgets, what burns and where it begins as live pages.",
    "explain": "Say where failures begin, since when, and what changed by then.",
    "gate": "Say whether a service may be released now, by its error budgets.",
    "canary": "Compare two versions that serve at the same time: promote, wait or roll back.",
    "backtest": "Replay alert policies over the past: what would have paged, when, for how long.",
    "diff": "Say what a change of SLO files means: alerts, budgets, pages, cost of rules.",
    "lint-mesh": "Find in the mesh's own configuration what burns error budgets.",
    "annotate": "Enter a deploy, an incident or a note, which is shown wherever budgets are drawn.",
    "backfill": "Write the recorded series of the past, so that budgets have their whole window at once.",
    "ledger": "See, check, export and import what is recorded; budgets of past periods.",
    "export": "Write the SLOs for another tool: OpenSLO, Sloth's series, Argo Rollouts, Flagger.",
    "outbox": "See, retry and remove reports that were not posted yet.",
    "runbooks": "List, print or write the runbooks of the alerts.",
    "silence": "Silence alerts during a planned deploy, from CI/CD.",
    "demo": "Start a real Prometheus with 30 days of history and report on it.",
    "completion": "Print the shell completion script.",
}
"""Commands and what they do; each is ``sloctl.cli.<name>:command``, with _ for -."""
_NO_MEMORY = re.compile(
    "failed to map segment|cannot allocate memory|can't start new thread|unable to allocate", re.IGNORECASE
)
"""What errors say that are not MemoryErrors: of the loader, of threads, of NumPy."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"sloctl.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        for item in (command, *getattr(command, "commands", {}).values()):
            names = {parameter.name for parameter in item.params}
            item.params += [option for option in _loudness() if option.name not in names]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for one that does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _loudness() -> list[click.Option]:
    """``--quiet`` and ``--verbose`` after the command's name, where people write them too."""

    def louder(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.obj = replace(ctx.obj, **{str(parameter.name): True})

    return [
        click.Option(names, is_flag=True, hidden=True, expose_value=False, callback=louder)
        for names in (("-q", "--quiet"), ("-v", "--verbose"))
    ]


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="sloctl", message="%(prog)s %(version)s")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr, tracebacks of bugs included.")
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """SLOs for Istio meshes from one file: exact rules, reports and jobs.

    Results go to stdout, everything else to stderr. Exit codes: 0 fine; 1 problems found, drift, or an SLO out of
    budget where the command judges one; 2 wrong usage or an invalid file; 3 a backend unavailable; 4 wait (canary); 130
    interrupted.
    """
    from sloctl.cli.context import Context

    ctx.obj = Context(quiet=quiet, verbose=verbose)


def _say(text: str) -> None:
    """A message on stderr; a terminal obeys control characters, which a file's name may hold."""
    click.echo("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text), err=True)


def _report(error: SloctlError) -> int:
    _say(f"sloctl: error: {error}")
    if error.hint:
        _say(f"  hint: {error.hint}")
    return error.exit_code


def _hinted(error: click.ClickException) -> click.ClickException:
    """The error, with what the value of an option was probably meant to be: ``md`` for markdown."""
    found = re.match(r"'(.+?)' is not one of ", error.message)
    if not isinstance(error, click.BadParameter) or error.param is None or found is None:
        return error
    kind = error.param.type
    if not isinstance(kind, click.Choice):
        return error
    import difflib

    near = difflib.get_close_matches(found[1], kind.choices, n=1)
    letters = ".*".join(map(re.escape, found[1]))
    near = near or [str(choice) for choice in kind.choices if re.match(letters, str(choice))]
    if len(near) != 1:
        return error
    return click.BadParameter(f"{error.message} Did you mean {near[0]!r}?", error.ctx, error.param)


def run(call: Callable[[], Any], *, verbose: bool = False) -> int:
    """Call ``call`` and give the exit code: its own, or that of the error it raised."""
    try:
        result = call()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        _hinted(error).show()
        return EXIT_USAGE
    except SloctlError as error:
        return _report(error)
    except (KeyboardInterrupt, click.Abort):
        _say("sloctl: interrupted")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader of our output has gone (a pager, head), who had what he wanted; click itself exits then.
        return EXIT_OK
    except OSError as error:
        return _system_error(error)
    except Exception as error:
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            _say("sloctl: error: out of memory, or of processes")
            _say("  hint: raise the limits (in a pod, kubernetes.resources), or ask for less at a time")
            return EXIT_USAGE
        if verbose:
            raise
        _say(f"sloctl: internal error: {type(error).__name__}: {error}")
        _say("  hint: this is a bug in sloctl; run with --verbose for the details to report")
        return EXIT_PROBLEMS
    return result if isinstance(result, int) else 0


def _system_error(error: OSError) -> int:
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    _say(f"sloctl: error: {place}{error.strerror or error}")
    return EXIT_USAGE


def _flush(code: int) -> int:
    """Write out what is buffered; the exit code, which is an error's if results are lost."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes once more
            if isinstance(error, BrokenPipeError):
                continue  # the reader of our output has gone (a pager, head), who had what he wanted
            if stream is sys.stdout:
                code = code or _system_error(error)
    return code


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII only
    verbose = any(arg in ("-v", "--verbose") for arg in sys.argv[1:])
    sys.exit(_flush(run(_command, verbose=verbose)))


def _command() -> Any:
    shadowing.check()
    return cli.main(prog_name="sloctl", standalone_mode=False)
