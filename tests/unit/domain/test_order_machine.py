"""A day at two feeds and a desk, step by step: orders, fills, busts, verdicts and the clock in any order.

After every step nothing is told twice, nothing while its order is on hold, and quantities are conserved; at the
end the same facts in other orders, with what two persons decided, come to the same rows. A failing run is printed
as the steps that led to it: keep it as a test by name in the module of the rule that was wrong.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.domain.decide import Fact, Policy
from ledger.domain.digest import digest_of
from ledger.domain.records import (
    Action,
    BreakKind,
    Captured,
    CapturedOrder,
    ExecType,
    ExecutionStatus,
    OrdStatus,
    Overdue,
    PendingReason,
    Resolution,
    Verdict,
    Waiting,
)
from ledger.domain.standing import closing
from ledger.domain.tolerances import Grace
from tests.unit.domain.facts import SECOND, T0, bust, correct, intent, order_report, report, resolution, snapshot
from tests.unit.domain.worlds import FILL_EVENTS, Ledger, split, standing_of

if TYPE_CHECKING:
    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState

EXAMPLES = max(20, int(os.environ.get("CONVERGENCE_EXAMPLES", "300")) // 2)
POLICY = Policy(grace=Grace(gap_ns=SECOND))
TOTALS = frozenset({BreakKind.CUM_QTY_DIFFERS, BreakKind.AVG_PX_DIFFERS})  # with a grace time, the clock's matter

orders = st.integers(0, 2)
quantities = st.integers(1, 6).map(str)
prices = st.integers(98, 102).map(str)
seconds = st.integers(0, 12)
feeds = st.sampled_from(["ALPHA.fix", "ALPHA.ws"])


class Day(RuleBasedStateMachine):
    """``said`` are all facts so far, ``unlanded`` those on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(POLICY)
        self.said: list[Fact] = []
        self.unlanded: list[Fact] = []
        self.decided: list[Resolution] = []
        self.fills: list[tuple[int, dict[str, Any], list[str]]] = []  # order, what its fill said, its ExecIDs
        self.messages: dict[int, list[str]] = {}
        self.names = 0

    def say(self, *facts: Fact) -> None:
        self.said += facts
        self.unlanded += facts

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    @initialize(qty=st.integers(4, 20).map(str), limit=st.sampled_from([None, "101"]))
    def route(self, qty: str, limit: str | None) -> None:
        for number in range(3):
            self.messages[number] = [f"M{number}"]
            self.say(intent(f"C{number}", f"M{number}", qty=qty, limit=limit, at=T0 + number * SECOND))

    # --- what is said -----------------------------------------------------------------------------------

    @rule(order=orders, action=st.sampled_from([Action.REPLACE, Action.CANCEL]), qty=quantities)
    def request(self, order: int, action: Action, qty: str) -> None:
        messages = self.messages[order]
        msg_id, orig = self.name("R"), messages[-1]
        at = T0 + 3 * SECOND + self.names
        self.say(intent(f"C{order}", msg_id, action=action, orig=orig, qty=qty, at=at))
        messages.append(msg_id)

    @rule(
        order=orders, qty=quantities, px=prices, at=seconds, feed=feeds, last=st.booleans(),
        tied=st.sampled_from(["c", "v", "cv"]), cum=st.sampled_from([None, None, "3", "6"]),
    )  # fmt: skip
    def fill(
        self, order: int, qty: str, px: str, at: int, feed: str, last: bool, tied: str, cum: str | None
    ) -> None:
        said: dict[str, Any] = {
            "cl_ord_id": self.messages[order][-1 if last else 0] if "c" in tied else None,
            "venue_order_id": f"V{order}" if "v" in tied else None,
            "qty": qty, "px": px, "at": T0 + at * SECOND, "feed": feed, "cum": cum,
        }  # fmt: skip
        exec_id = self.name("E")
        self.fills.append((order, said, [exec_id]))
        self.say(report(exec_id, **said))

    @precondition(lambda self: self.fills)
    @rule(which=st.randoms(use_true_random=False), change=st.sampled_from(["fee", "finer", "no ClOrdID", "px"]))
    def second_wording(self, which: random.Random, change: str) -> None:
        order, said, exec_ids = which.choice(self.fills)
        changed: dict[str, Any] = {
            "fee": {"fee": "0.1"}, "finer": {"at": said["at"] + 123, "cum": None},
            "no ClOrdID": {"cl_ord_id": None, "venue_order_id": f"V{order}"}, "px": {"px": "97"},
        }[change]  # fmt: skip
        if change != "no ClOrdID" or said["venue_order_id"] is not None:
            self.say(report(exec_ids[0], **said | changed | {"feed": "ALPHA.rest"}))

    @precondition(lambda self: self.fills)
    @rule(which=st.randoms(use_true_random=False), at=seconds)
    def take_back(self, which: random.Random, at: int) -> None:
        _, said, exec_ids = which.choice(self.fills)
        self.say(bust(self.name("B"), which.choice(exec_ids), **_tie(said), at=T0 + at * SECOND))

    @precondition(lambda self: self.fills)
    @rule(which=st.randoms(use_true_random=False), px=prices)
    def correct(self, which: random.Random, px: str) -> None:
        _, said, exec_ids = which.choice(self.fills)
        exec_id = self.name("K")
        at = T0 + (13 + len(exec_ids)) * SECOND
        self.say(correct(exec_id, which.choice(exec_ids[-2:]), **_tie(said), qty=said["qty"], px=px, at=at))
        exec_ids.append(exec_id)

    @precondition(lambda self: self.fills)
    @rule(which=st.randoms(use_true_random=False), first=st.integers(1, 5))
    def report_in_parts(self, which: random.Random, first: int) -> None:
        order, said, exec_ids = which.choice(self.fills)
        if "part_of" in said:
            return
        rest = int(said["qty"]) - first
        for qty in (first, rest) if rest > 0 else (first,):
            part = said | {"qty": str(qty), "cum": None, "part_of": exec_ids[0]}
            self.fills.append((order, part, [self.name("P")]))
            self.say(report(self.fills[-1][2][0], **part))

    @rule(
        order=orders, kind=st.sampled_from(list(ExecType)), at=st.integers(0, 20), last=st.booleans(),
        tied=st.sampled_from(["c", "v", "cv"]), qty=st.sampled_from([None, "5", "9"]),
        cum=st.sampled_from([None, None, "0", "4"]), status=st.sampled_from([None, *OrdStatus]),
    )  # fmt: skip
    def order_report(
        self, order: int, kind: ExecType, at: int, last: bool, tied: str, qty: str | None, cum: str | None,
        status: OrdStatus | None,
    ) -> None:  # fmt: skip
        messages = self.messages[order]
        place = len(messages) - 1 if last else 0
        self.say(
            order_report(
                kind,
                status=status if kind in {ExecType.ORDER_STATUS, ExecType.RESTATED, ExecType.REJECTED} else None,
                cl_ord_id=messages[place] if "c" in tied else None,
                orig=messages[place - 1] if place and "c" in tied else None,
                venue_order_id=f"V{order}" if "v" in tied else None,
                qty=qty,
                cum=cum,
                at=T0 + at * SECOND,
            )
        )

    @rule(order=orders, right=st.booleans())
    def total(self, order: int, right: bool) -> None:
        """The venue's figures of the order: ours, or one more."""
        known = self.ledger.orders.get(f"C{order}")
        if known is None or not known.cum_qty:
            return
        cum = known.cum_qty if right else known.cum_qty + 1
        at = T0 + 30 * SECOND + self.names
        self.say(order_report(ExecType.ORDER_STATUS, cl_ord_id=f"M{order}", cum=str(cum), at=at))

    @rule(at=st.integers(-3, 12), ask=st.integers(100, 103).map(str))
    def price(self, at: int, ask: str) -> None:
        self.say(snapshot(self.name("S"), "99", ask, T0 + at * SECOND))

    # --- what is landed and decided -----------------------------------------------------------------------

    @precondition(lambda self: self.unlanded)
    @rule(rng=st.randoms(use_true_random=False), share=st.sampled_from([0.3, 0.7, 1.0]))
    def land(self, rng: random.Random, share: float) -> None:
        batch = [fact for fact in self.unlanded if rng.random() < share]
        self.unlanded = [fact for fact in self.unlanded if fact not in batch]
        batch += [rng.choice(self.said) for _ in range(rng.randrange(3)) if rng.choice(self.said) in batch]
        rng.shuffle(batch)
        self.decide(batch)

    @precondition(lambda self: self.ledger.waiting)
    @rule()
    def clock(self) -> None:
        """Every grace time is over."""
        captured = {f.report.report_id: f for f in self.said if isinstance(f, Captured | CapturedOrder)}
        waiting = [
            Waiting(p.row_id, p.reason, p.correlation_id, captured[p.row_id if _by_id(p) else p.content])
            for p in self.ledger.waiting
        ]
        self.decide([Overdue(T0 + 99 * SECOND, tuple(waiting))])

    @precondition(lambda self: any(b.correlation_id in self.ledger.orders for b in self.ledger.breaks.values()))
    @rule(which=st.randoms(use_true_random=False), verdict=st.sampled_from(list(Verdict)))
    def judge(self, which: random.Random, verdict: Verdict) -> None:
        known = [b for b in self.ledger.breaks.values() if b.correlation_id in self.ledger.orders]
        found = which.choice(sorted(known, key=lambda b: b.break_id))
        self.names += 1
        decision = self.decide([resolution(found, verdict, at=T0 + 60 * SECOND + self.names)])
        if decision.refused:
            assert verdict is Verdict.REJECT
            assert decision.refused[0][1]
        else:
            assert found.break_id not in self.ledger.breaks or self.ledger.breaks[found.break_id] != found
            self.decided += decision.resolutions

    def decide(self, facts: list[Fact]) -> Decision:
        held = {name for name, order in self.ledger.orders.items() if order.breaks}
        told = len(self.ledger.told)
        decision = self.ledger.land(facts)
        for event in self.ledger.told[told:]:
            on_hold = event.key in held and self.ledger.orders[event.key].breaks
            assert not on_hold or _is_retract(event.event_id, self.said), "told while on hold"
        return decision

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def quantities_are_conserved(self) -> None:
        for order in self.ledger.orders.values():
            active = [e for e in order.executions.values() if e.status is ExecutionStatus.ACTIVE]
            assert order.cum_qty == sum(e.last_qty for e in active)
            closed = closing(order.standing, order.last_fill_ns) is not None and not order.standing.leaves
            assert order.leaves_qty == (0 if closed else max(0, order.order_qty - order.cum_qty))
        rows = {e.execution_id: e for order in self.ledger.orders.values() for e in order.executions.values()}
        assert rows == self.ledger.executions
        assert {b for order in self.ledger.orders.values() for b in order.breaks} <= set(self.ledger.breaks)

    @invariant()
    def what_is_withheld_is_not_told_and_the_rest_is(self) -> None:
        net = _told_net(self.ledger)
        for order in self.ledger.orders.values():
            assert not order.withheld & self.ledger.event_ids
            if not order.breaks:
                assert not order.withheld
                for execution_id, execution in order.executions.items():
                    assert net[execution_id] == (execution.status is ExecutionStatus.ACTIVE), execution

    def teardown(self) -> None:
        if self.messages:
            self.decide(self.unlanded)
            wanted = _outcome(self.ledger, self.decided)
            rng = random.Random(self.names)
            for _ in range(3):
                again = self.said + [rng.choice(self.said) for _ in range(rng.randrange(len(self.said)))]
                rng.shuffle(again)
                other = Ledger(POLICY)
                for batch in split(again, rng):
                    other.land(batch)
                other.land([r for r in self.decided if r.voids])
                assert _outcome(other, self.decided) == wanted


