"""Which reconciled days are looked at for dead letters, and what the next tick begins with."""

from datetime import date, timedelta

import msgspec
import pytest

from sensors.dead_letters import (
    DAYS_PER_TICK,
    FIRST_LOOK_SECONDS,
    Cursor,
    Derived,
    days_due,
    next_cursor,
    read_cursor,
)

NOW = 1_795_000_000.0
D1, D2 = date(2026, 11, 22), date(2026, 11, 23)

CASES = [
    pytest.param(Cursor(5), [], 0, (), Cursor(5), id="nothing was reconciled"),
    pytest.param(Cursor(5), [Derived(D1, 7)], 3, (D1,), Cursor(7), id="a day was reconciled"),
    pytest.param(
        Cursor(5), [Derived(D1, 7), Derived(D1, 9)], 0, (D1,), Cursor(9), id="twice since the last tick: once",
    ),
    pytest.param(
        Cursor(5), [Derived(D1, 7)], 100, (D1,), Cursor(7, (D1,)), id="as many as a tick asks for: the day again",
    ),
    pytest.param(Cursor(7, (D1,)), [Derived(D2, 9)], 4, (D1, D2), Cursor(9), id="what was left comes first"),
]  # fmt: skip


@pytest.mark.parametrize(("cursor", "derived", "asked", "due", "after"), CASES)
def test_days_due_and_the_cursor_after(
    cursor: Cursor, derived: list[Derived], asked: int, due: tuple[date, ...], after: Cursor
) -> None:
    assert days_due(cursor, derived) == due
    assert next_cursor(cursor, derived, due, asked) == after


def test_ten_thousand_reconciled_days_are_worked_off_without_losing_one() -> None:
    derived = [Derived(date(1999, 7, 8) + timedelta(days=n), n + 1) for n in range(10_000)]
    cursor, seen = Cursor(0), set[date]()
    for tick in range(10_000 // DAYS_PER_TICK + 400):
        page = [one for one in derived if one.derived_us > cursor.since][:DAYS_PER_TICK]
        due = days_due(cursor, page)
        assert len(due) <= DAYS_PER_TICK
        seen |= set(due)
        stored = msgspec.json.encode(next_cursor(cursor, page, due, asked=100 if tick % 3 == 0 else 1))
        assert len(stored) < 1_000
        cursor, problem = read_cursor(stored.decode(), NOW)
        assert problem is None
    assert len(seen) == 10_000


def test_an_unreadable_cursor_is_said_and_started_over_a_week_back() -> None:
    for stored in ("7", '{"since": "x"}', "{"):
        cursor, problem = read_cursor(stored, NOW)
        assert cursor.since == int((NOW - FIRST_LOOK_SECONDS) * 1e6)
        assert problem is not None
        assert "started over" in problem
