"""A book that forgets all the time ends in the rows of one that never does."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.digest import digest_of
from ledger.domain.failover import Cause, Health, HealthKind
from ledger.domain.records import Action, Captured, CapturedOrder, ExecType, ReportKind, Side, Snapshot
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.standing import closing
from tests.integration.database import connected, emptied, stored_executions, stored_metrics
from tests.unit.domain.facts import SECOND, T0, bust, intent, order_report, report, snapshot
from tests.unit.domain.worlds import Ledger, split, worlds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    import asyncpg

    from ledger.domain.order import OrderState
    from ledger.domain.records import Execution, SlippageMetric

EXAMPLES = int(os.environ.get("CONVERGENCE_EXAMPLES", "300")) // 20  # `make nightly` asks for 500
NEVER = 1 << 62


class Live:
    """Decides and lands as the lander does; ``forget`` says with what book a batch is begun."""

    def __init__(self, connection: asyncpg.Connection[Any], forget: Callable[[Reader], Awaitable[Book]]) -> None:
        self.connection = connection
        self.reader = Reader(connection)
        self.landing = Landing(connection)
        self.forget = forget
        self.book: Book | None = None

    async def land(self, facts: Sequence[Fact], *, keep_book: bool = False) -> None:
        book = self.book if keep_book and self.book is not None else await self.forget(self.reader)
        wanted, duplicates = await self.reader.complete(book, facts)
        decision = decide(book, wanted, Policy())
        decision.duplicates.update(duplicates)
        await self.reader.drop_known(decision)
        await self.landing.land(decision)
        book.apply(decision)
        self.book = book

    async def rows(self) -> tuple[list[Execution], list[SlippageMetric], set[str], set[str]]:
        pending = await self.connection.fetch("SELECT report_id FROM execution.fills_pending")
        breaks = await self.connection.fetch("SELECT break_id FROM execution.breaks WHERE ended_at IS NULL")
        return (
            await stored_executions(self.connection),
            await stored_metrics(self.connection),
            {row["report_id"].hex for row in pending},
            {row["break_id"].hex for row in breaks},
        )


async def forgetful(_: Reader) -> Book:
    """Keeps one order, and looks every snapshot up."""
    return Book(SnapshotBook(covered_from=NEVER), report_limit=0)


async def windowed(reader: Reader) -> Book:
    """Keeps one order, and the snapshots from ``T0`` + 3 s on, as a process that has just started."""
    opened = await reader.open_book(T0 + 123 * SECOND)
    return Book(opened.snapshots, report_limit=0)


class InMemory:
    """One landing of everything, without a database."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.decision = decide(Book(), facts, Policy())
        self.orders: dict[str, OrderState] = self.decision.orders

    @property
    def executions(self) -> list[Execution]:
        return [e for o in self.orders.values() for e in o.executions.values()]

    @property
    def metrics(self) -> list[SlippageMetric]:
        return [m for o in self.orders.values() for ms in o.metrics.values() for m in ms]

    @property
    def pending(self) -> set[str]:
        return {p.row_id for p in self.decision.pending}

    @property
    def breaks(self) -> set[str]:
        return {break_id for o in self.orders.values() for break_id in o.breaks}


