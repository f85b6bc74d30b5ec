"""What the venue's totals say against ours, rule by rule."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.domain.decide import Fact, Policy
from ledger.domain.records import BreakKind, ExecType
from ledger.domain.tolerances import Tolerances
from tests.unit.domain.facts import SECOND, T0, bust, intent, order_report, report
from tests.unit.domain.worlds import Ledger

CUM, AVG = BreakKind.CUM_QTY_DIFFERS, BreakKind.AVG_PX_DIFFERS


def total(cum: str, avg: str | None = None, at: int = 9) -> Fact:
    return order_report(ExecType.ORDER_STATUS, cum=cum, avg=avg, at=T0 + at * SECOND)


CLAIMS: dict[str, tuple[list[Fact], list[BreakKind]]] = {
    "right": ([report("E1", cum="1", avg="100")], []),
    "more than ours": ([report("E1", cum="2")], [CUM]),
    "less than ours": ([report("E1", cum="1"), report("E2", cum="1", at=T0 + 2 * SECOND)], [CUM]),
    "an older claim is not compared": ([report("E1", cum="9"), report("E2", cum="2", at=T0 + 2 * SECOND)], []),
    "zero says nothing": ([report("E1", cum="0", avg="0")], []),
    "AvgPx zero on a full fill": ([report("E1", qty="10", cum="10", avg="0")], []),
    "another average": ([report("E1", cum="1", avg="101")], [AVG]),
    "an average within a basis point": ([report("E1", cum="1", avg="100.01")], []),
    "at one instant the largest counts": ([report("E1", cum="1"), report("E2", cum="2")], []),
    "at one instant one says nothing": ([report("E1", cum="7"), report("E2")], []),
    "a bust alone": ([report("E1"), report("E2"), bust("B1", "E1", cum="1")], []),
    "a bust alone, wrong": ([report("E1"), report("E2"), bust("B1", "E1", cum="2")], [CUM]),
    "a bust and a fill at one instant": ([report("E1"), bust("B1", "E1", cum="9", at=T0 + SECOND)], []),
    "while something is unresolved": ([report("E1", cum="2"), bust("B1", "nobody", at=T0)], []),
    "a total that agrees": ([report("E1"), report("E2", px="102"), total("2", "101")], []),
    "a total that does not": ([report("E1"), total("2")], [CUM]),
    "a total before any fill": ([total("2")], [CUM]),
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_claim_is_compared_with_all_that_is_known(name: str, *, backwards: bool) -> None:
    facts, kinds = CLAIMS[name]
    together, apart = Ledger(), Ledger()
    together.land([intent(), *facts])
    for fact in [intent(), *(reversed(facts) if backwards else facts)]:
        apart.land([fact])
    for ledger in (together, apart):
        assert [b.kind for b in ledger.breaks.values()] == kinds


def test_a_tolerance_lets_a_claim_be() -> None:
    ledger = Ledger(Policy(tolerances={"ALPHA": Tolerances(cum_qty=Decimal(1))}))
    ledger.land([intent(), report("E1", cum="2")])
    assert not ledger.breaks


def test_a_total_is_matched_with_the_executions_that_make_it_up() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1"), report("E2", px="102")])
    (matched,) = ledger.land([total("2", "101")]).totals
    assert (matched.rule, str(matched.cum_qty), str(matched.avg_px)) == ("many_to_one", "2", "101.000000000000")
    assert sorted(matched.execution_ids) == sorted(ledger.executions)


def test_a_total_of_one_fill_is_one_to_one() -> None:
    ledger = Ledger()
    (matched,) = ledger.land([intent(), report("E1"), total("1")]).totals
    assert matched.rule == "one_to_one"


def test_a_claim_in_the_middle_of_a_batch_breaks_as_it_would_alone() -> None:
    """The second of two fills claims less than ours: whether they came together does not matter."""
    facts: list[Fact] = [report("E1"), report("E2", cum="1", at=T0 + 2 * SECOND)]
    ledger = Ledger()
    ledger.land([intent()])
    ledger.land(facts)
    assert [b.kind for b in ledger.breaks.values()] == [CUM]
