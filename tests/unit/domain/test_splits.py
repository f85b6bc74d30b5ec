"""An execution that a venue reports whole and in parts: the parts count, once."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from ledger.domain.records import BreakKind
from tests.unit.domain.facts import SECOND, T0, bust, correct, intent, report
from tests.unit.domain.worlds import DAY, Ledger

if TYPE_CHECKING:
    from ledger.domain.decide import Fact

WHOLE = report("E1", qty="4")
PARTS = [report("P1", qty="1", part_of="E1"), report("P2", qty="3", part_of="E1")]


def landed(*facts: Fact) -> Ledger:
    ledger = Ledger()
    for fact in (intent(), *facts):
        ledger.land([fact])
    return ledger


def statuses(ledger: Ledger) -> dict[str, tuple[str, str | None]]:
    return {e.exec_id: (str(e.status), e.match_rule) for e in ledger.executions.values()}


def test_the_parts_count_and_the_whole_does_not_with_the_rule_in_the_row() -> None:
    for ordered in permutations([WHOLE, *PARTS]):
        ledger = landed(*ordered)
        assert statuses(ledger) == {
            "E1": ("superseded", "many_to_one"),
            "P1": ("active", "one_to_many"),
            "P2": ("active", "one_to_many"),
        }
        assert str(ledger.orders["C1"].cum_qty) == "4"


def test_a_whole_that_was_told_is_taken_back_before_its_parts_are_told() -> None:
    ledger = landed(WHOLE)
    ledger.land(PARTS)
    assert [(e.event_type, str(e.event_id) == WHOLE.report.report_id) for e in ledger.told] == [
        ("fill", True), ("bust", False), ("fill", False), ("fill", False),
    ]  # fmt: skip


def test_parts_that_do_not_make_up_the_whole_are_a_break() -> None:
    ledger = landed(WHOLE, PARTS[0])
    (found,) = ledger.breaks.values()
    assert (found.kind, found.ours, found.theirs) == (
        BreakKind.SPLIT_DIFFERS, "parts 1 for 100", "whole 4 for 400",
    )  # fmt: skip
    ledger.land([PARTS[1]])
    assert not ledger.breaks


@pytest.mark.parametrize("known", [[], [WHOLE]], ids=["only its parts", "whole and parts"])
def test_a_bust_of_the_whole_takes_back_every_part_and_breaks_nothing(known: list[Fact]) -> None:
    for ordered in permutations([*known, *PARTS, bust("B1", "E1"), bust("B2", "E1", at=T0 + 9 * SECOND)]):
        ledger = landed(*ordered)
        assert {statuses(ledger)[name][0] for name in ("P1", "P2")} == {"busted"}
        assert not ledger.orders["C1"].cum_qty
        assert not ledger.breaks
        assert not ledger.pending, "a second bust has no effect"


def test_an_exec_id_used_again_on_another_day_is_another_whole() -> None:
    for ordered in permutations([WHOLE, *PARTS, report("E1", qty="2", at=T0 + DAY)]):
        ledger = landed(*ordered)
        assert str(ledger.orders["C1"].cum_qty) == "6"
        assert not ledger.breaks
    ledger.land([bust("B1", "E1", at=T0 + DAY + SECOND)])
    assert str(ledger.orders["C1"].cum_qty) == "4"


def test_a_bust_of_one_part_leaves_the_others_and_breaks_nothing() -> None:
    ledger = landed(WHOLE, *PARTS, bust("B1", "P1"))
    assert str(ledger.orders["C1"].cum_qty) == "3"
    assert not ledger.breaks


def test_a_bust_of_the_correct_of_a_whole_takes_back_every_part() -> None:
    ledger = landed(WHOLE, *PARTS, correct("K1", "E1", qty="4"), bust("B1", "K1", at=T0 + 9 * SECOND))
    assert not ledger.orders["C1"].cum_qty


def test_a_bust_of_a_whole_that_was_told_in_parts_takes_each_back_once() -> None:
    ledger = landed(*PARTS, bust("B1", "E1"), bust("B2", "P1", at=T0 + 9 * SECOND))
    assert [e.event_type for e in ledger.told] == ["fill", "fill", "bust", "bust"]
