"""What is told of a feed is one row and one event, however often it is told; and the snapshots' own outages."""

from __future__ import annotations

import json

import pytest

from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.failover import Cause, Health, HealthKind
from ledger.domain.snapshot_feed import MARKET_DATA, SnapshotFeed
from tests.unit.domain.facts import SECOND, T0

A, B = "ALPHA.fix", "ALPHA.backup.ws"


def told(kind: HealthKind, feed: str = A, at: int = 0, *, other: str | None = None) -> Health:
    cause = Cause.SILENCE if kind in (HealthKind.OUTAGE, HealthKind.SWITCHED) else None
    return Health(kind, "ALPHA", feed, T0 + at * SECOND, T0 + (at - 5) * SECOND, "because", cause, other)


OUT = told(HealthKind.OUTAGE, at=10)
SWITCH = told(HealthKind.SWITCHED, at=10, other=B)
BACK = told(HealthKind.RECOVERED, at=60)
RETURN = told(HealthKind.RETURNED, at=60, other=A)


def landed(book: Book, *facts: Health) -> list[str]:
    decision = decide(book, list(facts), Policy())
    book.apply(decision)
    return [event.event_type for event in decision.events]


def test_an_outage_with_its_switch_and_their_ends_are_four_events_told_once() -> None:
    book = Book()
    assert landed(book, OUT, SWITCH) == ["feed_outage", "feed_switched"]
    assert landed(book, OUT, SWITCH) == []
    assert landed(book, told(HealthKind.OUTAGE, at=99), told(HealthKind.SWITCHED, at=99, other=B)) == []
    assert landed(book, BACK, RETURN) == ["feed_recovered", "feed_returned"]
    assert landed(book, BACK, RETURN) == []
    assert (book.health.outages, book.health.switches) == ({}, {})


def test_what_begins_and_ends_in_one_batch_leaves_an_ended_row() -> None:
    book = Book()
    decision = decide(book, [OUT, SWITCH, BACK, RETURN], Policy())
    assert decision.health is not None
    (outage,), (ended,) = decision.health.outages, decision.health.outages_ended
    (switch,), (returned,) = decision.health.switches, decision.health.switches_ended
    assert (outage.outage_id, switch.switch_id) == (ended.outage_id, returned.switch_id)
    book.apply(decision)
    assert (book.health.outages, book.health.switches) == ({}, {})


def test_the_events_say_what_why_since_when_and_what_to_do() -> None:
    decision = decide(Book(), [OUT, SWITCH, BACK, RETURN], Policy())
    bodies = [json.loads(event.body) for event in decision.events]
    assert {event.key for event in decision.events} == {"ALPHA"}
    outage, switched, recovered, returned = (body["detail"] for body in bodies)
    assert (outage["cause"], outage["reason"]) == ("silence", "because")
    assert "venue's status page" in outage["remedy"]
    assert (switched["feed"], switched["active_feed"]) == (A, B)
    assert recovered["outage_seconds"] == "50"
    assert (returned["active_feed"], returned["from_feed"]) == (A, B)
    assert bodies[0]["subject"] == bodies[2]["subject"]
    assert bodies[1]["subject"] == bodies[3]["subject"]


def test_a_later_outage_is_another_one() -> None:
    book = Book()
    landed(book, OUT, BACK)
    assert landed(book, told(HealthKind.OUTAGE, at=100)) == ["feed_outage"]


@pytest.mark.parametrize("standing", [(), (OUT,)], ids=["well", "out"])
def test_numbers_that_start_over_are_a_moment_whatever_stands_of_the_feed(standing: tuple[Health, ...]) -> None:
    book = Book()
    landed(book, *standing)
    before = dict(book.health.outages)
    anew = Health(HealthKind.RENUMBERED, "ALPHA", A, T0 + 20 * SECOND, T0 + 15 * SECOND, "anew", Cause.GAP)
    decision = decide(book, [anew], Policy())
    assert [event.event_type for event in decision.events] == ["feed_renumbered"]
    assert decision.health is not None
    (row,), (ended,) = decision.health.outages, decision.health.outages_ended
    assert (row.cause, row.began_ns, row.told_ns) == (Cause.GAP, T0 + 15 * SECOND, T0 + 20 * SECOND)
    assert (ended.outage_id, ended.ended_ns) == (row.outage_id, row.began_ns)
    book.apply(decision)
    assert book.health.outages == before, "what stood of the feed stands"


# --- snapshots ---------------------------------------------------------------------------------------------

OUT_NS = 30 * SECOND


def look(feed: SnapshotFeed, at: int, *needed: str, connected: bool = True) -> list[str]:
    found = feed.step(T0 + at * SECOND, is_connected=connected, needed=needed)
    return [f"{health.kind.value} {health.feed}" for health in found]


def test_snapshots_of_a_symbol_with_open_orders_are_missed_and_nobody_elses() -> None:
    feed = SnapshotFeed(OUT_NS)
    feed.take("BTC", T0)
    assert look(feed, 0, "BTC", "ETH") == []
    feed.take("BTC", T0 + 20 * SECOND)
    assert look(feed, 29, "BTC", "ETH") == []
    assert look(feed, 30, "BTC", "ETH") == ["snapshot_feed_out market-data.ETH"], "none since it was needed"
    assert look(feed, 49, "BTC", "ETH") == []
    assert look(feed, 50, "ETH") == [], "no order of it is open"
    assert look(feed, 51, "BTC", "ETH") == ["snapshot_feed_out market-data.BTC"]
    feed.take("ETH", T0 + 60 * SECOND)
    assert look(feed, 61, "BTC", "ETH") == ["snapshot_feed_back market-data.ETH"]
    assert feed.out == {"market-data.BTC"}


def test_without_the_broker_all_of_them_are_out_and_no_symbol_is_told_beside() -> None:
    feed = SnapshotFeed(OUT_NS)
    assert look(feed, 0, "BTC", connected=False) == []
    assert look(feed, 30, "BTC", connected=False) == [f"snapshot_feed_out {MARKET_DATA}"]
    assert look(feed, 90, "BTC", connected=False) == []
    assert look(feed, 91, "BTC") == [f"snapshot_feed_back {MARKET_DATA}"]
    assert look(feed, 120, "BTC") == [], "what waited at the broker comes first"
    assert look(feed, 121, "BTC") == ["snapshot_feed_out market-data.BTC"]


def test_what_stood_before_a_restart_is_not_told_again_and_ends() -> None:
    feed = SnapshotFeed(OUT_NS, [MARKET_DATA, "market-data.BTC"])
    assert look(feed, 0) == [f"snapshot_feed_back {MARKET_DATA}"]
    feed.take("BTC", T0)
    assert look(feed, 1) == ["snapshot_feed_back market-data.BTC"]


@pytest.mark.parametrize("connected", [True, False])
def test_it_is_off_where_that_is_set(connected: bool) -> None:
    feed = SnapshotFeed(0)
    look(feed, 0, "BTC", connected=connected)
    assert look(feed, 10_000, "BTC", connected=connected) == []
