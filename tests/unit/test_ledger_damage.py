"""A ledger's file with any bytes changed: every reader answers, or says that the file is damaged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.cli import ledger as commands
from sloctl.errors import BackendError, UsageError
from sloctl.ledger import check
from sloctl.ledger.contents import contents
from sloctl.ledger.outbox import DatabaseOutbox
from sloctl.ledger.protocol import Repair
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.ledger.transfer import files
from sloctl.posting.protocol import Post
from sloctl.settings.secret import Secret
from tests.support.ledger_steps import fill
from tests.support.ledgers import DAY, T0

NUMBERS = itertools.count()
Reader = Callable[[DatabaseLedger, Path], object]
READERS: tuple[Reader, ...] = (
    lambda ledger, _: commands.shown("x", contents(ledger)),
    lambda ledger, _: check.verify(ledger),
    lambda ledger, path: files.export(ledger, path.with_suffix(".csv"), "csv"),
    lambda ledger, _: ledger.sums("a set", [(T0, T0 + 4 * DAY)]),
    lambda ledger, _: ledger.causes("a set", T0, T0 + 4 * DAY),
    lambda ledger, _: ledger.buckets("a set", ["a:1"], (T0, T0 + DAY)),
    lambda ledger, _: ledger.muted("a set"),
    lambda ledger, _: DatabaseOutbox(ledger.database).entries(),
    lambda ledger, _: ledger.exclude("a set", {}, T0, T0 + DAY),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A ledger with rows in every table."""
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        fill(ledger)
        ledger.amend("a set", [Repair("a:1", "shop", "cart", T0, (5, 1, 0), (6, 2, 0), "kept", 1.0, "me")])
        DatabaseOutbox(ledger.database).enqueue(Post("a set", "key", "slack", "#x", "{}"), 1.0)
    return path.read_bytes()


@st.composite
def changes(draw: st.DrawFn) -> tuple[float, int, bytes]:
    """Where, as a share of the file; the bits to flip; and bytes to put there."""
    return draw(st.floats(0, 1, exclude_max=True)), 1 << draw(st.integers(0, 7)), draw(st.binary(max_size=9))


@settings(
    max_examples=settings().max_examples // 3,  # of a hundred, or as many as make fuzz says
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(changes(), min_size=1, max_size=4))
@pytest.mark.slow
def test_bytes_of_a_ledger(whole: bytes, tmp_path: Path, changed: list[tuple[float, int, bytes]]) -> None:
    data = bytearray(whole)
    for share, bit, put in changed:
        place = int(share * len(data))
        data[place] ^= bit
        data[place + 1 : place + 1 + len(put)] = put
    path = tmp_path / f"{next(NUMBERS)}.db"
    path.write_bytes(data)
    read(path)


def read(path: Path) -> None:
    """All that reads a ledger; only the errors of a damaged file may come out."""
    try:
        with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
            for reader in READERS:
                try:
                    reader(ledger, path)
                except BackendError as error:
                    assert error.hint
    except (BackendError, UsageError) as error:
        assert error.hint


@pytest.mark.parametrize("column", ["m0", "m5", "fine"])
@pytest.mark.parametrize("bits", [-1, 1 << 60])
def test_bits_of_no_bucket_are_damage_and_no_endless_export(
    whole: bytes, tmp_path: Path, column: str, bits: int
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(whole)
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        ledger.database.write(
            lambda connection: connection.exec_driver_sql(f"UPDATE coverage SET {column} = {bits}")
        )
        with pytest.raises(BackendError, match=rf"corrupt: coverage.{column}: 12 values that it cannot have"):
            files.export(ledger, tmp_path / "out.csv", "csv")
        assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("table", "change", "form"),
    [
        ("buckets", "bad = -1500000", "csv"),
        ("buckets", "total = -1", "csv"),
        ("buckets", "bad = total + 1", "csv"),
        ("cause_buckets", "bad = -1", "csv"),
        ("buckets", "bad = -1500000", "parquet"),
    ],
)
def test_events_below_zero_are_damage_and_no_export(
    whole: bytes, tmp_path: Path, table: str, change: str, form: files.Format
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(whole)
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        ledger.database.write(lambda connection: connection.exec_driver_sql(f"UPDATE {table} SET {change}"))
        column = change.partition(" ")[0]
        with pytest.raises(BackendError, match=rf"corrupt: {table}.{column}: \d+ values that it cannot have"):
            files.export(ledger, tmp_path / "out", form)
        assert not (tmp_path / "out").exists()
