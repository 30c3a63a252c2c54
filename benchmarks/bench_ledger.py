"""What a year of 3,000 SLOs takes in the ledger: room, a run every five minutes, and the report of all budgets.

The rows of the past are made by the database itself; what is measured goes through the ledger. Set
``SLOCTL_BENCH_POSTGRESQL`` to the address of an empty database to measure PostgreSQL as well, or have PostgreSQL's
programs installed: then a server is started for the length of the benchmark.

``python -m benchmarks.bench_ledger 300`` does it with 300 SLOs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from benchmarks import measure
from jobs.budgets import from_ledger
from jobs.reports import slo_report
from sloctl.errors import BackendUnavailable
from sloctl.ledger.protocol import MICRO, Batch, Bucket
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import CalendarWindow, CounterSli, RollingWindow, Selector, Slo, SloSet
from sloctl.settings.secret import Secret

SLOS = 3000
DAYS = 365
FINE = 37
"""Days of which buckets are kept, as for windows of 30 days."""
DAY = 86400
END = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
_BITS = (1 << 48) - 1
_FULL = ", ".join(f"{_BITS}" for _ in range(6))


def slo_set(count: int) -> SloSet:
    """``count`` SLOs of named services: most over 30 days, some over calendar windows."""
    windows = [RollingWindow(30 * DAY, "30d")] * 7 + [
        CalendarWindow("month", "UTC"),
        CalendarWindow("quarter", "America/New_York"),
        CalendarWindow("year", "Asia/Kolkata"),
    ]
    sli = CounterSli("availability", (Selector("istio_requests_total"),))
    return SloSet(
        "year",
        tuple(
            Slo("year", "availability", f"service-{n}", "shop", Decimal("99.9"), windows[n % 10], sli, None)
            for n in range(count)
        ),
    )


def fill(ledger: DatabaseLedger, found: SloSet, days: int, fine: int) -> None:
    """A year of every SLO: 1,000 to 1,500 events in a bucket, a few of them bad."""
    first = [
        Batch(slo.id, slo.name, (END - 300, END), (Bucket(slo.namespace, slo.service, END, MICRO, 0),))
        for slo in found.slos
    ]
    ledger.record(found.name, first)
    sqlite = ledger.database.sqlite
    total = f"{MICRO} * (1000 + (t.t / 300 * 7919 + s.id * 1047) % 500)"
    bad = f"{MICRO} * (CASE WHEN (t.t / 300 + s.id * 17) % 97 = 0 THEN 3 ELSE 0 END)"

    def times(start: int, end: int, step: int) -> str:
        if sqlite:
            series = f"SELECT {start} UNION ALL SELECT t + {step} FROM r WHERE t < {end}"
            return f"(WITH RECURSIVE r(t) AS ({series}) SELECT t FROM r)"
        return f"(SELECT generate_series({start}::bigint, {end}::bigint, {step}) AS t)"

    def work(connection: sa.Connection) -> None:
        def run(statement: str) -> None:
            connection.exec_driver_sql(statement if sqlite else statement.replace("%", "%%"))

        for table in ("buckets", "hours", "days", "coverage"):
            run(f"DELETE FROM {table}")
        for day in range(fine):
            start = END - (fine - day) * DAY
            run(
                "INSERT INTO buckets (time, series, total, bad, gap, excluded) "
                f"SELECT t.t, s.id, {total}, {bad}, 0, 0 FROM {times(start + 300, start + DAY, 300)} t, series s "
                "ORDER BY t.t, s.id"
            )
        columns = "time, series, total, bad, gap, excluded, excluded_total, excluded_bad, carry, peak"
        for day in range(days):
            start = END - (days - day) * DAY
            run(
                f"INSERT INTO hours ({columns}) SELECT t.t, s.id, 12 * ({total}), 12 * ({bad}), 0, 0, 0, 0, 0, {total} "
                f"FROM {times(start + 3600, start + DAY, 3600)} t, series s ORDER BY t.t, s.id"
            )
        start = END - fine * DAY
        run(
            "UPDATE hours SET total = b.total, bad = b.bad FROM (SELECT (time + 3599) / 3600 * 3600 AS hour, series, "
            "SUM(total) AS total, SUM(bad) AS bad FROM buckets GROUP BY 1, 2) b "
            "WHERE hours.time = b.hour AND hours.series = b.series"
        )
        run(
            f"INSERT INTO days ({columns}) SELECT (time + {DAY - 1}) / {DAY} * {DAY}, series, SUM(total), SUM(bad), "
            "0, 0, 0, 0, 0, MAX(peak) FROM hours GROUP BY 1, 2 ORDER BY 1, 2"
        )
        fine_hours = (1 << 24) - 1
        run(
            "INSERT INTO coverage (day, definition, m0, m1, m2, m3, m4, m5, fine, pruned) "
            f"SELECT t.t, d.id, {_FULL}, CASE WHEN t.t > {start} THEN {fine_hours} ELSE 0 END, "
            f"CASE WHEN t.t > {start} THEN 0 ELSE 1 END "
            f"FROM {times(END - (days - 1) * DAY, END, DAY)} t, definitions d ORDER BY t.t, d.id"
        )
        run(f"UPDATE definitions SET oldest = {END - days * DAY}, newest = {END}")

    ledger.database.write(work)
    if not sqlite:
        with ledger.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def size(ledger: DatabaseLedger) -> dict[str, int]:
    """Bytes by table, and of all."""
    tables = ("buckets", "hours", "days", "coverage")
    with ledger.database.engine.connect() as connection:
        if ledger.database.sqlite:
            whole = connection.exec_driver_sql(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            )
            return {"all": int(whole.scalar_one())}
        found = {
            name: int(connection.exec_driver_sql(f"SELECT pg_total_relation_size('{name}')").scalar_one())
            for name in tables
        }
    return found | {"all": sum(found.values())}


def timed(work: Callable[[], object], runs: int = 5) -> float:
    """Median seconds."""
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return median(found)


class NoPrometheus:
    """A Prometheus that cannot be reached: the report is the ledger's alone."""

    warnings = ()
    queries = 0

    def _fail(self, *_: object, **__: object) -> list[dict[str, object]]:
        raise BackendUnavailable("not there", backend="prometheus", url="")

    query = query_many = query_range = _fail


