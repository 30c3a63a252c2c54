"""The outbox in the ledger's database: posts, who has them in hand, and how far they are.

This module must not know what a post says or how it is delivered.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import locks
from sloctl.ledger.database import Database
from sloctl.ledger.journal import clean
from sloctl.ledger.protocol import AHEAD
from sloctl.ledger.schema import outbox
from sloctl.posting.protocol import LEASE, LONGEST_PAUSE, NEVER_FORGOTTEN, LeaseLost, OutboxEntry, Post, State

LONGEST_ERROR = 1000


class DatabaseOutbox:
    """An :class:`sloctl.posting.protocol.Outbox`. Raises BackendError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owner(self) -> str:
        """A name for a round of deliveries; when this process is gone, others on this machine know it at once."""
        return locks.new_owner()

    def enqueue(self, post: Post, now: float) -> bool:
        """Put a post in; False if one with its key is there, or was sent."""

        def work(connection: Connection) -> bool:
            known = sa.select(outbox.c.id).where(outbox.c.key == post.key)
            if connection.execute(known).first() is not None:
                return False
            connection.execute(
                outbox.insert().values(
                    set_name=post.set_name,
                    key=post.key,
                    kind=post.kind,
                    channel=post.channel,
                    payload=post.payload,
                    image=base64.b64encode(post.image).decode(),
                    state="pending",
                    progress="{}",
                    created=now,
                    due=now,
                )
            )
            return True

        # Two processes at once: the later one's insert breaks the unique key, is repeated, and finds the post.
        return self._database.write(work)

    def claim(
        self, owner: str, now: float, lease: float, *, set_name: str = "", forced: bool = False
    ) -> OutboxEntry | None:
        """The entry that is due longest, for ``owner`` alone until ``now + lease``."""
        where = [outbox.c.state == "pending"]
        # What this owner has tried in this round bears its name, with no time.
        due = sa.or_(outbox.c.due <= now, outbox.c.due > now + LONGEST_PAUSE)
        where.append(outbox.c.claimed_by != owner if forced else due)
        if set_name:
            where.append(outbox.c.set_name == set_name)

        def work(connection: Connection) -> OutboxEntry | None:
            at = self._clock(connection, now)
            for held in connection.execute(
                sa.select(outbox.c.id, outbox.c.claimed_by).where(*where, sa.not_(_free(at)))
            ).all():
                if locks.gone(held.claimed_by):
                    ours = (outbox.c.id == held.id, outbox.c.claimed_by == held.claimed_by)
                    connection.execute(outbox.update().where(*ours).values(claimed_until=0.0))
            chosen = sa.select(outbox).where(*where, _free(at))
            chosen = chosen.order_by(outbox.c.due, outbox.c.id).limit(1)
            if not self._database.sqlite:
                chosen = chosen.with_for_update(skip_locked=True)
            row = connection.execute(chosen).first()
            if row is None:
                return None
            connection.execute(
                outbox.update()
                .where(outbox.c.id == row.id)
                .values(claimed_by=owner, claimed_until=at + lease)
            )
            return _entry(row)

        return self._database.write(work)

    @staticmethod
    def _clock(connection: Connection, now: float) -> float:
        """The time by which leases are reckoned: the database's own, where many machines use it."""
        return locks.clock(connection, lambda: now)

    def save(self, entry_id: int, owner: str, progress: Mapping[str, Any], now: float, lease: float) -> None:
        """Keep what is done, and hold the entry for ``lease`` seconds from now on."""
        self._held(entry_id, owner, now, lease, progress=json.dumps(progress, sort_keys=True))

    def sent(self, entry_id: int, owner: str, now: float, note: str = "") -> None:
        """It is delivered: its texts and image are no longer needed, its key is."""
        self._held(
            entry_id,
            owner,
            now,
            state="sent",
            ended=now,
            error=note[:LONGEST_ERROR],
            payload="{}",
            image="",
            claimed_by="",
        )

    def postpone(self, entry_id: int, owner: str, due: float, error: str, *, failed: bool = True) -> None:
        """Try again at ``due``. The owner's name stays, so that it does not take the entry up again at once."""
        self._held(
            entry_id,
            owner,
            due,
            due=due,
            error=error[:LONGEST_ERROR],
            attempts=outbox.c.attempts + int(failed),
        )

    def give_up(self, entry_id: int, owner: str, now: float, error: str) -> None:
        """It cannot be delivered, unless a person does something."""
        self._held(
            entry_id,
            owner,
            now,
            state="dead",
            ended=now,
            error=error[:LONGEST_ERROR],
            attempts=outbox.c.attempts + 1,
            claimed_by="",
        )

    def _held(self, entry_id: int, owner: str, now: float, lease: float = 0.0, **values: Any) -> None:
        def work(connection: Connection) -> int:
            ours = sa.and_(outbox.c.id == entry_id, outbox.c.claimed_by == owner, outbox.c.state == "pending")
            until = self._clock(connection, now) + lease if lease else 0.0
            changed = outbox.update().where(ours).values(**values, claimed_until=until)
            return connection.execute(changed).rowcount

        if self._database.write(work) != 1:
            raise LeaseLost(f"entry {entry_id} is in other hands")

    def entries(self, set_name: str = "", states: Sequence[State] = ()) -> Sequence[OutboxEntry]:
        """All entries, oldest first, without their images."""
        columns = [column for column in outbox.c if column.name != "image"]
        chosen = sa.select(*columns, sa.literal("").label("image")).order_by(outbox.c.created, outbox.c.id)
        if set_name:
            chosen = chosen.where(outbox.c.set_name == set_name)
        if states:
            chosen = chosen.where(outbox.c.state.in_(states))
        return self._database.read(lambda connection: [_entry(row) for row in connection.execute(chosen)])

    def revive(self, key: str, now: float) -> bool:
        """Have a dead or waiting entry tried again from now on; a dead one gets its days anew."""

        def work(connection: Connection) -> int:
            free = _free(self._clock(connection, now))
            ours = sa.and_(outbox.c.key == clean(key), outbox.c.state != "sent", free)
            again = {"state": "pending", "due": now, "ended": None, "claimed_by": "", "attempts": 0}
            created = sa.case((outbox.c.state == "dead", now), else_=outbox.c.created)
            return connection.execute(outbox.update().where(ours).values(created=created, **again)).rowcount

        return self._database.write(work) > 0

    def drop(self, key: str, now: float) -> bool:
        """Remove an entry that nobody holds; a report of the same key can then be posted again."""

        def work(connection: Connection) -> int:
            free = _free(self._clock(connection, now))
            return connection.execute(outbox.delete().where(outbox.c.key == clean(key), free)).rowcount

        return self._database.write(work) > 0

    def forget(self, before: float) -> int:
        """Remove what was sent before a time, by a clock that may be wrong: the newest posts stay."""
        newest = sa.select(sa.func.max(outbox.c.id)).scalar_subquery()
        old = sa.and_(
            outbox.c.state == "sent", outbox.c.ended < before, outbox.c.id <= newest - NEVER_FORGOTTEN
        )
        return self._database.write(
            lambda connection: connection.execute(outbox.delete().where(old)).rowcount
        )


def _free(at: float) -> sa.ColumnElement[bool]:
    """Whether nobody holds an entry; who seems to hold it for longer than anybody can did so by another clock."""
    until = outbox.c.claimed_until
    return sa.or_(until < at, until > at + LEASE + AHEAD)


def _entry(row: Any) -> OutboxEntry:
    post = Post(row.set_name, row.key, row.kind, row.channel, row.payload, base64.b64decode(row.image or ""))
    return OutboxEntry(
        post=post,
        id=row.id,
        state=row.state,
        progress=json.loads(row.progress),
        created=row.created,
        due=row.due,
        attempts=row.attempts,
        error=row.error,
        ended=row.ended,
    )