@pytest.fixture
async def connection(ledger_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    async with connected(ledger_url) as connection:
        yield connection


def by_text(values: Iterable[Any]) -> list[str]:
    return sorted(map(repr, values))


async def assert_order_states_agree(connection: asyncpg.Connection[Any], orders: dict[str, OrderState]) -> None:
    found = {row["correlation_id"]: row for row in await connection.fetch("SELECT * FROM execution.order_states")}
    assert found.keys() == orders.keys()
    for correlation_id, order in orders.items():
        row = found[correlation_id]
        assert order.root is not None
        standing = order.standing
        assert (
            row["cum_qty"], row["leaves_qty"], row["order_qty"], row["avg_px"], row["msg_id"],
            row["execution_count"], row["closed"], row["pending"], row["held"], row["base"],
        ) == (
            order.cum_qty, order.leaves_qty, order.order_qty, order.avg_px, order.root.msg_id,
            len(order.executions), closing(standing, order.last_fill_ns), standing.pending, standing.held,
            standing.base,
        )  # fmt: skip
        assert row["on_hold"] == bool(order.breaks)


async def assert_reports_agree(connection: asyncpg.Connection[Any], facts: Sequence[Fact], ledger: Ledger) -> None:
    fills = await connection.fetchval("SELECT count(*) FROM execution.fills")
    distinct = {(f.report.report_id, f.report.content) for f in facts if isinstance(f, Captured)}
    assert fills == len(distinct), "each report once"
    states = await connection.fetch("SELECT report_id FROM execution.order_reports")
    assert sorted(row["report_id"].hex for row in states) == sorted(
        {f.report.report_id for f in facts if isinstance(f, CapturedOrder)}
    )
    learned = await connection.fetch(
        "SELECT venue, kind, reference, correlation_id FROM execution.order_references"
    )
    messages = {m for order in ledger.orders.values() for m in order.intents}
    assert {tuple(row) for row in learned if row[2] not in messages} == {
        key for key in ledger.learned if key[2] not in messages
    }


async def check_world(
    url: str, facts: list[Fact], rng: random.Random, forget: Callable[[Reader], Awaitable[Book]]
) -> None:
    reference = Ledger()
    reference.land(facts)
    # An order that was forgotten is not restated by a late snapshot: Dagster derives the day for that.
    first: list[Fact] = [fact for fact in facts if isinstance(fact, Snapshot)]
    rest: list[Fact] = [fact for fact in facts if not isinstance(fact, Snapshot)]
    rest += [rng.choice(rest) for _ in range(rng.randrange(len(rest)))]
    rng.shuffle(rest)
    keeps_book = rng.random() < 0.5
    async with connected(url) as connection:
        await emptied(connection)
        live = Live(connection, forget)
        await live.land(first)
        for number, batch in enumerate([*split(rest, rng), first]):
            await live.land(batch, keep_book=number > 0 and keeps_book)
        executions, metrics, pending, breaks = await live.rows()
        assert by_text(executions) == by_text(reference.executions.values())
        assert by_text(metrics) == by_text(reference.metrics.values())
        assert pending == {row_id for row_id, _ in reference.pending}
        assert breaks == set(reference.breaks)
        assert digest_of(executions, metrics) == reference.state()["digest"]
        await assert_reports_agree(connection, facts, reference)
        events = await connection.fetch(
            "SELECT event_id FROM execution.audit_events WHERE event_type = ANY($1)", ["fill", "bust", "correct"]
        )
        assert len(events) == len({row["event_id"] for row in events}), "each event once"
        await assert_order_states_agree(connection, reference.orders)


@pytest.mark.parametrize("forget", [forgetful, windowed])
def test_batches_through_a_book_that_forgets_end_in_the_rows_of_one_landing(
    ledger_url: str, forget: Callable[[Reader], Awaitable[Book]]
) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 100, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(worlds(), st.randoms(use_true_random=False))
    def check(facts: list[Fact], rng: random.Random) -> None:
        asyncio.run(check_world(ledger_url, facts, rng, forget))

    check()


def fresh(connection: asyncpg.Connection[Any], forget: Callable[[Reader], Awaitable[Book]] = forgetful) -> Live:
    return Live(connection, forget)


async def test_the_second_bust_of_a_fill_is_recognised_when_it_comes_again(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    busts = [report(f"B{n}", kind=ReportKind.BUST, ref="E1", at=T0 + n * SECOND) for n in (2, 3)]
    facts: list[Fact] = [intent(), report("E1"), *busts, *busts, *reversed(busts)]
    for fact in facts:
        await live.land([fact])
    assert await connection.fetchval("SELECT count(*) FROM execution.fills") == 3
    duplicates = await connection.fetchval("SELECT sum(duplicates) FROM execution.feed_counts")
    assert duplicates == 4


async def test_a_second_bust_on_the_wrong_side_moves_nothing_and_holds_nothing_after_a_reload(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    facts: list[Fact] = [
        intent(),
        report("E1"),
        report("B1", kind=ReportKind.BUST, ref="E1", at=T0 + 2 * SECOND),
        report("B2", kind=ReportKind.BUST, ref="E1", at=T0 + 3 * SECOND, side=Side.SELL),
        report("E2", at=T0 + 4 * SECOND),
    ]
    for fact in facts:
        await live.land([fact])
    assert (await live.rows())[3] == InMemory(facts).breaks == set()
    withheld = await connection.fetchval("SELECT withheld FROM execution.executions WHERE exec_id = 'E2'")
    assert withheld is None


async def test_execids_that_repeat_in_another_order_bring_no_foreign_bust_in(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    facts: list[Fact] = [
        intent(),
        intent("C2", "M2", symbol="ETHUSDT"),
        report("E1"),
        report("E1", cl_ord_id="M2", symbol="ETHUSDT"),
        report("B1", kind=ReportKind.BUST, ref="E1", at=T0 + 2 * SECOND),
        report("B1", kind=ReportKind.BUST, ref="E1", cl_ord_id="M2", symbol="ETHUSDT", at=T0 + 2 * SECOND),
        report("B2", kind=ReportKind.BUST, ref="E1", cl_ord_id="M2", symbol="ETHUSDT", at=T0 + 3 * SECOND),
        report("E2", at=T0 + 4 * SECOND),
        report("E2", cl_ord_id="M2", symbol="ETHUSDT", at=T0 + 4 * SECOND),
    ]
    for fact in facts:
        await live.land([fact])
    executions, metrics, pending, breaks = await live.rows()
    reference = InMemory(facts)
    assert by_text(executions) == by_text(reference.executions)
    assert by_text(metrics) == by_text(reference.metrics)
    assert (pending, breaks) == (reference.pending, reference.breaks) == (set(), set())


async def test_a_conflicting_intent_that_comes_again_is_a_duplicate_of_its_dead_letter(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    for fact in (intent(qty="1"), intent(qty="2"), intent(qty="2"), report("E1")):
        await live.land([fact])
    assert await connection.fetchval("SELECT count(*) FROM execution.dead_letters") == 1
    events = await connection.fetchval(
        "SELECT count(*) FROM execution.audit_events WHERE event_type = 'dead_letter'"
    )
    assert events == 1
    assert await connection.fetchval("SELECT duplicates FROM execution.feed_counts") == 1
    assert await connection.fetchval("SELECT count(*) FROM execution.executions") == 1


async def test_pending_fills_of_a_replace_are_measured_against_an_arrival_long_ago(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection, windowed)
    facts: list[Fact] = [
        snapshot("S1", "99", "101", T0 - 1),
        snapshot("S2", "100", "102", T0 + 4 * SECOND),
        intent(at=T0),
        report("E1", cl_ord_id="M2", at=T0 + 5 * SECOND),
        intent("C1", "M2", action=Action.REPLACE, orig="M1", at=T0 + 6 * SECOND),
    ]
    for fact in facts:
        await live.land([fact])
    assert by_text((await live.rows())[1]) == by_text(InMemory(facts).metrics)


async def test_a_fill_by_the_venues_order_id_finds_its_order_again(connection: asyncpg.Connection[Any]) -> None:
    live = fresh(connection)
    await live.land([intent(venue_order_id="V1")])
    await live.land([report("E1", cl_ord_id=None, venue_order_id="V1")])
    await live.land([report("E1", cl_ord_id=None, venue_order_id="V1")])
    executions, _, pending, _ = await live.rows()
    assert ([e.correlation_id for e in executions], pending) == (["C1"], set())
    assert await connection.fetchval("SELECT duplicates FROM execution.feed_counts") == 1


@pytest.mark.parametrize("number", range(4))
async def test_a_fill_under_a_foreign_cl_ord_id_is_tied_by_the_order_id_whatever_comes_first(
    connection: asyncpg.Connection[Any], number: int
) -> None:
    live = fresh(connection, forgetful)
    facts: list[Fact] = [
        intent(qty="9"),
        report("E1", venue_order_id="O1"),
        report("E2", cl_ord_id="BROKER-77", venue_order_id="O1", at=T0 + 2 * SECOND),
        report("E3", cl_ord_id="BROKER-77", at=T0 + 3 * SECOND),
    ]
    random.Random(number).shuffle(facts)
    for fact in facts:
        await live.land([fact])
    executions, _, pending, _ = await live.rows()
    assert (sorted(e.exec_id for e in executions), pending) == (["E1", "E2", "E3"], set())


@pytest.mark.parametrize("number", range(3))
async def test_a_venues_order_id_that_two_orders_share_is_the_first_ones(
    connection: asyncpg.Connection[Any], number: int
) -> None:
    live = fresh(connection)
    intents = [
        intent(f"C{n}", f"M{n}", at=T0 + n * SECOND, venue_order_id="V1")
        for n in random.Random(number).sample(range(4), 4)
    ]
    for fact in intents:
        await live.land([fact])
    await live.land([report("E1", cl_ord_id=None, venue_order_id="V1", at=T0 + 9 * SECOND)])
    (execution,) = await stored_executions(connection)
    assert execution.correlation_id == "C0"


async def test_old_snapshots_and_dead_letters_are_recognised_by_the_database_alone(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    old = snapshot("S1", "1", "2", T0)
    for _ in range(2):
        await live.land([old])
    assert await connection.fetchval("SELECT count(*) FROM execution.benchmark_snapshots") == 1
    assert await connection.fetchval("SELECT duplicates FROM execution.feed_counts") == 1


async def test_of_two_snapshots_at_one_instant_memory_and_database_choose_the_same(
    connection: asyncpg.Connection[Any],
) -> None:
    facts: list[Fact] = [snapshot(name, "1", str(n), T0) for n, name in enumerate(("a", "B", "é", "_", "Z"), 2)]
    live = fresh(connection)
    await live.land(facts)
    await live.land([intent(), report("E1")])
    assert by_text((await live.rows())[1]) == by_text(InMemory([*facts, intent(), report("E1")]).metrics)


async def test_a_quiet_symbol_is_measured_against_its_last_snapshot_after_a_restart(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection, windowed)
    facts: list[Fact] = [
        snapshot("S1", "99", "101", T0 - 3600 * SECOND),
        snapshot("S2", "7", "8", T0 + 4 * SECOND, symbol="ETHUSDT"),
        intent(at=T0 + 4 * SECOND),
        report("E1", at=T0 + 5 * SECOND),
    ]
    for fact in facts:
        await live.land([fact])
    assert {m.snapshot_id for m in (await live.rows())[1]} == {"S1"}
    assert by_text((await live.rows())[1]) == by_text(InMemory(facts).metrics)


async def test_the_book_opens_with_two_minutes_of_snapshots_and_the_last_before_them(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection)
    ages = {"oldest": 500, "before": 121, "within": 119, "now": 0}
    await live.land([snapshot(name, "1", "2", T0 - age * SECOND) for name, age in ages.items()])
    snapshots = (await Reader(connection).open_book(T0)).snapshots
    window = snapshots.window("BTCUSDT")
    assert [name for name in ages if window.has(name)] == ["before", "within", "now"]
    assert not snapshots.covers("BTCUSDT", T0 - 122 * SECOND)
    assert snapshots.covers("BTCUSDT", T0 - 121 * SECOND)
    assert snapshots.covers("NEVERSEEN", 0)


async def reopened(reader: Reader) -> Book:
    return await reader.open_book(T0)


LATE = snapshot("S2", "101", "103", at=T0)  # better for the arrival and for the fill a second later


@pytest.mark.parametrize("root_at", [T0, T0 + SECOND // 2], ids=["arrival and fill", "fill"])
async def test_a_snapshot_after_a_restart_restates_what_landed_just_before_it(
    connection: asyncpg.Connection[Any], root_at: int
) -> None:
    facts: list[Fact] = [snapshot("S1", "99", "101", T0 - SECOND), intent(at=root_at), report("E1"), LATE]
    live = fresh(connection, reopened)
    await live.land(facts[:3])
    assert {m.snapshot_id for m in (await live.rows())[1]} == {"S1"}
    await live.land([LATE])
    assert {m.snapshot_id for m in (await live.rows())[1]} == {"S2"}
    assert by_text((await live.rows())[1]) == by_text(InMemory(facts).metrics)


async def test_an_order_that_is_loaded_on_demand_is_restated_by_a_late_snapshot(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection, forgetful)
    await live.land([snapshot("S1", "99", "101", T0 - SECOND), intent(), report("E1")])
    await live.land([report("E2"), LATE])
    assert {m.snapshot_id for m in (await live.rows())[1]} == {"S2"}


async def test_the_book_opens_with_a_bounded_number_of_orders_the_newest_first(
    connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = fresh(connection, forgetful)
    for number in range(5):
        await live.land([intent(f"C{number}", f"M{number}"), report(f"E{number}", cl_ord_id=f"M{number}")])
    monkeypatch.setattr("ledger.db.reading._LANDED_LATELY_ORDERS", 3)
    assert list((await reopened(live.reader)).orders) == ["C2", "C3", "C4"]
    await connection.execute("UPDATE execution.fills SET landed_at = landed_at - interval '61 s'")
    assert not (await reopened(live.reader)).orders


async def test_an_order_that_is_forgotten_and_loaded_again_has_its_marks_once(
    connection: asyncpg.Connection[Any],
) -> None:
    live = fresh(connection, reopened)
    await live.land([intent(), report("E1")])
    book = await reopened(live.reader)
    marks = book.marks_from("BTCUSDT", 0)
    order = book.orders["C1"]
    book.forget("C1")
    book.load_order(order)
    assert book.marks_from("BTCUSDT", 0) == marks
    assert len(marks) == 2


async def landed_alike(connection: asyncpg.Connection[Any], *facts: Fact) -> None:
    """Land fact by fact with a book that forgets, and compare with one landing in memory."""
    live, reference = fresh(connection), Ledger()
    reference.land(facts)
    for fact in facts:
        await live.land([fact])
    executions, metrics, pending, breaks = await live.rows()
    assert by_text(executions) == by_text(reference.executions.values())
    assert by_text(metrics) == by_text(reference.metrics.values())
    assert (pending, breaks) == ({row_id for row_id, _ in reference.pending}, set(reference.breaks))
    await assert_order_states_agree(connection, reference.orders)


async def test_a_gap_of_an_order_without_fills_is_known_after_a_reload(
    connection: asyncpg.Connection[Any],
) -> None:
    totals = [order_report(ExecType.ORDER_STATUS, cum="2", at=T0 + n * SECOND) for n in (5, 6)]
    await landed_alike(connection, intent(), *totals, report("E1"), report("E2", at=T0 + 2 * SECOND))


async def test_a_bust_of_a_whole_that_came_in_parts_only_is_known_after_a_reload(
    connection: asyncpg.Connection[Any],
) -> None:
    parts = [report(f"P{n}", part_of="E1") for n in (1, 2)]
    await landed_alike(connection, intent(), *parts, bust("B1", "E1"), report("E3", at=T0 + 9 * SECOND))


async def test_a_wording_that_waits_for_its_message_counts_when_that_comes(
    connection: asyncpg.Connection[Any],
) -> None:
    facts = [
        intent(msg_id="R1", action=Action.REPLACE, orig="M1", at=T0 + SECOND),
        report("E1", venue_order_id="V1"),
        report("E1", cl_ord_id=None, venue_order_id="V1", fee="1"),
        report("E2", cl_ord_id="R1", venue_order_id="V1"),
        report("E3", cl_ord_id="R1"),
        intent(),
    ]
    await landed_alike(connection, *facts)


async def test_what_names_lead_to_is_measured_with_snapshots_that_are_looked_up(
    connection: asyncpg.Connection[Any],
) -> None:
    facts = [
        snapshot("S1", "99", "101", T0 - SECOND),
        snapshot("S2", "100", "102", T0 + 2 * SECOND),
        report("E1", cl_ord_id="X9", at=T0 + 3 * SECOND),
        order_report(ExecType.NEW, cl_ord_id="X9", venue_order_id="V1"),
        intent(),
        order_report(ExecType.NEW, venue_order_id="V1"),
    ]
    await landed_alike(connection, *facts)


@pytest.mark.parametrize("is_out", [False, True])
async def test_numbers_that_start_over_are_owed_whatever_stands_of_the_feed(
    connection: asyncpg.Connection[Any], *, is_out: bool
) -> None:
    await emptied(connection)
    now = time.time_ns()
    out = Health(HealthKind.OUTAGE, "ALPHA", "ALPHA.fix", now - SECOND, now - 9 * SECOND, "gone", Cause.SILENCE)
    anew = Health(HealthKind.RENUMBERED, "ALPHA", "ALPHA.fix", now, now - 5 * SECOND, "anew", Cause.GAP)
    live = Live(connection, lambda reader: reader.open_book(now))
    if is_out:
        await live.land([out])
    await live.land([anew])
    (owed,) = await live.reader.unrecovered(3600)
    assert (owed.venue, owed.since_ns, owed.until_ns, owed.feed) == ("ALPHA", now - 5 * SECOND, now, "ALPHA.fix")
    standing = (await live.reader.health()).outages
    assert [found.cause for found in standing.values()] == ([Cause.SILENCE] if is_out else [])
    lasted = "SELECT ended_ns - began_ns FROM execution.feed_outages WHERE cause = 'gap'"
    assert await connection.fetchval(lasted) == 0


async def test_a_switch_is_owed_from_the_outage_and_not_from_numbers_that_started_over_in_it(
    connection: asyncpg.Connection[Any],
) -> None:
    await emptied(connection)
    now = time.time_ns()
    told = ("ALPHA", "ALPHA.fix", now)
    live = Live(connection, lambda reader: reader.open_book(now))
    await live.land([Health(HealthKind.OUTAGE, *told, now - 9 * SECOND, "gone", Cause.SILENCE)])
    await live.land([Health(HealthKind.RENUMBERED, *told, now - 5 * SECOND, "anew", Cause.GAP)])
    await live.land([Health(HealthKind.SWITCHED, *told, now - 9 * SECOND, "gone", Cause.SILENCE, "ALPHA.ws")])
    owed = {found.why: found.since_ns for found in await live.reader.unrecovered(3600)}
    assert owed == {"feed_outage": now - 5 * SECOND, "feed_switched": now - 9 * SECOND}
