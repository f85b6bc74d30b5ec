"""Late orders: what is expected, which orders can be late, the table of cases, and what always holds of hedges."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.delays import (
    DelayOutcome,
    DelayPolicy,
    Expected,
    Late,
    OrderType,
    PastDelay,
    expected_of,
    is_marketable,
    terms_of,
)
from ledger.domain.hedges import HedgeStatus
from ledger.domain.records import Action, ExecType, OrdStatus, Side
from streaming.delay_lines import LOOKS, Learned, Line, Waiting
from tests.unit.domain.facts import SECOND, T0, bust, intent, order_report, report, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision
    from ledger.domain.delay_rows import DelayRows
    from ledger.domain.records import OrderIntent

D = Decimal
WAIT = 5 * SECOND
DELAY = DelayPolicy(hedge_limits={"USDT": D(500)})
POLICY = Policy(delays={"ALPHA": DELAY})
RULES = DelayPolicy(floor_ns=2 * SECOND, ceiling_ns=30 * SECOND, samples=200)


class World:
    """A ledger in memory: facts go in by batches."""

    def __init__(self, *facts: Fact, policy: Policy = POLICY) -> None:
        self.book = Book()
        self.policy = policy
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.take(*facts)

    def take(self, *facts: Fact) -> Decision:
        for fact in facts:
            if isinstance(fact, Late) and not self.book.delays.knows(fact.correlation_id):
                self.book.delays.past[fact.correlation_id] = None
        decision = decide(self.book, list(facts), self.policy)
        self.book.apply(decision)
        self.events += [(e.event_type, json.loads(e.body)) for e in decision.events]
        return decision

    def changed(self, *facts: Fact) -> DelayRows | None:
        return self.take(*facts).delays

    def said(self, prefix: str) -> list[str]:
        return [event for event, _ in self.events if event.startswith(prefix)]


def late(
    seconds: int = 6, correlation_id: str = "C1", *, expected: Expected | None = None, since: int = 0
) -> Late:
    at = T0 + seconds * SECOND
    return Late("C1", "ALPHA", "BTCUSDT", at, Expected(WAIT, 800), since, "live")


def order(limit: str | None = None, **changes: Any) -> OrderIntent:
    return msgspec.structs.replace(intent(limit=limit, **changes), currency="USDT")


def market(*seconds: int, bid: str = "99", ask: str = "101") -> list[Fact]:
    return [snapshot(f"S{n}", bid, ask, T0 + n * SECOND) for n in seconds or (0, 6)]


# --- what is expected --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "p99", "samples", "wanted"),
    [
        ({}, OrderType.MARKET, None, 0, Expected(30 * SECOND)),
        ({}, OrderType.MARKET, 5 * SECOND, 199, Expected(30 * SECOND)),
        ({}, OrderType.MARKET, 5 * SECOND, 200, Expected(5 * SECOND, 200)),
        ({}, OrderType.LIMIT, SECOND, 200, Expected(2 * SECOND, 200)),
        ({}, OrderType.LIMIT, 99 * SECOND, 200, Expected(30 * SECOND, 200)),
        ({"market_ns": 7}, OrderType.MARKET, 5 * SECOND, 900, Expected(7)),
        ({"market_ns": 7}, OrderType.LIMIT, 5 * SECOND, 900, Expected(5 * SECOND, 900)),
        ({"limit_ns": 8}, OrderType.LIMIT, 5 * SECOND, 900, Expected(8)),
    ],
    ids=["nothing known", "too few", "learned", "floor", "ceiling", "market set", "of market only", "limit set"],
)
def test_the_expected_time(
    changes: dict[str, int], kind: OrderType, p99: int | None, samples: int, wanted: Expected
) -> None:
    assert expected_of(msgspec.structs.replace(RULES, **changes), kind, p99, samples) == wanted


def test_the_p99_is_learned_by_venue_and_type_from_the_newest() -> None:
    learned = Learned()
    for n in range(2_000):
        learned.add("ALPHA", OrderType.MARKET, (n % 1_000 + 1) * SECOND // 100)
        learned.add("BETA", OrderType.MARKET, 29 * SECOND)
    assert learned.expected("ALPHA", OrderType.MARKET, RULES) == Expected(990 * SECOND // 100, 1_000)
    assert learned.expected("BETA", OrderType.MARKET, RULES) == Expected(29 * SECOND, 1_000)
    assert learned.expected("ALPHA", OrderType.LIMIT, RULES) == Expected(30 * SECOND)


# --- which orders can be late ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "limit", "wanted"),
    [
        (Side.BUY, None, True),
        (Side.BUY, "101", True),
        (Side.BUY, "100.99", False),
        (Side.SELL, None, True),
        (Side.SELL, "99", True),
        (Side.SELL, "99.01", False),
    ],
)
def test_a_limit_away_from_the_touch_rests(side: Side, limit: str | None, wanted: bool) -> None:
    terms = terms_of(World(order(limit, side=side)).book.orders["C1"])
    assert terms is not None
    assert is_marketable(terms, snapshot("S1", "99", "101")) is wanted
    assert is_marketable(terms, None) is (limit is None)


def test_of_two_limits_the_one_that_is_harder_to_fill_counts() -> None:
    replace = order("90", msg_id="M2", action=Action.REPLACE, orig="M1", at=T0 + SECOND)
    terms = terms_of(World(order("105"), replace).book.orders["C1"])
    assert terms is not None
    assert (terms.limit, terms.since_ns, terms.order_type) == (D(90), T0 + SECOND, OrderType.LIMIT)


CASES: list[tuple[str, list[Fact], Late, bool]] = [
    ("in time", [order(), *market()], late(5), False),
    ("a second late", [order(), *market()], late(6), True),
    ("no snapshot", [order()], late(6), True),
    ("filled", [order(), *market(), report(qty="10")], late(9), False),
    ("filled a second ago", [order(), *market(), report(at=T0 + 5 * SECOND)], late(6), False),
    ("half filled, and late since", [order(), *market(), report(at=T0 + SECOND)], late(7), True),
    ("canceled", [order(), *market(), order_report(ExecType.CANCELED)], late(9), False),
    ("rejected", [order(), *market(), order_report(ExecType.REJECTED, status=OrdStatus.REJECTED)], late(9), False),
    ("done for the day", [order(), *market(), order_report(ExecType.DONE_FOR_DAY)], late(9), False),
    ("suspended", [order(), *market(), order_report(ExecType.SUSPENDED)], late(9), False),
    ("accepted, and no more", [order(), *market(), order_report(ExecType.NEW)], late(9), True),
    ("nobody listened before", [order(), *market()], late(9, since=T0 + 4 * SECOND), False),
    ("a limit beyond the touch", [order("101"), *market()], late(6), True),
    ("a limit between the touches", [order("100"), *market()], late(6), False),
    ("a limit, and no snapshot", [order("101")], late(6), False),
    ("a limit, and an old snapshot", [order("101"), *market(0)], late(60), False),
    (
        "a limit that the market has come to only now",
        [order("101"), *market(0, bid="101", ask="103"), *market(6)],
        late(6),
        False,
    ),
    (
        "a limit that the market has left",
        [order("101"), *market(0), *market(6, bid="101", ask="103")],
        late(6),
        False,
    ),
    ("unknown", [], late(9), False),
]


@pytest.mark.parametrize(("facts", "asked", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_table_of_cases(facts: list[Fact], asked: Late, wanted: bool) -> None:
    rows = World(*facts).changed(asked)
    assert (rows is not None) == wanted
    assert rows is None or len(rows.delays) == 1


def test_a_fact_of_the_same_batch_is_known_first() -> None:
    assert World(order(), *market()).changed(late(6), report(qty="10")) is None


def test_a_venue_that_is_not_watched_has_no_late_orders() -> None:
    assert World(order(), *market(), policy=Policy()).changed(late(6)) is None


# --- what is told ------------------------------------------------------------------------------------------


def test_one_decision_tells_the_order_agent_the_venue_and_the_hedger() -> None:
    world = World(order(venue_order_id="V1"), *market())
    world.events.clear()
    world.take(late(6))
    notice, status, hedge = [body["detail"] for _, body in world.events]
    assert [event for event, _ in world.events] == [
        "fill_delay_began",
        "venue_status_requested",
        "hedge_requested",
    ]
    assert (notice["waited_seconds"], notice["expected_seconds"], notice["samples"]) == ("6", "5", "800")
    assert (status["cl_ord_id"], status["venue_order_id"]) == ("M1", "V1")
    assert (hedge["side"], hedge["quantity"], hedge["price"], hedge["exposure"]) == ("sell", "10", "101", "1000")
    assert (hedge["confidence"], hedge["snapshot_id"], hedge["snapshot_age_seconds"]) == ("high", "S6", "0")
    assert {body["correlation_id"] for _, body in world.events} == {"C1"}


@pytest.mark.parametrize(
    ("facts", "asked", "why"),
    [
        ([order()], late(6), "there is no snapshot of BTCUSDT that is recent enough"),
        ([order(), *market(0)], late(40), "there is no snapshot of BTCUSDT that is recent enough"),
        ([order(qty="5"), *market()], late(6), "the exposure is within the venue's limit"),
        ([intent(), *market()], late(6), "the currency of the exposure is not known"),
    ],
)
def test_a_late_order_that_is_not_hedged_says_why(facts: list[Fact], asked: Late, why: str) -> None:
    world = World(*facts)
    rows = world.changed(asked)
    assert rows is not None
    assert not rows.hedges
    assert world.events[-2][1]["detail"]["no_hedge_reason"] == why


# --- what ends it ------------------------------------------------------------------------------------------

ENDS: list[tuple[str, list[Fact], DelayOutcome | None, HedgeStatus | None, str | None]] = [
    ("all fills", [report(qty="10")], DelayOutcome.FILLED, HedgeStatus.CONFIRMED, "0"),
    ("in two", [report(qty="4"), report("E2", qty="6")], DelayOutcome.FILLED, HedgeStatus.CONFIRMED, "0"),
    ("a part", [report(qty="4")], DelayOutcome.PARTIALLY_FILLED, HedgeStatus.ADJUSTED, "-6"),
    ("more", [report(qty="11")], DelayOutcome.FILLED, HedgeStatus.ADJUSTED, "1"),
    ("a fill and its bust", [report(qty="4"), bust("E2", "E1")], None, None, None),
    ("canceled", [order_report(ExecType.CANCELED)], DelayOutcome.CLOSED, HedgeStatus.WITHDRAWN, "-10"),
    ("expired", [order_report(ExecType.EXPIRED)], DelayOutcome.CLOSED, HedgeStatus.WITHDRAWN, "-10"),
    (
        "rejected",
        [order_report(ExecType.REJECTED, status=OrdStatus.REJECTED)],
        DelayOutcome.CLOSED,
        HedgeStatus.WITHDRAWN,
        "-10",
    ),
    (
        "a part, then canceled",
        [report(qty="4"), order_report(ExecType.CANCELED, at=T0 + 8 * SECOND)],
        DelayOutcome.FILLED,
        HedgeStatus.ADJUSTED,
        "-6",
    ),
    (
        "the venue says it is working",
        [order_report(ExecType.ORDER_STATUS, status=OrdStatus.NEW, cum="0", at=T0 + 7 * SECOND)],
        DelayOutcome.WORKING,
        HedgeStatus.WITHDRAWN,
        "-10",
    ),
    ("the venue said so before", [order_report(ExecType.NEW, cum="0", at=T0 + SECOND)], None, None, None),
    (
        "the venue counts more than we have",
        [order_report(ExecType.ORDER_STATUS, status=OrdStatus.PARTIALLY_FILLED, cum="4", at=T0 + 7 * SECOND)],
        None,
        None,
        None,
    ),
    ("it is accepted", [order_report(ExecType.NEW, at=T0 + 7 * SECOND)], None, None, None),
]


@pytest.mark.parametrize(
    ("facts", "outcome", "status", "difference"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS]
)
def test_the_table_of_ends(
    facts: list[Fact], outcome: DelayOutcome | None, status: HedgeStatus | None, difference: str | None
) -> None:
    world = World(order(), *market())
    world.take(late(6))
    rows = world.changed(*facts)
    if outcome is None:
        assert rows is None
        assert "C1" in world.book.delays.open
        return
    assert rows is not None
    (ended,), (hedge,) = rows.delays_ended, rows.hedges_ended
    assert (ended.outcome, hedge.status, hedge.difference) == (outcome, status, D(difference or ""))
    assert hedge.filled_qty == ended.filled_qty
    assert world.said("hedge_") == ["hedge_requested", f"hedge_{status}"]
    assert world.book.delays.open == {}


def test_only_what_fills_after_it_began_counts() -> None:
    world = World(order(), *market(0, 6, 7), report(qty="2", at=T0 + SECOND))
    world.take(late(7))
    rows = world.changed(report("E2", qty="8", at=T0 + 8 * SECOND))
    assert rows is not None
    assert (rows.hedges_ended[0].status, rows.hedges_ended[0].filled_qty) == (HedgeStatus.CONFIRMED, D(8))


# --- once a delay ------------------------------------------------------------------------------------------


def test_a_tick_that_comes_twice_and_a_fill_that_comes_twice_change_nothing() -> None:
    world = World(order(), *market())
    first = world.changed(late(6), late(6), late(7))
    assert first is not None
    assert (len(first.delays), len(first.hedges)) == (1, 1)
    assert world.changed(late(8)) is None
    assert world.changed(report(qty="4")) is not None
    assert world.changed(report(qty="4")) is None
    assert world.changed(late(8)) is None, "it has just been found out about"


def test_the_same_decision_again_gives_the_same_bytes() -> None:
    world = World(order(), *market())
    world.book.delays.past["C1"] = None
    once, again = (decide(world.book, [late(6)], POLICY) for _ in range(2))
    assert [(e.event_id, e.body) for e in once.events] == [(e.event_id, e.body) for e in again.events]


def test_an_order_may_be_late_again_under_another_number() -> None:
    world = World(order(), *market(0, 6, 9, 15))
    world.take(late(6))
    world.take(report(qty="2", at=T0 + 8 * SECOND))
    assert world.book.delays.past["C1"] == PastDelay(1, T0 + 8 * SECOND, DelayOutcome.PARTIALLY_FILLED)
    rows = world.changed(late(14))
    assert rows is not None
    assert (rows.delays[0].episode, rows.hedges[0].quantity) == (2, D(8))


def test_a_venue_that_says_it_is_working_is_believed_the_next_time() -> None:
    world = World(order(), *market(0, 6, 9, 15))
    world.take(late(6))
    world.take(order_report(ExecType.ORDER_STATUS, status=OrdStatus.NEW, cum="0", at=T0 + 7 * SECOND))
    rows = world.changed(late(14))
    assert rows is not None
    assert (len(rows.delays), rows.hedges) == (1, [])


# --- what always holds -------------------------------------------------------------------------------------


@st.composite
def days(draw: st.DrawFn) -> list[list[Fact]]:
    """An order's day in batches: fills, busts, statuses, ticks, each maybe twice, in any grouping."""
    facts: list[Fact] = []
    fills = 0
    for second in range(1, draw(st.integers(3, 40))):
        at = T0 + second * SECOND
        what = draw(st.sampled_from(["tick", "tick", "tick", "fill", "bust", "status", "snapshot", "end"]))
        if what == "tick":
            facts.append(late(second))
        elif what == "fill":
            fills += 1
            facts.append(report(f"E{fills}", qty=draw(st.sampled_from(["1", "2.5", "10"])), at=at))
        elif what == "bust" and fills:
            facts.append(bust(f"B{second}", f"E{draw(st.integers(1, fills))}", at=at))
        elif what == "status":
            facts.append(order_report(ExecType.ORDER_STATUS, status=OrdStatus.NEW, cum="0", at=at))
        elif what == "snapshot":
            facts.append(snapshot(f"S{second}", "99", "101", at))
        elif what == "end" and draw(st.booleans()):
            facts.append(order_report(draw(st.sampled_from([ExecType.CANCELED, ExecType.EXPIRED])), at=at))
    again = draw(st.lists(st.sampled_from(facts), max_size=10)) if facts else []
    stream: list[Fact] = facts + again
    batches: list[list[Fact]] = [[order(qty="20"), *market(0)]]
    while stream:
        size = draw(st.integers(1, 4))
        batches.append(stream[:size])
        stream = stream[size:]
    return batches


