"""Worlds of facts for the tests of convergence, and the rows that a Postgres would hold of them.

A world is a list of facts that could have been said: orders with replaces and cancels, fills in every wording,
busts, corrects of corrects, splits, order reports, claims right and wrong, snapshots. Nothing in it is ordered.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.digest import digest_of
from ledger.domain.records import Action, ExecType, OrdStatus, Side
from tests.unit.domain.facts import SECOND, T0, bust, correct, intent, order_report, report, snapshot

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from ledger.domain.decision import Decision, Pending
    from ledger.domain.order import OrderState
    from ledger.domain.records import Break, Execution, SlippageMetric

DAY = 86_400 * SECOND
FILL_EVENTS = frozenset({"fill", "bust", "correct"})


class Ledger:
    """The rows a Postgres would hold, kept by applying decisions; it refuses what Postgres would refuse."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.book = Book()
        self.policy = policy or Policy()
        self.executions: dict[str, Execution] = {}
        self.metrics: dict[tuple[str, str], SlippageMetric] = {}
        self.waits: dict[tuple[str, str], Pending] = {}
        self.breaks: dict[str, Break] = {}
        self.events: list[tuple[str, str]] = []
        self.told: list[Any] = []
        self.learned: dict[tuple[str, str, str, str], tuple[int, str]] = {}
        self.event_ids: set[str] = set()
        self.letters: set[str] = set()

    def land(self, facts: Sequence[Fact]) -> Decision:
        decision = decide(self.book, facts, self.policy)
        for execution in decision.executions:
            assert execution.execution_id not in self.executions, "inserted twice"
            self.executions[execution.execution_id] = execution
        for execution in decision.executions_changed:
            assert execution.execution_id in self.executions
            self.executions[execution.execution_id] = execution
        for gone in decision.metrics_gone:
            del self.metrics[gone]
        for metric in decision.metrics:
            assert (metric.execution_id, metric.kind) not in self.metrics, "inserted twice"
            self.metrics[metric.execution_id, metric.kind] = metric
        for metric in decision.metrics_changed:
            assert (metric.execution_id, metric.kind) in self.metrics
            self.metrics[metric.execution_id, metric.kind] = metric
        self._land_waiting(decision)
        self._land_events(decision)
        self.book.apply(decision)
        return decision

    def _land_waiting(self, decision: Decision) -> None:
        gone, wordings = set(decision.pending_gone), set(decision.wordings_gone)
        self.waits = {key: p for key, p in self.waits.items() if key[0] not in gone and key not in wordings}
        for row in decision.pending:
            key = (row.row_id, row.content)
            assert key not in self.waits, "waits twice"
            self.waits[key] = row
        for found in decision.breaks + decision.breaks_changed:
            self.breaks[found.break_id] = found
        for ended in decision.breaks_ended:
            self.breaks.pop(ended.break_id, None)
        for letter in decision.dead_letters:
            assert letter.dead_letter_id not in self.letters, "a dead letter is kept once"
            self.letters.add(letter.dead_letter_id)
        for learned in decision.learned:
            name = (learned.venue, learned.kind, learned.reference, learned.correlation_id)
            assert name not in self.learned, "learned twice"
            self.learned[name] = (learned.routed_ns, learned.msg_id)

    def _land_events(self, decision: Decision) -> None:
        for event in decision.events:
            assert event.event_id not in self.event_ids, f"two events with one id: {event}"
            self.event_ids.add(event.event_id)
            if event.event_type in FILL_EVENTS:
                self.events.append((event.event_type, event.event_id))
                self.told.append(event)

    @property
    def pending(self) -> set[tuple[str, str]]:
        """The rows that wait, by id and content."""
        return set(self.waits)

    @property
    def waiting(self) -> list[Pending]:
        """The rows that wait."""
        return [self.waits[key] for key in sorted(self.waits)]

    @property
    def orders(self) -> dict[str, OrderState]:
        return self.book.orders

    def state(self) -> dict[str, object]:
        """What must be the same whatever came first: rows, digest, and where every order stands."""
        return {
            "digest": digest_of(self.executions.values(), self.metrics.values()),
            "pending": sorted(row_id for row_id, _ in self.pending),
            "breaks": sorted((b.break_id, b.kind, b.ours, b.theirs) for b in self.breaks.values()),
            "orders": {name: standing_of(order) for name, order in self.orders.items()},
            "learned": sorted(key for key in self.learned if key[2] not in self.orders[key[3]].intents),
        }


