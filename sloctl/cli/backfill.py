"""``sloctl backfill``."""

from __future__ import annotations

from pathlib import Path

import click

from sloctl.cli import progress
from sloctl.cli.composition import Overrides, Servers
from sloctl.cli.context import Context, files_option, load, now, parse_time, pass_context, source_options
from sloctl.errors import EXIT_OK, UsageError


@click.command("backfill")
@files_option
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the blocks, or the texts, are written: a folder of its own, or Prometheus's data folder itself.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["blocks", "openmetrics"]),
    default="blocks",
    show_default=True,
    help="Blocks of a TSDB, which promtool makes; or the texts that it makes them of.",
)
@click.option(
    "--from", "since", metavar="TIME", help="Nothing from before this time; default: all of the windows."
)
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    output: Path,
    form: str,
    since: str | None,
) -> int:
    """Write what the rules would have recorded before they were loaded, from Prometheus's raw counters.

    The blocks belong into Prometheus's data folder (--storage.tsdb.path): it finds them within a minute, and budgets
    then have their whole window, as far as there are counters. What is recorded already is left as it is, and nothing
    is made up where nothing was scraped. Load the rules first, wait for ten minutes, and run it once.
    """
    from jobs.recording import backfill
    from sloctl.artefacts import openmetrics
    from sloctl.demo.programs import find_program
    from sloctl.model.durations import duration, rfc3339

    slo_set = load(context, files)
    time = parse_time(at, now())
    begin = parse_time(since, now()) if since is not None else None
    promtool = find_program("promtool") if form == "blocks" else None  # before anything is asked
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror or error}") from error
    samples = parts = 0
    with (
        Servers(
            slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn
        ).prometheus() as source,
        progress.shown(context, "asking Prometheus") as told,
    ):
        missing = backfill.past(source, slo_set, time, begin)
        for found in backfill.days(source, slo_set, missing, told):
            series = [openmetrics.SampledSeries(item.labels, item.times, item.values) for item in found]
            if not series:
                continue
            parts += 1
            if promtool is not None:
                samples += openmetrics.backfill(series, output, promtool=promtool)
            else:
                last = max(int(item.timestamps[-1]) for item in series) // 1000
                name = f"sloctl-{slo_set.name}-{rfc3339(last).replace(':', '')}.om"
                samples += openmetrics.write_series(output / name, series)
    if not samples:
        context.say("nothing is missing: all that there are counters of is recorded")
        return EXIT_OK
    start, end = min(item.start for item in missing), max(item.end for item in missing)
    reach = duration(round((end - start) / 3600) * 3600 or round(end - start))
    context.say(f"{output}: {samples:,} samples of {reach}, {rfc3339(start)} to {rfc3339(end)}")
    if form == "openmetrics":
        context.say(
            f"next: for each file  promtool tsdb create-blocks-from openmetrics FILE DATA  ({parts} files)"
        )
    else:
        context.say("next: move its folders into Prometheus's data folder, if it is not that one")
    return EXIT_OK