@settings(max_examples=150)
@given(days())
def test_never_two_open_hedges_and_each_ends_with_what_filled(batches: Sequence[list[Fact]]) -> None:
    world = World()
    open_hedge: tuple[str, Decimal, Decimal] | None = None
    seen: set[str] = set()
    for batch in batches:
        decision = world.take(*batch)
        rows = decision.delays
        state = world.book.orders["C1"]
        for ended in rows.hedges_ended if rows is not None else ():
            assert open_hedge is not None
            hedge_id, quantity, cum_before = open_hedge
            assert ended.hedge_id == hedge_id
            filled = max(D(0), state.cum_qty - cum_before)
            assert quantity + ended.difference == ended.filled_qty == filled
            assert (ended.status is HedgeStatus.WITHDRAWN) == (not filled)
            open_hedge = None
        for hedge in rows.hedges if rows is not None else ():
            assert open_hedge is None
            assert hedge.hedge_id not in seen
            seen.add(hedge.hedge_id)
            open_hedge = (hedge.hedge_id, hedge.quantity, state.cum_qty)
            assert hedge.quantity == state.leaves_qty > 0
        if not state.leaves_qty:
            assert open_hedge is None
            assert world.book.delays.open == {}
    ids = [body["event_id"] for event, body in world.events if event.startswith(("hedge", "fill_delay", "venue_"))]
    assert len(ids) == len(set(ids))


# --- whom to look at ---------------------------------------------------------------------------------------


def test_a_line_gives_a_bounded_number_the_oldest_first() -> None:
    terms = terms_of(World(order()).book.orders["C1"])
    assert terms is not None
    line = Line({str(n): Waiting(terms, n) for n in range(3 * LOOKS)})
    first = line.due(2 * LOOKS, 2 * LOOKS)
    assert [*first] == [str(n) for n in range(LOOKS)]
    for name, waiting in first.items():
        line.put_back(name, waiting, 10_000)
    second = line.due(2 * LOOKS, 2 * LOOKS)
    assert [*second] == [str(n) for n in range(LOOKS, 2 * LOOKS)]
    for name in second:
        line.remove(name)
    assert line.due(2 * LOOKS, 9_999) == {}
    assert [*line.due(2 * LOOKS, 10_000)] == [*first]