def standing_of(order: OrderState) -> tuple[object, ...]:
    """Where an order stands, as numbers and names."""
    return (
        order.standing, order.ord_status, order.order_qty, order.cum_qty, order.leaves_qty, order.avg_px,
        order.claim, sorted(order.suspects), sorted(order.unresolved), sorted(order.traded),
    )  # fmt: skip


def split(facts: list[Fact], rng: random.Random) -> list[list[Fact]]:
    """Cut facts into batches at random."""
    batches: list[list[Fact]] = [[]]
    for fact in facts:
        if rng.random() < 0.4:
            batches.append([])
        batches[-1].append(fact)
    return batches


_sides = st.sampled_from(list(Side))
_quantities = st.integers(1, 5).map(str)
_prices = st.integers(98, 102).map(str)
_seconds = st.integers(0, 9)


def _one_in(draw: st.DrawFn, times: int) -> bool:
    return draw(st.integers(1, times)) == times


@st.composite
def worlds(draw: st.DrawFn) -> list[Fact]:
    """Some orders with all that may be said of them, and snapshots."""
    facts: list[Fact] = []
    for number in range(draw(st.integers(1, 3))):
        facts += draw(_orders(number))
    facts += [
        snapshot(f"S{n}", "99", str(draw(st.integers(99, 103))), T0 + draw(st.integers(-9, 9)) * SECOND)
        for n in range(draw(st.integers(0, 4)))
    ]
    return facts


@st.composite
def _orders(draw: st.DrawFn, number: int) -> list[Fact]:
    """One order: its messages, its fills, what its venue says of it."""
    side = draw(_sides)
    messages = [f"M{number}"]
    facts: list[Fact] = [
        intent(
            f"C{number}",
            f"M{number}",
            side=side,
            qty=str(draw(st.integers(3, 30))),
            limit=draw(st.sampled_from([None, "101", "99"])),
            decision=draw(st.sampled_from([None, "100.25"])),
            at=T0 + draw(st.integers(0, 5)) * SECOND,
            venue_order_id=draw(st.sampled_from([None, None, f"V{number}"])),
        )
    ]
    for step in range(draw(st.integers(0, 2))):
        messages.append(f"R{number}-{step}")
        facts.append(
            intent(
                f"C{number}",
                messages[-1],
                action=draw(st.sampled_from([Action.REPLACE, Action.REPLACE, Action.CANCEL])),
                orig=messages[-2],
                side=side,
                qty=str(draw(st.integers(3, 30))),
                decision=draw(st.sampled_from([None, "100.5"])),
                at=T0 + (6 + step) * SECOND,
            )
        )
    for fill in range(draw(st.integers(0, 4))):
        facts += draw(_fills(f"E{number}-{fill}", number, messages, side))
    for _ in range(draw(st.integers(0, 4))):
        facts.append(draw(_order_reports(number, messages)))
    return facts


