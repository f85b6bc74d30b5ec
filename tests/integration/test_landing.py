"""The landing transaction on a real Postgres: what goes in comes out, and half a batch is never there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ledger.db import rows
from ledger.db.errors import (
    LandingConflictError,
    LeaseLostError,
    LedgerRefusedError,
    LedgerUnavailableError,
    PositionWentBackError,
)
from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.errors import Defect
from ledger.domain.identity import dead_letter_id
from ledger.domain.records import DeadLetter, Liquidity, Position, ReportKind
from ledger.domain.times import to_datetime, utc_date
from tests.integration.database import (
    connected,
    row_counts,
    stored_executions,
    stored_fills,
    stored_metrics,
    terminate_sessions,
)
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from ledger.domain.decision import Decision

FINEST = Decimal("123456789012345678.123456789012345678")
POSITION = Position("ALPHA.fix", "S1", "created-1", 41)
DEFECT = Defect("malformed", "message", "{", "JSON is required", "Send it again.")
LETTER = DeadLetter(dead_letter_id("ALPHA", b"{\x00\xff"), "ALPHA", "ALPHA.fix", DEFECT, b"{\x00\xff", T0 + 7)


class Ledger:
    """One session that lands, and one that looks."""

    def __init__(self, landing: Landing, watching: asyncpg.Connection[Any]) -> None:
        self.landing = landing
        self.watching = watching
        self.book = Book()

    async def land(self, *facts: Fact, positions: tuple[Position, ...] = ()) -> Decision:
        decision = decide(self.book, facts, Policy())
        await self.landing.land(decision, positions)
        self.book.apply(decision)
        return decision

    async def positions(self) -> dict[tuple[str, str], Position]:
        return await Reader(self.watching).positions()


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    async with connected(ledger_url) as landing, connected(ledger_url) as watching:
        yield Ledger(Landing(landing), watching)


def whole_batch() -> list[Fact]:
    """Rows for every table: an execution with its slippages, a bust, a break, a pending fill, a dead letter."""
    return [
        snapshot("S1", "99.999999999999999999", "100", T0 - 1),
        intent("C1", "M1", qty="3", limit="101.5", decision="99.7"),
        report("E1", qty="1", px="100.25", at=T0 + 1),
        report("E2", qty="1", px="100.75", at=T0 + 123_456_789),
        report("B1", kind=ReportKind.BUST, ref="E2", at=T0 + 2 * SECOND),
        intent("C2", "M2", qty="1", at=T0 + 3),
        report("E3", cl_ord_id="M2", qty="2", px="7", at=T0 + 4),
        report("E4", cl_ord_id="nobody", at=T0 + 5),
        LETTER,
    ]


async def test_every_kind_of_row_comes_back_as_it_was_decided(ledger: Ledger) -> None:
    decision = await ledger.land(*whole_batch())
    watching = ledger.watching

    orders = [
        rows.read_intent(row) for row in await watching.fetch("SELECT * FROM execution.orders ORDER BY 1, 2")
    ]
    assert orders == decision.intents
    snapshots = [
        rows.read_snapshot(row) for row in await watching.fetch("SELECT * FROM execution.benchmark_snapshots")
    ]
    assert snapshots == decision.snapshots
    assert sorted(await stored_fills(watching), key=repr) == sorted(decision.fills, key=repr)
    assert sorted(await stored_executions(watching), key=repr) == sorted(decision.executions, key=repr)
    assert sorted(await stored_metrics(watching), key=repr) == sorted(decision.metrics, key=repr)
    pending = await watching.fetchrow("SELECT * FROM execution.fills_pending")
    assert pending is not None
    assert (pending["report_id"].hex, pending["reason"], pending["reference"], pending["since_ns"]) == (
        decision.pending[0].row_id, "awaiting_intent", "nobody", T0 + 5,
    )  # fmt: skip
    letter = await watching.fetchrow("SELECT * FROM execution.dead_letters")
    assert letter is not None
    assert (letter["dead_letter_id"].hex, letter["raw"], letter["received_ns"]) == (
        LETTER.dead_letter_id, LETTER.raw, LETTER.received_ns,
    )  # fmt: skip
    assert Defect(*(letter[name] for name in msgspec.structs.asdict(DEFECT))) == DEFECT
    found = await watching.fetch("SELECT * FROM execution.breaks")
    assert [(row["break_id"].hex, row["kind"], row["ours"], row["theirs"]) for row in found] == [
        (b.break_id, b.kind, b.ours, b.theirs) for b in decision.breaks
    ]
    events = await watching.fetch("SELECT * FROM execution.audit_events ORDER BY xid, position")
    assert [(row["event_id"].hex, row["event_type"], row["key"], row["body"]) for row in events] == [
        (e.event_id, e.event_type, e.key, e.body) for e in decision.events
    ]


async def test_36_digits_and_12_places_of_bps_are_kept(ledger: Ledger) -> None:
    qty, px = "0.000000000000000001", "999999999999999999.999999999999999999"
    decision = await ledger.land(
        snapshot("S1", "3", "4", T0 - 1),
        intent(qty=px, decision="7"),
        report("E1", qty=qty, px=px),
        report("E2", qty=str(FINEST), px="2.999999999999999999"),
    )
    executions = await stored_executions(ledger.watching)
    assert {(e.last_qty, e.last_px) for e in executions} == {
        (Decimal(qty), Decimal(px)), (FINEST, Decimal("2.999999999999999999")),
    }  # fmt: skip
    stored = {(m.execution_id, m.kind): m.bps for m in await stored_metrics(ledger.watching)}
    assert stored == {(m.execution_id, m.kind): m.bps for m in decision.metrics}
    assert all(bps is not None and bps.as_tuple().exponent == -12 for bps in stored.values())


async def test_optional_fields_and_nanoseconds_are_kept(ledger: Ledger) -> None:
    fill = report("E1", at=T0 + 987_654_321)
    full = msgspec.structs.replace(
        fill,
        report=msgspec.structs.replace(
            fill.report, cum_qty=FINEST, leaves_qty=Decimal(0), avg_px=FINEST, currency="USD",
            fee=Decimal("-0.0125"), fee_currency="BNB", liquidity=Liquidity.MAKER, correlation_id="C1",
        ),
        raw=bytes(range(256)),
        received_ns=T0 + 987_654_322,
    )  # fmt: skip
    await ledger.land(intent(), full)
    assert await stored_fills(ledger.watching) == [full]
    row = await ledger.watching.fetchrow("SELECT transact_ns, transact_at FROM execution.fills")
    assert row is not None
    assert row["transact_ns"] == T0 + 987_654_321
    assert abs(row["transact_at"] - to_datetime(T0 + 987_654_321)) <= timedelta(microseconds=1)


async def test_corrects_busts_holds_and_restated_slippages_change_the_rows(ledger: Ledger) -> None:
    await ledger.land(intent(qty="2"), report("E1", px="100"), report("E2", px="100"))
    await ledger.land(
        report("G1", kind=ReportKind.CORRECT, ref="E1", qty="2", px="102", at=T0 + 2 * SECOND),
        snapshot("S1", "99", "101", T0),
    )
    held = await ledger.watching.fetchrow("SELECT * FROM execution.executions WHERE exec_id = 'E1'")
    assert held is not None
    assert (held["last_exec_id"], held["last_qty"], held["last_px"]) == ("G1", 2, 102)
    chain = report("G1", kind=ReportKind.CORRECT, ref="E1", at=T0 + 2 * SECOND).report.report_id
    assert [i.hex for i in held["chain"]] == [chain]
    assert [i.hex for i in held["withheld"]] == [chain], "an overfilled order's events wait"
    assert await ledger.watching.fetchval("SELECT count(*) FROM execution.breaks WHERE ended_at IS NULL") == 1

    await ledger.land(report("B2", kind=ReportKind.BUST, ref="E2", at=T0 + 3 * SECOND))
    assert await ledger.watching.fetchval("SELECT count(*) FROM execution.breaks WHERE ended_at IS NULL") == 0
    assert await ledger.watching.fetchval("SELECT count(*) FROM execution.executions WHERE withheld <> '{}'") == 0
    order = ledger.book.orders["C1"]
    assert {e.execution_id: e for e in await stored_executions(ledger.watching)} == order.executions
    metrics = {(m.execution_id, m.kind): m for m in await stored_metrics(ledger.watching)}
    assert metrics == {(m.execution_id, m.kind): m for ms in order.metrics.values() for m in ms}
    assert metrics, "the corrected fill keeps its slippages, the busted one has none"


REPEATED: dict[str, Fact] = {
    "fill": report("E9", cl_ord_id="elsewhere"),
    "intent": intent("C9", "M9"),
    "snapshot": snapshot("S9", "1", "2"),
    "dead letter": LETTER,
}


@pytest.mark.parametrize("kind", REPEATED)
async def test_what_another_session_landed_first_is_a_conflict_and_nothing_is_half_written(
    ledger: Ledger, ledger_url: str, kind: str
) -> None:
    async with connected(ledger_url) as other:
        await Landing(other).land(decide(Book(), [REPEATED[kind]], Policy()))
    before = await row_counts(ledger.watching)
    neighbours: list[Fact] = [intent(), report("E1"), snapshot("S1", "1", "2"), report("E2", cl_ord_id="nobody")]
    with pytest.raises(LandingConflictError):
        await ledger.land(*neighbours, REPEATED[kind], positions=(POSITION,))
    assert await row_counts(ledger.watching) == before
    assert await ledger.positions() == {}
    await ledger.land(*neighbours, positions=(POSITION,))
    assert await ledger.positions() == {("ALPHA.fix", "S1"): POSITION}


async def test_a_commit_of_another_session_that_is_still_in_flight_is_waited_for(
    ledger: Ledger, ledger_url: str
) -> None:
    async with connected(ledger_url) as other:
        transaction = other.transaction()
        await transaction.start()
        await Landing(other).land(decide(Book(), [intent()], Policy()))
        racing = asyncio.create_task(ledger.land(intent()))
        await asyncio.sleep(0.1)
        assert not racing.done()
        await transaction.commit()
        with pytest.raises(LandingConflictError):
            await racing


async def test_a_position_never_goes_back_and_takes_its_batch_along(ledger: Ledger) -> None:
    await ledger.land(intent(), positions=(POSITION,))
    await ledger.land(report("E1"), positions=(POSITION,))  # the same again: a commit was in doubt
    behind = msgspec.structs.replace(POSITION, value=40)
    before = await row_counts(ledger.watching)
    with pytest.raises(PositionWentBackError, match=r"ALPHA\.fix.*40"):
        await ledger.land(report("E2"), positions=(behind, Position("ALPHA.fix", "S2", "created-1", 1)))
    assert await row_counts(ledger.watching) == before
    assert await ledger.positions() == {("ALPHA.fix", "S1"): POSITION}


async def test_a_position_starts_over_in_another_incarnation(ledger: Ledger) -> None:
    await ledger.land(positions=(POSITION,))
    over = Position("ALPHA.fix", "S1", "created-2", 1)
    await ledger.land(positions=(POSITION, over))
    assert await ledger.positions() == {("ALPHA.fix", "S1"): over}


async def test_the_furthest_position_of_a_batch_is_kept(ledger: Ledger) -> None:
    positions = tuple(msgspec.structs.replace(POSITION, value=value) for value in (5, 9, 7))
    await ledger.land(positions=positions)
    assert await ledger.positions() == {("ALPHA.fix", "S1"): positions[1]}


UNSTORABLE: dict[str, Fact] = {
    "NUL in a text": intent(symbol="BTC\x00USDT"),
    "a lone surrogate": intent(symbol="\ud800"),
    "a text too long for its index": report("E1", cl_ord_id="".join(f"{n:x}" for n in range(9_000))),
    "nanoseconds beyond 64 bits": intent(at=1 << 63),
}


@pytest.mark.parametrize("what", UNSTORABLE)
async def test_a_value_that_postgres_cannot_store_is_refused_as_such(ledger: Ledger, what: str) -> None:
    with pytest.raises(LedgerRefusedError):
        await ledger.land(UNSTORABLE[what], snapshot("S1", "1", "2"), positions=(POSITION,))
    assert set((await row_counts(ledger.watching)).values()) == {0}
    await ledger.land(intent(), report("E1"), positions=(POSITION,))  # the session goes on


@pytest.mark.parametrize("others", [0, 200], ids=["one statement", "COPY"])
async def test_what_the_market_traded_lands_to_its_last_digit(ledger: Ledger, others: int) -> None:
    traded = {"S1": (FINEST, FINEST), "S2": (Decimal(0), Decimal(0)), "S3": (None, None)}
    await ledger.land(
        *(
            msgspec.structs.replace(snapshot(name, "1", "2"), traded_qty=qty, traded_notional=notional)
            for name, (qty, notional) in traded.items()
        ),
        *(snapshot(f"other-{n}", "1", "2") for n in range(others)),
    )
    found = await ledger.watching.fetch(
        "SELECT snapshot_id, traded_qty, traded_notional FROM execution.benchmark_snapshots "
        "WHERE snapshot_id LIKE 'S_'"
    )
    assert {name: (qty, notional) for name, qty, notional in found} == traded


async def test_facts_of_old_days_share_the_default_partition(ledger: Ledger) -> None:
    old = T0 - 400 * 86_400 * SECOND
    decision = await ledger.land(intent(at=old), report("E1", at=old), snapshot("S1", "1", "2", at=old))
    for table in ("fills", "executions", "slippage_metrics", "benchmark_snapshots"):
        query = f"SELECT DISTINCT tableoid::regclass::text FROM execution.{table}"  # noqa: S608  a name of ours
        places = await ledger.watching.fetch(query)
        assert [place[0] for place in places] == [f"execution.{table}_default"]
    assert decision.fills[0].report.trade_date == utc_date(old)
    with pytest.raises(LandingConflictError):
        await Landing(ledger.watching).land(decide(Book(), [report("E1", at=old)], Policy()))


async def test_only_one_session_holds_the_lease_and_another_gets_it_when_the_first_ends(ledger_url: str) -> None:
    async with AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(connected(ledger_url)) for _ in range(3)]
        await Landing(first).take_lease("writer")
        with pytest.raises(LeaseLostError, match="writer"):
            await Landing(second).take_lease("writer")
        await Landing(second).take_lease("another writer")
        await first.close()
        await Landing(second).take_lease("writer")
        with pytest.raises(LeaseLostError):
            await Landing(third).take_lease("writer")


async def test_a_terminated_session_loses_its_lease_and_its_connection_together(ledger_url: str) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(connected(ledger_url)) for _ in range(2)]
        deposed = Landing(first)
        await deposed.take_lease("writer")
        await terminate_sessions(second, [first.get_server_pid()])
        async with asyncio.timeout(10):
            while True:
                try:
                    await Landing(second).take_lease("writer")
                except LeaseLostError:
                    await asyncio.sleep(0.01)
                else:
                    break
        with pytest.raises(LedgerUnavailableError):
            await deposed.land(decide(Book(), [intent()], Policy()))
        with pytest.raises(LedgerUnavailableError):
            await deposed.take_lease("writer")
        assert not deposed.is_open
        assert (await row_counts(second))["orders"] == 0


async def test_a_deadlock_with_another_session_is_no_verdict_on_the_batch(ledger: Ledger, ledger_url: str) -> None:
    """The day's derivation writes the same executions: whichever Postgres gives up may be ours."""
    await ledger.land(intent(), report("E1"), report("E2"))
    async with connected(ledger_url) as other:
        await other.execute("SET deadlock_timeout = '60s'")  # so it is the landing that gives up
        pid = await ledger.landing._connection.fetchval("SELECT pg_backend_pid()")
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK execution.slippage_metrics IN SHARE MODE")
        landing = asyncio.create_task(ledger.land(report("E3")))
        while not await ledger.watching.fetchval(  # noqa: ASYNC110  Postgres has no event for it
            "SELECT cardinality(pg_blocking_pids($1)) > 0", pid
        ):
            await asyncio.sleep(0.01)
        locking = asyncio.create_task(other.execute("LOCK execution.fills IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(LedgerUnavailableError, match="deadlock"):
            await landing
        await locking
        await transaction.rollback()
    await ledger.land(report("E3"))
    assert len(await stored_executions(ledger.watching)) == 3
