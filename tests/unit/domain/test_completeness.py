"""Completeness: which window is next, what is not listed, up to when nothing is missing; all told once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.completeness import AuditPolicy, FindingKind, complete_to, next_window, unlisted
from ledger.domain.decide import Fact, Policy, decide
from tests.unit.domain.comparisons import audited, listed, missing, report_id

if TYPE_CHECKING:
    from ledger.domain.decision import Decision

POLICY = AuditPolicy(every_ns=100, window_ns=1000, overlap_ns=20, grace_ns=10)


def landed(book: Book, *facts: Fact) -> Decision:
    decision = decide(book, facts, Policy())
    book.apply(decision)
    return decision


def told(decision: Decision) -> list[str]:
    return [event.event_type for event in decision.events]


@pytest.mark.parametrize(
    ("audited_ns", "now_ns", "wanted"),
    [
        (None, 5000, (3990, 4990)),  # the first reaches one window back
        (4000, 4090, None),  # 80 since the last: not yet
        (4000, 4110, (3980, 4100)),
        (4000, 9000, (3980, 5000)),  # after a standstill one window at a time
        (8000, 5000, None),  # a clock that was set back
    ],
)
def test_windows_follow_each_other(audited_ns: int | None, now_ns: int, wanted: tuple[int, int] | None) -> None:
    assert next_window(audited_ns, now_ns, POLICY) == wanted


SPAN = st.integers(0, 10_000)


@given(st.integers(1, 10_000), st.integers(1_000, 10_000), SPAN, SPAN, st.integers(0, 50_000))
def test_windows_catch_up_and_leave_no_moment_out(
    every: int, window: int, overlap: int, grace: int, away: int
) -> None:
    policy = AuditPolicy(every, window, overlap, grace)
    now_ns = 1_000_000
    at_ns = covered = now_ns - grace - away
    for _ in range(1_000):
        found = next_window(at_ns, now_ns, policy)
        if found is None:
            break
        assert found[0] <= covered
        assert at_ns < found[1] <= now_ns - grace
        at_ns = covered = found[1]
    assert now_ns - grace - at_ns < every


def test_what_is_ours_and_not_listed_is_named_where_the_list_was_asked() -> None:
    ours = [listed("E1"), listed("E2")]
    theirs = {bytes.fromhex(report_id("E1"))}
    assert [fill.exec_id for fill in unlisted(theirs, ours, lambda _: True)] == ["E2"]
    assert not list(unlisted(theirs, ours, lambda symbol: symbol == "ETHUSDT"))


@pytest.mark.parametrize(
    ("audited_ns", "hole_ns", "gap_ns", "is_audited", "wanted"),
    [
        (900, None, None, True, 900),
        (None, None, None, True, None),  # never compared: nothing is known
        (900, 500, None, True, 500),  # a live audit does not close a hole
        (900, 950, None, True, 900),
        (900, None, 700, True, 700),  # a fill that the venue's CumQty counts is waited for
        (None, None, None, False, 1000),  # nobody compares: the feed's word
        (None, 400, 300, False, 300),
    ],
)
def test_complete_up_to_the_first_thing_that_is_missing(
    audited_ns: int | None, hole_ns: int | None, gap_ns: int | None, is_audited: bool, wanted: int | None
) -> None:
    assert complete_to(1000, audited_ns, hole_ns, gap_ns, is_audited=is_audited) == wanted


def test_a_missing_fill_is_told_once_however_often_the_audit_begins_again() -> None:
    book = Book()
    first = landed(book, missing("E1", "E2"))
    assert told(first) == ["completeness_missing"]
    assert json.loads(first.events[0].body)["detail"]["exec_ids"] == "E1, E2"
    again = landed(book, missing("E1", "E2", "E3", told="m2"))
    assert json.loads(again.events[0].body)["detail"]["missing"] == "1"
    assert told(landed(book, missing("E1", "E2", told="m3"))) == []
    assert set(book.findings) == {(FindingKind.MISSING, report_id(name)) for name in ("E1", "E2", "E3")}
    ended = landed(book, audited(present=("E1", "E2", "E3")))
    assert ended.completeness is not None
    assert len(ended.completeness.ended) == 3
    assert book.findings == {}


def test_an_unconfirmed_fill_is_flagged_once_and_confirmed_once() -> None:
    book = Book()
    opened = landed(book, audited(unlisted=("E1", "E2"), unconfirmed=2))
    assert told(opened) == ["completeness_unconfirmed", "compliance_flag"] * 2
    assert [event.key for event in opened.events] == ["C1", "C1", "ALPHA", "ALPHA:e:E2"]
    assert told(landed(book, audited(unlisted=("E1", "E2"), told="a2"))) == []
    assert told(landed(book, audited(present=("E1",)))) == ["completeness_confirmed", "compliance_flag"]
    assert told(landed(book, audited(present=("E1",), told="a3"))) == []
    assert [fill.fill.exec_id for fill in book.findings.values()] == ["E2"]
    # gone from the list again: told again, under other ids
    reopened = landed(book, audited(unlisted=("E1",), told="a4"))
    assert {event.event_id for event in reopened.events}.isdisjoint(event.event_id for event in opened.events)


def test_an_event_names_some_and_counts_all() -> None:
    decision = landed(Book(), missing(*(f"X{n}" for n in range(50))))
    detail = json.loads(decision.events[0].body)["detail"]
    assert detail["missing"] == "50"
    assert detail["exec_ids"].endswith("X19 and 30 more")


def test_what_begins_and_ends_in_one_batch_leaves_nothing_open() -> None:
    book = Book()
    landed(book, missing("E1"), audited(present=("E1",)))
    assert book.findings == {}


def test_a_control_is_noted_though_it_changes_nothing() -> None:
    decision = landed(Book(), missing())
    assert decision.completeness is not None
    assert decision.completeness.noted == [missing().token]
    assert decision.events == []
