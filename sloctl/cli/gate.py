"""``sloctl gate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import report
from sloctl.cli.annotate import check_length
from sloctl.cli.composition import LedgerAccess, Overrides
from sloctl.cli.context import (
    Context,
    budget_options,
    files_option,
    ledger_option,
    load,
    now,
    origin_option,
    parse_time,
    pass_context,
    place_of,
    printable,
    source_options,
    verdict_options,
)
from sloctl.errors import EXIT_BACKEND, EXIT_OK, EXIT_PROBLEMS, BackendError, UsageError
from sloctl.ledger.protocol import Annotation

if TYPE_CHECKING:
    from sloctl.model import SloSet
    from sloctl.report.release import Gate

CODES = {"allowed": EXIT_OK, "refused": EXIT_PROBLEMS, "unknown": EXIT_BACKEND}


@click.command("gate")
@files_option
@source_options
@ledger_option
@origin_option
@budget_options
@click.option("--fix", is_flag=True, help="What is released mends a failure.")
@click.option(
    "--override",
    "reason",
    metavar="REASON",
    help="Release all the same: exit 0, and enter the reason and --author into the ledger.",
)
@click.option("--author", metavar="NAME", default="", help="Who overrides the gate.")
@verdict_options
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    ledger_url: str | None,
    origin: str,
    services: tuple[str, ...],
    namespace: str | None,
    owner: str | None,
    fix: bool,
    reason: str | None,
    author: str,
    form: str,
    output: Path | None,
) -> int:
    """May it be released now? By the error budget policy of the file (release), with the reasons.

    Exit code 0: allowed, or overridden; 1: refused; 3: nobody can say, and release.unknown does not allow that. Of an
    override, which only a verdict other than allowed needs, the ledger has time, reason and author.
    """
    from sloctl.report import release

    slo_set = load(context, files)
    time = parse_time(at, now())
    if reason is not None and not (reason.strip() and author.strip()):
        raise UsageError("an override has a reason and an author", hint="--override REASON --author NAME")
    if reason is not None:
        check_length(f"gate refused: {reason.strip()}", "--override")
        check_length(author.strip(), "--author")
    with LedgerAccess(ledger_url) as ledger:
        try:
            budgets = report.build(
                context,
                slo_set,
                time,
                ledger,
                overrides=Overrides(prometheus=url, timeout=timeout),
                origin=origin,
            )
        except BackendError as error:
            gate = release.unread(slo_set.name, time, slo_set.release, str(error), fix=fix)
            context.warn(str(error) + (f"\n  hint: {error.hint}" if error.hint else ""))
        else:
            budgets = budgets.of(lambda item: report.wanted(item, services, namespace, owner))
            missing = report.missing(budgets, services)
            gate = release.judge(budgets, slo_set.release, fix=fix, missing=missing)
    text = {
        "text": lambda: "\n".join(release.lines(gate)),
        "json": lambda: json.dumps(release.as_object(gate), indent=2, ensure_ascii=False),
        "junit": lambda: release.junit(gate),
        "github": lambda: "\n".join(release.github(gate)),
    }[form]()
    context.give(text, output, release.lines(gate)[0])
    if gate.verdict != "allowed" and reason is not None:
        places = _overridden(gate, slo_set, services, namespace, owner)
        with LedgerAccess(ledger_url) as ledger:
            store = ledger.get_or_make()
            for place, name in places:
                seconds, words = int(time.timestamp()), f"gate {gate.verdict}: {reason.strip()}"
                said = Annotation(
                    seconds, seconds, "override", words, author.strip(), place or namespace or "", name
                )
                store.annotate(slo_set.name, said)
        context.say(f"sloctl: overridden by {printable(author.strip())}, as the ledger now says")
        return EXIT_OK
    return CODES[gate.verdict]


def _overridden(
    gate: Gate, slo_set: SloSet, services: Sequence[str], namespace: str | None, owner: str | None
) -> list[tuple[str, str]]:
    """Namespaces and services that an override is of; those of an owner from the file where none could be read."""
    if services or owner is None:
        return [place_of(service) for service in services] or [("", "")]
    found = {(item.namespace, item.service) for item in gate.report.slos}
    theirs = [slo for slo in slo_set.slos if slo.owner == owner and namespace in (None, slo.namespace)]
    found = found or {(slo.namespace, "" if slo.wildcard else slo.service) for slo in theirs}
    if not found:
        raise UsageError(f"--owner: no SLO of the file is of {owner!r}", hint="is it spelled as in the file?")
    return sorted(found)
