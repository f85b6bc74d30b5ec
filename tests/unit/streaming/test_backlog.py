"""What waits, counted by where it comes from."""

from __future__ import annotations

from streaming.arrivals import Arrival, ArrivalKind
from streaming.backlog import Waiting, tally

SECOND = 1_000_000_000
NOW = 1_000 * SECOND


def arrival(venue: str | None, feed: str, age: float) -> Arrival:
    kind = ArrivalKind.REPORT if venue else ArrivalKind.SNAPSHOT
    return Arrival(feed, venue, kind, b"", NOW - int(age * SECOND))


def test_arrivals_are_counted_by_venue_and_the_other_agents_by_feed() -> None:
    arrivals = [
        arrival("ALPHA", "ALPHA.fix", 2),
        arrival("ALPHA", "ALPHA.ws", 5),
        arrival("BRAVO", "BRAVO.ws", 1),
        arrival(None, "market-data", 3),
    ]
    assert tally(arrivals, {}, {}, NOW) == {
        "ALPHA": Waiting(2, 5.0, 0, 5.0), "BRAVO": Waiting(1, 1.0, 0, 1.0), "market-data": Waiting(1, 3.0, 0, 3.0),
    }  # fmt: skip


def test_what_a_source_still_holds_is_older_than_what_has_arrived() -> None:
    found = tally([arrival(None, "market-data", 3)], {"market-data": 700}, {"market-data": NOW - 60 * SECOND}, NOW)
    assert found == {"market-data": Waiting(1, 3.0, 700, 60.0)}


def test_a_source_of_which_nothing_waits_is_shown_with_none() -> None:
    assert tally([], {"ALPHA": 0}, {}, NOW) == {"ALPHA": Waiting(0, 0.0, 0, 0.0)}


def test_a_clock_that_went_back_makes_no_age_negative() -> None:
    assert tally([arrival("ALPHA", "ALPHA.fix", -4)], {}, {}, NOW)["ALPHA"].arrived_age == 0.0
