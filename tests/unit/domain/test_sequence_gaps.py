"""Gaps in a feed's numbers: each is told once it is over, with what the venue has passed over."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec

from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.sequence_gaps import SEQUENCE_GAP_FILLED, GapFilled, Gaps
from tests.unit.domain.facts import SECOND, T0

SCHEMA = Path(__file__).parents[3] / "docs" / "events" / "audit.event.execution.schema.json"


def test_a_gap_is_told_once_from_its_first_sign_to_its_end() -> None:
    gaps = Gaps("ALPHA", "ALPHA.fix")
    assert gaps.fill(T0) is None
    gaps.miss(5, 0, T0)
    gaps.miss(7, 9, T0 + SECOND)  # more of it shows: it began with the first
    assert gaps.fill(T0 + 2 * SECOND, 8) == GapFilled("ALPHA", "ALPHA.fix", 5, 9, T0, T0 + 2 * SECOND)
    assert not gaps.is_open
    assert gaps.fill(T0 + 3 * SECOND) is None


def test_what_is_passed_over_is_told_at_once_and_again_with_the_end_of_its_gap() -> None:
    gaps = Gaps("ALPHA", "ALPHA.fix")
    assert gaps.pass_over(3, 4, T0) == GapFilled("ALPHA", "ALPHA.fix", 3, 4, T0, T0, ((3, 4),))
    gaps.miss(10, 0, T0)
    later = T0 + SECOND
    assert gaps.pass_over(12, 12, later) == GapFilled("ALPHA", "ALPHA.fix", 12, 12, T0, later, ((12, 12),))
    found = gaps.fill(later, 20)
    assert found is not None
    assert (found.first, found.last, found.passed_over) == (10, 20, ((12, 12),))


def test_a_gap_that_is_open_when_the_numbers_start_over_is_told_as_lost() -> None:
    gaps = Gaps("ALPHA", "ALPHA.ws")
    assert gaps.lose(7, T0) is None
    gaps.miss(10, 14, T0)
    gaps.pass_over(11, 12, T0)
    lost = gaps.lose(10, T0 + SECOND)
    assert lost == GapFilled("ALPHA", "ALPHA.ws", 11, 14, T0, T0 + SECOND, ((11, 14),), is_lost=True)
    assert not gaps.is_open
    assert "started over" in json.loads(lost.event().body)["detail"]["remedy"]
    gaps.miss(1, 2, T0)
    assert gaps.fill(T0) == GapFilled("ALPHA", "ALPHA.ws", 1, 2, T0, T0), "the new numbers have gaps of their own"


def test_of_a_lost_gap_whose_end_is_not_known_the_first_number_is_told() -> None:
    gaps = Gaps("ALPHA", "ALPHA.fix")
    gaps.miss(10, 0, T0)
    lost = gaps.lose(3, T0)
    assert lost is not None
    assert lost.passed_over == ((10, 10),)


def test_it_is_an_event_of_its_venue_with_the_same_id_when_it_is_decided_again() -> None:
    many = tuple((number, number) for number in range(100, 160, 2))
    gap = GapFilled("ALPHA", "ALPHA.fix", 100, 200, T0, T0 + SECOND, many)
    (event,) = decide(Book(), [gap], Policy()).events
    assert (event.event_type, event.key) == (SEQUENCE_GAP_FILLED, "ALPHA")
    assert decide(Book(), [gap], Policy()).events == [event]
    later = msgspec.structs.replace(gap, at_ns=T0 + 2 * SECOND)
    assert later.event().event_id != event.event_id
    detail = json.loads(event.body)["detail"]
    assert (detail["first"], detail["last"], detail["gap_seconds"]) == ("100", "200", "1")
    assert (detail["passed_over"][:13], detail["passed_over_numbers"]) == ("100, 102, 104", "30")
    assert detail["passed_over"].endswith("138, and 10 more")
    assert "compare" in detail["remedy"]


def test_the_event_is_as_its_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    decision = {**schema["$defs"]["decision"], "$defs": schema["$defs"]}
    decision["allOf"] = [rule for rule in decision["allOf"] if "urn:" not in json.dumps(rule)]
    for passed in ((), ((3, 4),)):
        body = json.loads(GapFilled("ALPHA", "ALPHA.fix", 3, 9, T0, T0, passed).event().body)
        assert body["event"] in schema["properties"]["event"]["enum"]
        jsonschema.validate(body, decision)
        del body["detail"]["passed_over"]
        assert not jsonschema.Draft202012Validator(decision).is_valid(body)