def _tie(said: dict[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in ("cl_ord_id", "venue_order_id", "feed")}


def _by_id(pending: Any) -> bool:
    return pending.reason is not PendingReason.GAP


def _is_retract(event_id: str, said: list[Fact]) -> bool:
    """Whether an event is not a report's: it takes back, which no hold delays."""
    return all(fact.report.report_id != event_id for fact in said if isinstance(fact, Captured))


def _told_net(ledger: Ledger) -> Counter[str]:
    """How often each execution was told less how often it was taken back."""
    net: Counter[str] = Counter()
    signs: dict[str, int] = defaultdict(int, fill=1, bust=-1)
    for event in ledger.told:
        assert event.event_type in FILL_EVENTS
        net[json.loads(event.body)["execution_id"]] += signs[event.event_type]
    return net


def _outcome(ledger: Ledger, decided: list[Resolution]) -> dict[str, object]:
    """What does not depend on when it was said and decided."""
    released = {(r.break_id, r.ours, r.theirs) for r in decided}
    found = {(b.break_id, b.ours, b.theirs) for o in ledger.orders.values() for b in _lasting(o)}
    return {
        "digest": digest_of(ledger.executions.values(), ledger.metrics.values()),
        "pending": sorted(row_id for row_id, _ in ledger.pending),
        "breaks": found - released,
        "orders": {name: standing_of(order) for name, order in ledger.orders.items()},
        "learned": sorted(key for key in ledger.learned if key[2] not in ledger.orders[key[3]].intents),
    }


def _lasting(order: OrderState) -> list[Any]:
    return [b for b in order.breaks.values() if b.kind not in TOTALS]


TestDay = Day.TestCase
TestDay.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None, print_blob=True)