@st.composite
def _fills(draw: st.DrawFn, exec_id: str, number: int, messages: list[str], side: Side) -> list[Fact]:
    """One trade: the fill in one wording or more, whole or split, and what was said of it afterwards."""
    message, venue_order_id = draw(
        st.sampled_from([(m, v) for m in messages for v in (None, f"V{number}")] + [(None, f"V{number}")])
    )
    at = T0 + draw(_seconds) * SECOND
    said: dict[str, Any] = {
        "cl_ord_id": message, "venue_order_id": venue_order_id, "side": side, "at": at,
        "qty": draw(_quantities), "px": draw(_prices), "feed": draw(st.sampled_from(["ALPHA.fix", "ALPHA.ws"])),
    }  # fmt: skip
    if _one_in(draw, 3):
        said |= {"cum": str(draw(st.integers(0, 9))), "avg": draw(st.sampled_from([None, "0", "100"]))}
    facts: list[Fact] = [report(exec_id, **said)]
    tied = {"cl_ord_id": message, "venue_order_id": venue_order_id, "side": side}
    reference = exec_id
    for step in range(draw(st.integers(0, 2))):
        name = f"{exec_id}c{step}"
        ref = draw(st.sampled_from([reference, exec_id]))
        money = {"qty": said["qty"], "px": draw(_prices)}
        facts.append(correct(name, ref, at=at + SECOND, **money, **tied))
        reference = name
    if _one_in(draw, 3):
        facts.append(bust(f"{exec_id}b", draw(st.sampled_from([reference, "nobody"])), **tied, at=at + 2 * SECOND))
    if _one_in(draw, 5):  # the same ExecID on another day, as venues number
        facts.append(report(exec_id, **said | {"at": at + DAY}))
    if _one_in(draw, 5):  # a second bust
        facts.append(bust(f"{exec_id}x", exec_id, **tied, at=at))
    if _one_in(draw, 8):  # a conflicting duplicate
        other = {"px": "97"} if draw(st.booleans()) or message is None else {"cl_ord_id": messages[0]}
        facts.append(report(exec_id, **said | other))
    if _one_in(draw, 3):  # another feed's wording: it leaves something out, or fills it in, or has a finer time
        wordings: list[dict[str, Any]] = [
            {"fee": "0.1"}, {"venue_order_id": f"V{number}"}, {"at": at + 123},
            {"cum": None, "avg": None, "at": at + 1_000_000},
        ]  # fmt: skip
        if venue_order_id is not None:  # else nothing says that the two wordings are of one order
            wordings.append({"cl_ord_id": None, "fee": "0.1"})
        facts.append(report(exec_id, **said | draw(st.sampled_from(wordings))))
    if _one_in(draw, 6):
        facts += draw(_parts(exec_id, said))
    return facts


@st.composite
def _parts(draw: st.DrawFn, exec_id: str, said: dict[str, Any]) -> list[Fact]:
    """The same trade in parts, which need not add up; sometimes one is busted, or the whole twice."""
    qty = Decimal(said["qty"])
    first = draw(st.sampled_from([qty / 2, qty / 4, Decimal(1)]))
    sizes = [first, qty - first] if first < qty else [first]
    beside = {"cum": None, "avg": None, "part_of": exec_id}
    facts: list[Fact] = [
        report(f"{exec_id}p{n}", **said | beside | {"qty": str(size)}) for n, size in enumerate(sizes)
    ]
    tied = {name: said[name] for name in ("cl_ord_id", "venue_order_id", "side")}
    if _one_in(draw, 3):
        facts.append(bust(f"{exec_id}pb", f"{exec_id}p0", **tied, at=said["at"] + SECOND))
    if _one_in(draw, 3):
        facts += [bust(f"{exec_id}wb{n}", exec_id, **tied, at=said["at"] + n * SECOND) for n in range(2)]
    return facts


@st.composite
def _order_reports(draw: st.DrawFn, number: int, messages: list[str]) -> Fact:
    """One report of the order's state, by any of its names."""
    kind = draw(st.sampled_from(list(ExecType)))
    place = draw(st.integers(0, len(messages) - 1))
    message: str | None = messages[place]
    orig = messages[place - 1] if place and draw(st.booleans()) else None
    venue_order_id = draw(st.sampled_from([None, f"V{number}"]))
    if _one_in(draw, 6):  # a ClOrdID that no intent has: the venue's own
        message, orig = f"X{number}", draw(st.sampled_from([None, messages[0]]))
    if _one_in(draw, 6):
        message, orig, venue_order_id = None, None, f"V{number}"
    claims = _one_in(draw, 4)
    return order_report(
        kind,
        status=draw(st.sampled_from([None, *OrdStatus])) if kind in _TELLING else None,
        cl_ord_id=message,
        orig=orig,
        venue_order_id=venue_order_id,
        exec_id=draw(st.sampled_from([None, "9", "10"])),
        qty=draw(st.sampled_from([None, "7", "20"])),
        cum=str(draw(st.integers(0, 9))) if claims else None,
        avg=draw(st.sampled_from([None, "100"])) if claims else None,
        leaves=draw(st.sampled_from([None, "0", "3"])),
        at=T0 + draw(st.integers(0, 12)) * SECOND + draw(st.sampled_from([0, DAY])),
    )


_TELLING = frozenset({ExecType.ORDER_STATUS, ExecType.RESTATED, ExecType.NEW, ExecType.REJECTED})