def _naive(ledger: DatabaseLedger, start: int) -> None:
    """What the sums are measured against: adding up the buckets themselves."""
    with ledger.database.engine.connect() as connection:
        connection.exec_driver_sql(
            f"SELECT series, SUM(total), SUM(bad), SUM(gap) FROM buckets WHERE time > {start} GROUP BY series"
        ).all()


def measured(ledger: DatabaseLedger, count: int, days: int, fine: int, runs: int) -> list[str]:
    """One row of the table."""
    found = slo_set(count)
    fill(ledger, found, days, fine)
    room = size(ledger)["all"]
    bucket = iter(range(END + 300, END + 10 * DAY, 300))

    def write() -> None:
        end = next(bucket)
        ledger.record(
            found.name,
            [
                Batch(
                    slo.id,
                    slo.name,
                    (end - 300, end),
                    (Bucket(slo.namespace, slo.service, end, 10**9, 10**6),),
                )
                for slo in found.slos
            ],
        )

    wrote = timed(write, max(runs, 3))
    at = datetime.fromtimestamp(next(bucket), UTC)
    start = END - 30 * DAY + 300 * 7
    sums = timed(lambda: ledger.sums(found.name, [(start, END)]), runs)
    naive = timed(lambda: _naive(ledger, start), 1)
    whole = timed(lambda: from_ledger.collect(ledger, None, found, at), runs)
    report = timed(
        lambda: slo_report.build(NoPrometheus(), found, at, "ledger", ledger=ledger),  # type: ignore[arg-type]
        runs,
    )
    return [
        "SQLite" if ledger.database.sqlite else "PostgreSQL",
        f"{count:,}",
        f"{room / 1e9:.2f} GB",
        measure.seconds(wrote),
        measure.seconds(sums),
        measure.seconds(naive),
        f"{naive / sums:.0f}",
        measure.seconds(whole),
        measure.seconds(report),
    ]


@contextlib.contextmanager
def postgresql() -> Iterator[str | None]:
    """The address of an empty database, or None where there is none."""
    if given := os.environ.get("SLOCTL_BENCH_POSTGRESQL"):
        yield given
        return
    from tests.support.postgres import Cluster, program

    if program("initdb") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "cluster"
        home.mkdir()
        cluster = Cluster(home, safe=True)
        cluster.create()
        cluster.start()
        try:
            yield cluster.new_database()
        finally:
            cluster.stop()


def main(count: int = SLOS, *, days: int = DAYS, fine: int = FINE, runs: int = 5) -> None:
    measure.title("Ledger")
    print(
        f"{days} days of every SLO, the buckets of the last {fine} of them; seven of ten over 30 days, the others over "
        "the month, the quarter and the year. A run enters one bucket of each SLO. The sums are those of 30 days whose "
        "edge lies within an hour, against adding up the buckets. Budgets: everything a report needs of the ledger; "
        "report: with it made, without Prometheus.\n"
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as folder, postgresql() as server:
        for url in (f"sqlite:///{folder}/ledger.db", server):
            if url is not None:
                with open_ledger(Secret(url)) as ledger:
                    rows.append(measured(ledger, count, days, fine, runs))
    measure.table(
        ("database", "SLOs", "room", "a run", "30-day sums", "from buckets", "×", "all budgets", "report"),
        rows,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SLOS)
