"""A landed day's final figures on a real Postgres: right, the same however they are worked out, and kept so."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from execution_assets import processes
from execution_assets.checks.making import read_frame
from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.derivation import derive_day
from execution_assets.final_day import derive_finals
from execution_assets.market import DayMarket
from execution_assets.parquet import write_day
from execution_assets.processes import ShareError
from execution_assets.resources import LedgerResource
from ledger.db.instruments import load_instruments
from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide, with_instruments
from ledger.domain.instruments import Instrument, InstrumentKind
from ledger.domain.interval import interval_vwap, twap
from ledger.domain.markouts import HORIZONS, markout
from ledger.domain.numbers import exact_ratio
from ledger.domain.records import Action, Captured, ExecType, OrdStatus, ReportKind, Side, Snapshot
from ledger.domain.slippage import slippage_bps
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import utc_date
from operations.cli import app
from operations.people import BACKFILL, OPERATOR
from tests.integration.database import connected
from tests.integration.people import Person, person
from tests.unit.domain.facts import SECOND, T0, intent, order_report, report, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

DAY = utc_date(T0)
D = Decimal
SLO_US = 150_000


async def land(url: str, facts: Sequence[Fact], book: Book | None = None) -> None:
    known = Book(SnapshotBook()) if book is None else book
    async with connected(url) as connection:
        decision = decide(known, facts, Policy())
        await Landing(connection).land(decision)
    known.apply(decision)


def a_day() -> list[Fact]:
    """One order that fills, one that fills in part, one that never trades, one without a market; a bust."""
    return [
        snapshot("S0", "99.5", "100.5", T0),
        snapshot("S1", "100.5", "101.5", T0 + 3 * SECOND),
        snapshot("S2", "101", "103", T0 + 11 * SECOND),
        snapshot("S3", "103", "105", T0 + 61 * SECOND),
        snapshot("S4", "104", "106", T0 + 400 * SECOND),
        intent("C1", "M1", qty="3", decision="99", at=T0 + SECOND),
        intent("C2", "M2", qty="10", side=Side.SELL, at=T0 + SECOND),
        intent("C3", "M3", qty="5", decision="100", at=T0 + 2 * SECOND),
        intent("C4", "M4", qty="1", at=T0 + 2 * SECOND, symbol="ETHUSDT"),
        report("E1", qty="1", px="100.25", at=T0 + 2 * SECOND, fee="0"),
        report("E2", qty="2", px="101", at=T0 + 4 * SECOND, fee="0"),
        report("E3", cl_ord_id="M2", qty="4", px="100", side=Side.SELL, at=T0 + 4 * SECOND, fee="0"),
        report("E4", cl_ord_id="M2", qty="1", px="90", side=Side.SELL, at=T0 + 5 * SECOND, fee="0"),
        report("B4", cl_ord_id="M2", kind=ReportKind.BUST, ref="E4", qty="1", px="90", side=Side.SELL,
               at=T0 + 6 * SECOND),
        report("E5", cl_ord_id="M4", qty="1", px="2000", symbol="ETHUSDT", at=T0 + 3 * SECOND, fee="0"),
    ]  # fmt: skip


@pytest.fixture
def engine(urls: dict[str, str]) -> Engine:
    return LedgerResource(url=urls["dagster"]).engine()


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def finals(url: str) -> dict[str, dict[str, Any]]:
    found = rows(
        url,
        "SELECT e.exec_id, f.* FROM execution.slippage_finals f "
        "JOIN execution.executions e USING (execution_id, trade_date)",
    )
    return {row["exec_id"]: row for row in found}


def costs(url: str) -> dict[str, dict[str, Any]]:
    return {row["correlation_id"]: row for row in rows(url, "SELECT * FROM execution.order_costs")}


async def test_the_figures_of_a_day(ledger_url: str, engine: Engine) -> None:
    await land(ledger_url, a_day())
    derive_finals(engine, DAY, Policy())
    found = finals(ledger_url)
    assert set(found) == {"E1", "E2", "E3", "E5"}  # a busted execution has no figures
    first = found["E1"]
    assert [first[f"markout_{h}_mid"] for h in ("1s", "10s", "60s", "5min")] == [101, 102, 104, 104]
    assert [first[f"markout_{h}_snapshot_id"] for h in ("1s", "10s", "60s", "5min")] == ["S1", "S2", "S3", "S3"]
    assert first["markout_1s_bps"] == exact_ratio((D("100.25") - 101) * 10_000, D(101))
    assert [first[f"markout_{h}_reason"] for h in ("1s", "10s", "60s", "5min")] == [
        None, None, None, "stale_snapshot",
    ]  # fmt: skip
    assert found["E5"]["markout_1s_reason"] == "no_snapshot"
    assert found["E5"]["markout_1s_bps"] is None

    # from 1 s to 4 s: 100 stood for two seconds, 101 for one
    average = exact_ratio(D(2 * 100 + 101), D(3))
    assert first["interval_twap_bps"] == exact_ratio((D("100.25") - average) * 10_000, average)

    orders = costs(ledger_url)
    assert set(orders) == {"C1", "C2", "C3", "C4"}
    filled, sold, idle, blind = (orders[name] for name in ("C1", "C2", "C3", "C4"))
    assert (filled["paper"], filled["delay"], filled["trading"]) == (297, 3, D("2.25"))
    assert (filled["opportunity"], filled["total"], filled["state"]) == (0, D("5.25"), "filled")
    assert filled["interval_twap"] == average
    assert (filled["interval_vwap"], filled["interval_vwap_reason"]) == (None, "no_market_trades")
    assert (filled["arrival_snapshot_id"], filled["quality"]) == ("S0", "exact")
    # sold 4 of 10 at 100 = arrival; the six that are left would bring 105 now, not 100: a gain
    assert (sold["filled_qty"], sold["trading"], sold["opportunity"]) == (4, 0, -30)
    assert sold["quality_reason"] == "no_decision_price,order_open"
    assert (idle["filled_qty"], idle["total"], idle["interval_twap_reason"]) == (0, 25, "not_executed")
    assert (blind["total"], blind["quality_reason"]) == (None, "no_arrival,no_decision_price")
    assert blind["closing_price"] is None


async def test_the_second_derivation_changes_nothing_and_what_is_tampered_with_is_put_right(
    ledger_url: str, engine: Engine
) -> None:
    await land(ledger_url, a_day())
    first = derive_finals(engine, DAY, Policy())
    assert [(c.rows, c.added, c.count) for c in first] == [(4, 4, 4), (4, 4, 4)]
    again = derive_finals(engine, DAY, Policy())
    assert [c.count for c in again] == [0, 0]
    assert [c.digest for c in again] == [c.digest for c in first]

    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.slippage_finals SET markout_1s_bps = 1 WHERE markout_1s_bps > 0")
        connection.execute("DELETE FROM execution.order_costs WHERE correlation_id = 'C3'")
        connection.execute(
            "INSERT INTO execution.slippage_finals (execution_id, trade_date, correlation_id) "
            "VALUES (gen_random_uuid(), %s, 'nobody')",
            [DAY],
        )
    planned = derive_finals(engine, DAY, Policy(), correct=False)
    assert [(c.added, c.changed, c.removed) for c in planned] == [(0, 1, 1), (1, 0, 0)]
    assert "C3" not in costs(ledger_url)
    fixed = derive_finals(engine, DAY, Policy())
    assert [(c.added, c.changed, c.removed) for c in fixed] == [(0, 1, 1), (1, 0, 0)]
    assert [c.digest for c in fixed] == [c.digest for c in first]
    assert [c.count for c in derive_finals(engine, DAY, Policy())] == [0, 0]


async def test_several_processes_give_what_one_gives(
    ledger_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await land(ledger_url, a_day())
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.executions SET last_px = last_px + 1 WHERE exec_id IN ('E1', 'E3')")
    alone = derive_day(engine, DAY, Policy(), correct=False)
    alone_finals = derive_finals(engine, DAY, Policy(), correct=False)
    monkeypatch.setattr(processes, "ROWS_A_PROCESS", 1)
    monkeypatch.setattr(processes, "PROCESSES", 2)
    together = derive_day(engine, DAY, Policy(), correct=False)
    finals_together = derive_finals(engine, DAY, Policy(), correct=False)
    assert together.derived_digest == alone.derived_digest
    assert together.live_digest == alone.live_digest != alone.derived_digest
    assert together.differences.found == alone.differences.found == {"executions.differs": 2}
    assert [c.digest for c in finals_together] == [c.digest for c in alone_finals]
    assert derive_day(engine, DAY, Policy()).differences.count == 2
    assert derive_day(engine, DAY, Policy()).differences.count == 0


async def test_a_process_that_fails_fails_the_day_and_nothing_is_changed(
    ledger_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await land(ledger_url, a_day())
    monkeypatch.setattr(processes, "ROWS_A_PROCESS", 1)
    monkeypatch.setattr(processes, "PROCESSES", 2)
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    with pytest.raises(ShareError, match=r"share 2 of 2 failed"):
        derive_finals(engine, DAY, Policy())
    assert finals(ledger_url) == {}
    assert rows(ledger_url, "SELECT * FROM execution.derivations") == []


async def test_the_average_by_running_sums_is_the_rules(ledger_url: str, engine: Engine) -> None:
    rng = random.Random(7)
    at, market = T0, []
    for n in range(200):
        bid = D(rng.randrange(9_000, 11_000)) / 10 ** rng.randrange(1, 4)
        market.append(snapshot(f"S{n:03d}", str(bid), str(bid + D("0.01")), at))
        at += rng.randrange(1, 5 * SECOND)
    await land(ledger_url, market)
    mids = [(s.at_ns, (s.bid + s.ask) / 2) for s in market]
    with engine.connect() as connection:
        day = DayMarket(connection, DAY)
        for _ in range(300):
            begin = rng.randrange(T0 - SECOND, at)
            end = begin + rng.choice([0, 1, SECOND, rng.randrange(1, 600 * SECOND)])
            standing = [m for m in mids if m[0] <= begin][-1:]
            told = twap([*standing, *(m for m in mids if m[0] > begin)], begin, end)
            assert day.average("BTCUSDT", begin, end) == told


async def test_the_average_of_what_the_market_traded(ledger_url: str, engine: Engine) -> None:
    """Of C1, from 1 s to 4 s: what was traded up to its arrival and after its last fill does not count."""
    volumes = {"S0": ("50", "1"), "S1": ("2", "202"), "S1b": ("0", "0"), "S2": ("70", "7")}
    facts = [
        *a_day(),
        snapshot("S1b", "100.5", "101.5", T0 + 4 * SECOND),
        snapshot("S1a", "100", "101", T0 + SECOND),
    ]
    volumes["S1a"] = ("60", "6")  # at the arrival itself: before it
    facts.append(snapshot("S1c", "100", "101", T0 + 2 * SECOND))
    volumes["S1c"] = ("1", "99.25")
    told = [
        msgspec.structs.replace(
            f, traded_qty=D(volumes[f.snapshot_id][0]), traded_notional=D(volumes[f.snapshot_id][1])
        )
        if isinstance(f, Snapshot) and f.snapshot_id in volumes
        else f
        for f in facts
    ]
    await land(ledger_url, told)
    derive_finals(engine, DAY, Policy())
    average = exact_ratio(D("99.25") + 202, D(3))
    assert average == D("100.416666666667")
    first = finals(ledger_url)["E1"]
    assert first["interval_vwap_bps"] == exact_ratio((D("100.25") - average) * 10_000, average)
    orders = costs(ledger_url)
    paid = exact_ratio(D("100.25") + 202, D(3))
    assert (orders["C1"]["interval_vwap"], orders["C1"]["interval_vwap_reason"]) == (average, None)
    assert orders["C1"]["interval_vwap_bps"] == exact_ratio((paid - average) * 10_000, average)
    sold = orders["C2"]
    assert sold["interval_vwap_bps"] == exact_ratio((average - 100) * 10_000, average)  # a sale below it is a cost
    assert (orders["C3"]["interval_vwap"], orders["C3"]["interval_vwap_reason"]) == (None, "not_executed")
    assert (orders["C4"]["interval_vwap"], orders["C4"]["interval_vwap_reason"]) == (None, "no_market_trades")
    assert [c.count for c in derive_finals(engine, DAY, Policy())] == [0, 0]


async def test_figures_in_columns_are_those_of_the_rules(ledger_url: str, engine: Engine) -> None:
    """Random prices of all sizes, inverse contracts, stale and missing snapshots, text that COPY must escape."""
    rng = random.Random(11)
    symbols = {"BTCUSDT": (100_000, 2), "PEPEUSDT": (1, 12), "HUGE": (10**14, 4), "BTCUSD": (100_000, 1)}
    facts: list[Fact] = []
    market: list[Snapshot] = []
    for symbol, (level, places) in symbols.items():
        for n in range(60):
            bid = D(rng.randrange(level * 8, level * 12) * 10**places // 10 + 1) / 10**places
            at = T0 + rng.randrange(0, 500 * SECOND)
            traded = {"traded_qty": D(n % 3), "traded_notional": D(n % 3) * bid} if n % 2 else {}
            quote = snapshot(f"S\\{symbol}\t{n}", str(bid), str(bid + D(1) / 10**places), at, symbol)
            market.append(msgspec.structs.replace(quote, **traded))
        for n in range(8):
            at, side = T0 + rng.randrange(0, 300 * SECOND), rng.choice([Side.BUY, Side.SELL])
            name = f"{symbol}-{n}"
            facts.append(intent(f"C\\{name}", f"M{name}", qty="9", side=side, symbol=symbol, at=at))
            for fill in range(3):
                px = D(rng.randrange(level * 8, level * 12) * 10**places // 10 + 1) / 10**places
                facts.append(
                    report(f"E{name}{fill}", cl_ord_id=f"M{name}", qty="1", px=str(px), side=side, symbol=symbol,
                           at=at + rng.randrange(0, 400 * SECOND), fee="0")
                )  # fmt: skip
    inverse = Instrument("ALPHA", "BTCUSD", InstrumentKind.INVERSE, "BTC", "USD", "BTC", D(100))
    await land(ledger_url, [*market, *facts])
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO execution.instruments (venue, symbol, kind, base, quote, settlement, contract_size) "
            "VALUES ('ALPHA', 'BTCUSD', 'inverse', 'BTC', 'USD', 'BTC', 100)"
        )
    derive_finals(engine, DAY, Policy())
    book = SnapshotBook()
    book.add(market)
    known_until = max(s.at_ns for s in market)
    executed = rows(
        ledger_url,
        "SELECT f.*, e.side, e.symbol, e.last_px, e.transact_ns, o.routed_ns FROM execution.slippage_finals f "
        "JOIN execution.executions e USING (execution_id, trade_date) "
        "JOIN execution.orders o ON o.correlation_id = e.correlation_id",
    )
    assert len(executed) == 96
    for row in executed:
        divides = row["symbol"] == inverse.symbol
        side, price = Side(row["side"]), row["last_px"]
        for horizon, ahead in HORIZONS.items():
            wanted = row["transact_ns"] + ahead
            told = markout(
                side, price, wanted, book.at_or_before(row["symbol"], wanted), known_until_ns=known_until,
                stale_after_ns=Policy().slippage.stale_after_ns, inverse=divides,
            )  # fmt: skip
            name = f"markout_{horizon}"
            assert (row[f"{name}_bps"], row[f"{name}_mid"]) == (told.bps, told.benchmark)
            assert (row[f"{name}_snapshot_id"], row[f"{name}_reason"]) == (told.snapshot_id, told.reason)
        [cost] = [c for c in costs(ledger_url).values() if c["correlation_id"] == row["correlation_id"]]
        last = max(r["transact_ns"] for r in executed if r["correlation_id"] == row["correlation_id"])
        average = interval_vwap((s for s in market if s.symbol == row["symbol"]), row["routed_ns"], last)
        assert cost["interval_vwap"] == average
        if average is not None:
            assert row["interval_vwap_bps"] == slippage_bps(side, price, average, inverse=divides)
    assert {row["symbol"] for row in executed if row["interval_vwap_bps"] is not None} == set(symbols)
    assert [c.count for c in derive_finals(engine, DAY, Policy())] == [0, 0]


async def test_a_fee_in_a_third_currency_of_an_earlier_day_is_known(ledger_url: str, engine: Engine) -> None:
    """An order of two days pays in BNB on both: each fee at the rate of its own fill."""
    day_ns = 86_400 * SECOND

    def paid(name: str, qty: str, at: int) -> Captured:
        captured = report(name, qty=qty, px="100", at=at, fee="0.01")
        return msgspec.structs.replace(
            captured, report=msgspec.structs.replace(captured.report, fee_currency="BNB")
        )

    facts: list[Fact] = [
        snapshot("R1", "500", "500", T0, "BNBUSDT"),
        snapshot("R2", "600", "600", T0 + day_ns, "BNBUSDT"),
        snapshot("S1", "100", "100", T0),
        intent("C1", "M1", qty="3", decision="100", at=T0),
        paid("E1", "1", T0 + SECOND),
        paid("E2", "2", T0 + day_ns + SECOND),
    ]
    async with connected(ledger_url) as connection:
        known = await load_instruments(connection)
        book = Book(SnapshotBook(), instruments=known)
        await Landing(connection).land(decide(book, facts, with_instruments(Policy(), known)))
    derive_finals(engine, DAY, Policy())
    derive_finals(engine, DAY + timedelta(days=1), Policy())
    told = rows(ledger_url, "SELECT explicit, quality_reason FROM execution.order_costs ORDER BY trade_date")
    assert [row["explicit"] for row in told] == [5, 11]  # 0.01 BNB at 500, then another at 600
    assert "no_fee" not in (told[1]["quality_reason"] or "")


async def test_what_becomes_of_an_order_later_does_not_change_its_earlier_days(
    ledger_url: str, engine: Engine
) -> None:
    """A GTC order for 10 fills 4, is replaced to 5 on the next day, fills the rest and another is canceled."""
    day_ns = 86_400 * SECOND
    next_day = DAY + timedelta(days=1)
    book = Book(SnapshotBook())
    first: list[Fact] = [
        snapshot("S1", "99", "101", T0),
        snapshot("S2", "89", "91", T0 + day_ns),  # the market is known to the day's end
        intent("C1", "M1", qty="10", decision="99", at=T0),
        intent("C2", "N1", qty="7", decision="99", at=T0),
        intent("C3", "P1", qty="8", decision="99", at=T0),
        order_report(ExecType.NEW, cl_ord_id="M1", status=OrdStatus.NEW, qty="10", at=T0 + SECOND),
        order_report(ExecType.NEW, cl_ord_id="N1", status=OrdStatus.NEW, qty="7", at=T0 + SECOND),
        intent("C3", "P2", action=Action.REPLACE, orig="P1", qty="6", at=T0 + 2 * SECOND),
        order_report(ExecType.REPLACED, cl_ord_id="P2", orig="P1", qty="6", at=T0 + 3 * SECOND),
        report("E1", qty="4", px="100", at=T0 + 2 * SECOND, fee="0"),
    ]
    await land(ledger_url, first, book)

    def derived() -> tuple[str, dict[str, tuple[Any, ...]]]:
        _, changes = derive_finals(engine, DAY, Policy())
        found = [r for r in rows(ledger_url, "SELECT * FROM execution.order_costs") if r["trade_date"] == DAY]
        told = {r["correlation_id"]: (r["order_qty"], r["state"], r["opportunity"]) for r in found}
        return changes.digest, told

    before = derived()
    assert before[1] == {"C1": (10, "open", 6), "C2": (7, "open", 7), "C3": (6, "open", 6)}
    later: list[Fact] = [
        intent("C1", "M2", action=Action.REPLACE, orig="M1", qty="5", at=T0 + day_ns),
        order_report(ExecType.REPLACED, cl_ord_id="M2", orig="M1", qty="5", at=T0 + day_ns + SECOND),
        report("E2", cl_ord_id="M2", qty="1", px="90", at=T0 + day_ns + 2 * SECOND, fee="0"),
        order_report(ExecType.CANCELED, cl_ord_id="N1", at=T0 + day_ns),
        order_report(ExecType.RESTATED, cl_ord_id="P2", qty="3", at=T0 + day_ns),
    ]
    await land(ledger_url, later, book)
    stands = rows(ledger_url, "SELECT correlation_id, order_qty, closed FROM execution.order_standings ORDER BY 1")
    assert [(r["order_qty"], r["closed"]) for r in stands] == [(5, None), (None, "Canceled"), (3, None)]
    assert derived() == before
    derive_finals(engine, next_day, Policy())
    cost = rows(ledger_url, "SELECT * FROM execution.order_costs ORDER BY trade_date")[-1]
    assert (cost["trade_date"], cost["correlation_id"]) == (next_day, "C1")
    assert (cost["order_qty"], cost["filled_qty"], cost["state"]) == (5, 5, "filled")

    # what happened on the day counts, however late it is told
    await land(
        ledger_url, [order_report(ExecType.CANCELED, cl_ord_id="N1", at=T0 + 4 * SECOND, exec_id="X")], book
    )
    assert derived()[1] == {**before[1], "C2": (7, "closed", 7)}


async def test_what_a_venue_gave_and_what_was_open(ledger_url: str, engine: Engine) -> None:
    await land(ledger_url, a_day())
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("INSERT INTO execution.feed_counts VALUES ('ALPHA.ws', %s, 7)", [DAY])
        connection.execute(
            "INSERT INTO execution.breaks "
            "(break_id, correlation_id, kind, ours, theirs, opened_at, ended_at, ended_how) "
            "SELECT gen_random_uuid(), 'C1', 'overfill', '1', '2', d + make_interval(mins => o), "
            "d + make_interval(mins => e), 'facts' "
            "FROM (SELECT %s::date::timestamp AT TIME ZONE 'UTC' AS d) t, "
            "(VALUES (10, 11), (10, 40), (60, 2880), (-90, -60)) AS b(o, e)",
            [DAY],
        )
    derive_breaks(engine, DAY)
    shown = rows(
        ledger_url, "SELECT age, state, venue, symbol FROM execution.reconciliation_breaks ORDER BY age_seconds"
    )
    assert [(r["age"], r["state"]) for r in shown] == [
        ("< 2 min", "ended"),
        ("< 1 h", "ended"),
        ("< 1 day", "open"),
    ]
    assert {(r["venue"], r["symbol"]) for r in shown} == {("ALPHA", "BTCUSDT")}
    assert derive_breaks(engine, DAY).count == 0

    derive_quality(engine, DAY, SLO_US)
    [venue] = rows(ledger_url, "SELECT * FROM execution.venue_quality")
    assert (venue["venue"], venue["reports"], venue["duplicates"], venue["breaks"]) == ("ALPHA", 6, 7, 3)
    assert venue["latency_p50_us"] is not None
    assert derive_quality(engine, DAY, SLO_US).count == 0
    assert {r["asset"] for r in rows(ledger_url, "SELECT asset FROM execution.derivations")} == {
        "reconciliation_breaks", "venue_quality",
    }  # fmt: skip


async def test_orders_are_complete_as_the_check_has_it(ledger_url: str, engine: Engine) -> None:
    """A CumQty of zero, or from before a bust, claims nothing; a voided execution is ours to know."""
    filled = [
        intent(f"C{n}", f"M{n}", qty="9", at=T0 + SECOND) for n in range(1, 6)
    ] + [
        report("E1", cl_ord_id="M1", qty="1", cum="1", at=T0 + 2 * SECOND),
        report("E2", cl_ord_id="M2", qty="1", cum="0", at=T0 + 2 * SECOND),
        report("E3", cl_ord_id="M3", qty="1", cum="3", at=T0 + 2 * SECOND),
        report("B3", cl_ord_id="M3", kind=ReportKind.BUST, ref="E3", qty="1", at=T0 + 3 * SECOND),
        report("E4", cl_ord_id="M4", qty="1", cum="1", at=T0 + 2 * SECOND),
        report("E5", cl_ord_id="M5", qty="1", cum="2", at=T0 + 2 * SECOND),
    ]  # fmt: skip
    await land(ledger_url, filled)

    def counted() -> tuple[int, int]:
        derive_quality(engine, DAY, SLO_US)
        [row] = rows(ledger_url, "SELECT orders_complete, orders_claimed FROM execution.venue_quality")
        with engine.connect() as connection:
            totals = read_frame(connection, "order_totals", {"day": DAY})
        assert row["orders_claimed"] - row["orders_complete"] == int(totals["total"].notna().sum())
        return row["orders_complete"], row["orders_claimed"]

    assert counted() == (2, 3)
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.executions SET status = 'voided' WHERE exec_id IN ('E4', 'E5')")
    assert counted() == (1, 1)


async def test_the_analysts_file_has_exact_decimals_and_nothing_raw(
    ledger_url: str, engine: Engine, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    await land(ledger_url, a_day())
    derive_finals(engine, DAY, Policy())
    with engine.connect() as connection:
        path, count, _, digest = write_day(connection, DAY, tmp_path)
        written = path.stat().st_ino, path.stat().st_mtime_ns
        _, _, _, again = write_day(connection, DAY, tmp_path)
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == written  # an unchanged day's file stays
        path.write_bytes(path.read_bytes()[:-9])
        write_day(connection, DAY, tmp_path)  # a damaged one does not
        empty, none, _, _ = write_day(connection, utc_date(T0 + 864_000 * SECOND), tmp_path)
    table = pq.read_table(path)
    assert (count, none, digest == again) == (5, 0, True)
    assert pq.read_table(empty).num_rows == 0
    told = {row["exec_id"]: row for row in table.to_pylist()}
    for exec_id, row in finals(ledger_url).items():
        assert told[exec_id]["markout_10s_bps"] == row["markout_10s_bps"]
        assert told[exec_id]["interval_twap_bps"] == row["interval_twap_bps"]
    assert told["E1"]["last_px"] == D("100.25")
    assert not any(str(field.type).startswith(("float", "double", "binary")) for field in table.schema)
    assert not {"raw", "content", "feed"} & set(table.column_names)
    assert [p.name for p in path.parent.iterdir()] == ["slippage.parquet"]
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.executions SET last_px = 100.5 WHERE exec_id = 'E1'")
    with engine.connect() as connection:
        write_day(connection, DAY, tmp_path)
    [changed] = [row for row in pq.read_table(path).to_pylist() if row["exec_id"] == "E1"]
    assert changed["last_px"] == D("100.5")


@pytest.fixture
def frank(ledger_url: str) -> Iterator[Person]:
    with person(ledger_url, "frank", OPERATOR, BACKFILL) as who:
        yield who


async def test_a_backfill_takes_a_person_who_may(ledger_url: str, urls: dict[str, str], alice: Person) -> None:
    await land(ledger_url, a_day())
    for url, said in (
        (ledger_url, "is the database administrator's: log in as yourself"),
        (urls["dagster"], "is no person's: log in as yourself"),
        (alice.url, f"a backfill needs the role backfill, and {alice.name} has operator"),
    ):
        refused = CliRunner().invoke(app, ["backfill", str(DAY), str(DAY), "--url", url])
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
        assert said in refused.stderr
    assert rows(ledger_url, "SELECT * FROM execution.derivations") == []
    # without the command's SET ROLE the right is not there
    with psycopg.connect(alice.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE execution.executions SET last_px = 1")


async def test_a_backfill_says_what_would_change_before_it_changes(ledger_url: str, frank: Person) -> None:
    await land(ledger_url, a_day())
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.executions SET last_px = 1 WHERE exec_id = 'E1'")
        connection.execute("DELETE FROM execution.slippage_metrics WHERE kind = 'fill_mid'")

    def run(*options: str) -> Any:
        day = DAY.isoformat()
        return CliRunner().invoke(app, ["backfill", day, day, "--url", frank.url, *options])

    told = run("--dry-run", "--json")
    assert told.exit_code == 0, told.output
    planned = json.loads(told.stdout)
    by_table = {t["asset"]: (t["added"], t["changed"], t["removed"]) for t in planned["tables"]}
    assert by_table["executions"] == (0, 1, 0)
    assert by_table["slippage_metrics"] == (4, 0, 0)
    assert by_table["order_costs"] == (4, 0, 0)
    assert rows(ledger_url, "SELECT * FROM execution.derivations") == []
    assert run("--dry-run", "--json").stdout.split('"tables"')[1] == told.stdout.split('"tables"')[1]

    done = run()
    assert done.exit_code == 0, done.output
    assert "executions: 0 added, 1 changed, 0 removed (of 5)" in done.stdout
    assert "last_px: 1 -> 100.25" in done.stdout
    assert done.stdout.splitlines()[-1] == f"  dg launch --assets group:derived --partition-range {DAY}...{DAY}"
    told_of = "SELECT recorded_by, body FROM execution.audit_events WHERE event_type = 'executions_corrected'"
    [corrected] = rows(ledger_url, told_of)
    assert corrected["recorded_by"] == json.loads(corrected["body"])["detail"]["person"] == frank.name
    second = run("--json")
    assert json.loads(second.stdout)["changes"] == 0
    assert run("--dry-run").stdout.splitlines()[-1].startswith("1 days, 0 rows would change")


async def test_a_backfill_that_is_killed_goes_on_where_it_was(ledger_url: str, frank: Person) -> None:
    days = 4
    for n in range(days):
        at = T0 + n * 86_400 * SECOND
        await land(
            ledger_url,
            [
                snapshot(f"S{n}", "99", "101", at),
                intent(f"C{n}", f"M{n}", qty="3", at=at),
                report(f"E{n}", cl_ord_id=f"M{n}", qty="2", px="100", at=at + SECOND),
            ],
        )
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("UPDATE execution.executions SET last_px = 1")
    last = DAY + timedelta(days=days - 1)
    command = [str(Path(sys.executable).with_name("execution-agent")), "backfill", str(DAY), str(last), "--json"]
    with subprocess.Popen([*command, "--url", frank.url], stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.kill()  # one day is told, the next is under way
    assert process.returncode == -signal.SIGKILL
    assert first["changes"]
    right = "SELECT trade_date, last_px FROM execution.executions ORDER BY trade_date"
    assert rows(ledger_url, right)[0] == {"trade_date": DAY, "last_px": 100}
    again = CliRunner().invoke(app, ["backfill", str(DAY), str(last), "--json", "--url", frank.url])
    assert again.exit_code == 0, again.output
    told = [json.loads(line) for line in again.stdout.splitlines() if line.startswith("{")]
    assert told[0]["changes"] == 0
    assert told[-1]["changes"]
    assert {row["last_px"] for row in rows(ledger_url, right)} == {100}
    digests = "SELECT * FROM execution.derivations ORDER BY 1, 2"
    kept = rows(ledger_url, digests)
    assert len({row["trade_date"] for row in kept}) == days
    third = CliRunner().invoke(app, ["backfill", str(DAY), str(last), "--json", "--url", frank.url])
    assert '"changes":0' in third.stdout
    now = rows(ledger_url, digests)
    assert [row["digest"] for row in now] == [row["digest"] for row in kept]


def test_a_backfill_refuses_dates_that_are_none() -> None:
    for arguments, said in (
        (["2026-11-20", "soon"], "TO='soon'"),
        (["2026-11-20", "2026-11-19"], "TO=2026-11-19"),
    ):
        found = CliRunner().invoke(app, ["backfill", *arguments, "--url", "postgresql://nobody@127.0.0.1:1/x"])
        assert found.exit_code == 2
        assert said in found.output
    gone = CliRunner().invoke(
        app, ["backfill", "2026-11-20", "2026-11-20", "--url", "postgresql://nobody@127.0.0.1:1/x"]
    )
    assert gone.exit_code == 1
    assert "the ledger could not be asked: " in gone.output
