"""What is remembered beside events: runs of jobs, silences, and what people said of a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from sloctl import naming
from sloctl.ledger.protocol import AHEAD, LONGEST, Annotation, JobRun, MutedInterval
from sloctl.ledger.schema import annotated, runs, silences


def note(connection: Connection, set_name: str, run: JobRun, now: float) -> None:
    """Enter a run, unless a later one with the same outcome is known that is not from the future of ``now``."""
    values = {
        "started": run.started.timestamp(),
        "ended": run.ended.timestamp(),
        "message": clean(run.message)[:LONGEST],
    }
    insert = _insert(connection, runs).values(set_name=set_name, job=run.job, outcome=run.outcome, **values)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["set_name", "job", "outcome"],
            set_=values,
            where=sa.or_(
                runs.c.ended <= insert.excluded.ended,
                runs.c.ended > now + AHEAD,
                runs.c.started > now + AHEAD,
            ),
        )
    )


def last_runs(connection: Connection, set_name: str) -> dict[str, JobRun]:
    """See :meth:`sloctl.ledger.protocol.Ledger.runs`."""
    rows = connection.execute(sa.select(runs).where(runs.c.set_name == set_name)).all()
    found = {}
    for row in sorted(rows, key=lambda row: (row.job, row.outcome)):
        started, ended = (datetime.fromtimestamp(time, UTC) for time in (row.started, row.ended))
        name = row.job if row.outcome == "succeeded" else f"{row.job}!"
        found[name] = JobRun(row.job, started, ended, row.outcome, row.message)
    return found


def remember(connection: Connection, set_name: str, muted: Sequence[MutedInterval]) -> None:
    """See :meth:`sloctl.ledger.protocol.Ledger.remember`."""
    for interval in sorted(
        {interval.ref: interval for interval in muted}.values(), key=lambda interval: interval.ref
    ):
        values = {
            "since": interval.start,
            "until": interval.end,
            "matchers": json.dumps(
                [list(map(clean, matcher)) for matcher in interval.matchers], ensure_ascii=False
            ),
            "comment": clean(interval.comment),
        }
        insert = _insert(connection, silences).values(set_name=set_name, ref=interval.ref, **values)
        connection.execute(insert.on_conflict_do_update(index_elements=["set_name", "ref"], set_=values))


def muted(connection: Connection, set_name: str) -> list[MutedInterval]:
    """See :meth:`sloctl.ledger.protocol.Ledger.muted`."""
    rows = connection.execute(sa.select(silences).where(silences.c.set_name == set_name)).all()
    found = [
        MutedInterval(
            row.ref,
            row.since,
            row.until,
            tuple((label, operator, value) for label, operator, value in json.loads(row.matchers)),
            row.comment,
        )
        for row in rows
    ]
    return sorted(found, key=lambda interval: (interval.start, interval.ref))


def annotate(connection: Connection, set_name: str, said: Annotation) -> bool:
    """See :meth:`sloctl.ledger.protocol.Ledger.annotate`."""
    values = {
        "since": said.start,
        "until": said.end,
        "what": said.what,
        "text": clean(said.text),
        "author": clean(said.author),
        "namespace": clean(said.namespace),
        "service": clean(said.service),
    }
    ref = naming.digest(*(str(value) for value in values.values()))
    known = sa.select(annotated.c.ref).where(annotated.c.set_name == set_name, annotated.c.ref == ref)
    if connection.execute(known).first() is not None:
        return False
    insert = _insert(connection, annotated).values(set_name=set_name, ref=ref, **values)
    connection.execute(insert.on_conflict_do_nothing(index_elements=["set_name", "ref"]))
    return True


def said_of(connection: Connection, set_name: str, start: int, end: int) -> list[Annotation]:
    """See :meth:`sloctl.ledger.protocol.Ledger.annotations`."""
    table = annotated
    query = sa.select(table).where(table.c.set_name == set_name, table.c.until >= start, table.c.since <= end)
    found = [
        Annotation(row.since, row.until, row.what, row.text, row.author, row.namespace, row.service)
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda said: (said.start, said.end, said.text, said.author))


def _insert(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def clean(text: str) -> str:
    """The text without what no database can hold."""
    return text.replace("\0", "�").encode(errors="replace").decode()
