"""``plan_days`` case by case: the name of a case is its scenario."""

from datetime import UTC, date, datetime, timedelta

import pytest

from sensors.cursors import write_cursor
from sensors.day_plan import (
    CLOSE_SECONDS,
    DAYS_PER_TICK,
    DAYS_REMEMBERED,
    Cursor,
    KnownDay,
    LandedDay,
    plan_days,
    read_cursor,
    reason_of,
)

TODAY = date(2026, 11, 23)
YESTERDAY = TODAY - timedelta(days=1)
TOMORROW = TODAY + timedelta(days=1)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
OVER = MIDNIGHT + CLOSE_SECONDS  # yesterday's figures are final

ASKED = KnownDay(100, 0, "100.0", NOW - 60)  # derived with all that has landed
CLOSED = KnownDay(100, 0, "100.0.closed", NOW - 60)  # and after its end

CASES = [
    pytest.param({}, [], {}, [], id="nothing landed"),
    pytest.param({}, [LandedDay(TODAY, 100, 0)], {}, [(TODAY, "100.0")], id="a first fill"),
    pytest.param({TODAY: ASKED}, [], {}, [], id="nothing since the last request"),
    pytest.param({TODAY: ASKED}, [LandedDay(TODAY, 101, 0)], {}, [(TODAY, "101.0")], id="more fills"),
    pytest.param(
        {TODAY: ASKED}, [LandedDay(YESTERDAY, 101, 0)], {}, [(YESTERDAY, "101.0.closed")],
        id="a late fill asks for its own day only",
    ),
    pytest.param(
        {TODAY: KnownDay(100, 0, "100.0", NOW - 10)}, [LandedDay(TODAY, 101, 0)], {}, [],
        id="asked for ten seconds ago: wait",
    ),
    pytest.param(
        {TODAY: KnownDay(101, 0, "100.0", NOW - 15)}, [], {}, [(TODAY, "101.0")],
        id="what had to wait is asked for when it is due, though nothing else landed",
    ),
    pytest.param(
        {TODAY: ASKED}, [LandedDay(TODAY, 101, 0)], {"busy": frozenset({TODAY})}, [],
        id="a run of the day is unfinished: wait",
    ),
    pytest.param(
        {TODAY: ASKED}, [LandedDay(TODAY, 0, 3)], {}, [(TODAY, "100.3")], id="reports of the day began to pend",
    ),
    pytest.param(
        {TODAY: KnownDay(100, 3, "100.3", NOW - 60)}, [], {}, [(TODAY, "100.0")],
        id="an intent came: the day pends no more, its executions changed",
    ),
    pytest.param(
        {}, [LandedDay(YESTERDAY, 0, 3)], {}, [], id="old pending reports alone are no landing",
    ),
    pytest.param({}, [LandedDay(TOMORROW, 100, 0)], {}, [], id="dated tomorrow: no partition yet"),
    pytest.param(
        {TODAY: KnownDay(100, 0, "", 0.0)}, [], {"first": TODAY}, [(TODAY, "100.0")],
        id="yesterday's tomorrow has come",
    ),
    pytest.param(
        {}, [LandedDay(YESTERDAY, 100, 0)], {"first": TODAY}, [], id="before the first partition",
    ),
    pytest.param(
        {YESTERDAY: KnownDay(100, 0, "99.0", NOW - 90), TODAY: KnownDay(101, 0, "90.0", NOW - 30)}, [],
        {"limit": 1}, [(YESTERDAY, "100.0.closed")], id="one a tick: the one that has waited longest",
    ),
    pytest.param(
        {YESTERDAY: ASKED}, [], {}, [(YESTERDAY, "100.0.closed")],
        id="the day is over: once more, though nothing landed",
    ),
    pytest.param({YESTERDAY: CLOSED}, [], {}, [], id="the day is over and was asked for since"),
    pytest.param(
        {YESTERDAY: CLOSED}, [LandedDay(YESTERDAY, 101, 0)], {}, [(YESTERDAY, "101.0.closed")],
        id="a fill that landed after the day was closed",
    ),
    pytest.param({}, [LandedDay(TODAY, 0, 0, 7)], {}, [(TODAY, "0.0.o7")], id="only an order was routed"),
    pytest.param(
        {YESTERDAY: KnownDay(0, 0, "0.0.o7", NOW - 60, 7)}, [LandedDay(YESTERDAY, 0, 0, 7, 50)], {},
        [(YESTERDAY, "0.0.o7.s50.closed")], id="a day of orders that never traded is over",
    ),
    pytest.param(
        {TODAY: ASKED}, [LandedDay(TODAY, 0, 0, 0, 50)], {}, [],
        id="today's market moves on: that alone is nothing",
    ),
    pytest.param(
        {YESTERDAY: KnownDay(100, 0, "100.0.s50.closed", NOW - 60, 0, 50)},
        [LandedDay(YESTERDAY, 0, 0, 0, 51)], {}, [(YESTERDAY, "100.0.s51.closed")],
        id="a snapshot that landed after the day was closed",
    ),
    pytest.param({}, [LandedDay(YESTERDAY, 0, 0, 0, 50)], {}, [], id="a market in which we had no order"),
    pytest.param(
        {TODAY - timedelta(days=8): ASKED}, [], {}, [], id="asked for long ago, by a version that closed no day",
    ),
    pytest.param(
        {YESTERDAY: ASKED}, [], {"busy": frozenset({YESTERDAY})}, [],
        id="over, but a run of the day is unfinished",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("known", "rows", "options", "expected"), CASES)
def test_plan_days(known, rows, options, expected) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    plan = plan_days(Cursor(0, known), rows, NOW, every=15.0, **options)
    assert plan.requests == [(day, f"{day}:{mark}") for day, mark in expected]
    for day, mark in expected:
        assert plan.cursor.days[day].asked == mark
        assert plan.cursor.days[day].asked_at == NOW


def test_a_day_is_closed_once_when_its_last_markout_is_known() -> None:
    """A fill at 23:59:59 is derived at once; that it is final is known minutes later."""
    landed = LandedDay(YESTERDAY, 100, 0)
    cursor, asked = Cursor(), dict[float, str]()
    for second in range(-1, 900):
        plan = plan_days(cursor, [landed] if second < 0 else [], MIDNIGHT + second)
        # as a restart would find it
        cursor = read_cursor(write_cursor(plan.cursor), NOW)[0]
        asked.update((second, key) for _, key in plan.requests)
    assert asked == {-1: f"{YESTERDAY}:100.0", CLOSE_SECONDS: f"{YESTERDAY}:100.0.closed"}
    assert CLOSE_SECONDS > 300


def test_a_cursor_of_an_earlier_version_goes_on() -> None:
    stored = '{"since":100,"days":{"2026-11-22":{"high_water":100,"pending":0,"asked":"100.0","asked_at":5.0}}}'
    cursor, problem = read_cursor(stored, NOW)
    assert problem is None
    assert plan_days(cursor, [], OVER - 1).requests == []
    assert plan_days(cursor, [], OVER).requests == [(YESTERDAY, f"{YESTERDAY}:100.0.closed")]


@pytest.mark.parametrize(
    ("before", "day", "reason"),
    [
        (None, TODAY, "landed"),
        (ASKED, TODAY, "landed"),
        (ASKED, YESTERDAY, "closed"),
        (CLOSED, YESTERDAY, "late arrivals"),
        (None, YESTERDAY, "late arrivals"),
    ],
)
def test_the_run_says_why_it_was_asked_for(before: KnownDay | None, day: date, reason: str) -> None:
    assert reason_of(before, day, TODAY) == reason


def test_a_backlog_of_a_year_is_worked_off_a_few_days_a_tick_newest_first() -> None:
    days = [TODAY - timedelta(days=n) for n in range(365)]
    cursor, asked = Cursor(), list[date]()
    rows = [LandedDay(day, 1_000 + n, 0) for n, day in enumerate(days)]
    ticks = 0
    while len(asked) < len(days):
        plan = plan_days(cursor, rows, NOW + ticks)
        assert len(plan.requests) <= DAYS_PER_TICK
        asked += [day for day, _ in plan.requests]
        cursor, rows, ticks = plan.cursor, [], ticks + 1
    assert asked == days
    assert ticks == 73


def test_fills_that_keep_coming_ask_once_every_fifteen_seconds() -> None:
    cursor, requests = Cursor(), 0
    for tick in range(60):
        plan = plan_days(cursor, [LandedDay(TODAY, tick + 1, 0)], NOW + tick)
        cursor, requests = plan.cursor, requests + len(plan.requests)
    assert requests == 4


def test_the_cursor_only_grows_and_survives_a_restart() -> None:
    plan = plan_days(Cursor(500, {YESTERDAY: ASKED}), [LandedDay(TODAY, 400, 1)], NOW)
    assert plan.cursor.since == 500
    assert read_cursor(write_cursor(plan.cursor), NOW) == (plan.cursor, None)


def test_the_cursor_is_bounded_and_never_forgets_a_day_that_waits() -> None:
    old = date(2020, 1, 1)
    days = {TODAY - timedelta(days=n): CLOSED for n in range(1, DAYS_REMEMBERED + 50)}
    waiting = KnownDay(101, 0, "100.0", NOW)
    plan = plan_days(Cursor(0, {**days, old: waiting}), [], NOW)
    assert len(plan.cursor.days) == DAYS_REMEMBERED
    assert plan.cursor.days[old] == waiting
    assert len(write_cursor(plan.cursor)) < 40_000


def test_without_a_cursor_it_looks_back_a_week() -> None:
    assert read_cursor(None, NOW)[0].since == int((NOW - 7 * 86_400) * 1_000_000)


def test_a_cursor_of_another_shape_is_said_and_started_over() -> None:
    for stored in ("12345 bytes", '{"since": "yesterday"}', '{"since": 5, "days": [1]}', "null"):
        cursor, problem = read_cursor(stored, NOW)
        assert cursor == read_cursor(None, NOW)[0]
        assert problem is not None
        assert "started over" in problem


@pytest.mark.parametrize("together", [1, 3, 1_000])
def test_a_backlog_of_ten_thousand_days_is_worked_off_in_bounded_ticks_and_no_day_is_lost(together: int) -> None:
    """A bulk load: each tick reads what landed since the cursor, as the sensor does."""
    first = date(1999, 7, 8)
    days = [first + timedelta(days=(n * 7919) % 10_000) for n in range(10_000)]
    landed = [LandedDay(day, 1_000 + n // together, 0) for n, day in enumerate(days)]
    cursor, asked, ticks = Cursor(), list[date](), 0
    while len(asked) < len(days):
        assert ticks <= len(days) // 50, "a tick that asks for nothing new"
        plan = plan_days(cursor, [row for row in landed if row.high_water > cursor.since], NOW + ticks, limit=50)
        assert 0 < len(plan.requests) <= 50
        assert len(plan.cursor.days) <= max(DAYS_REMEMBERED, together)
        asked += [day for day, _ in plan.requests]
        cursor, ticks = read_cursor(write_cursor(plan.cursor), NOW)[0], ticks + 1
    assert len(set(asked)) == len(days), "each once"


def test_a_fill_of_today_is_not_starved_by_a_backlog_that_is_taken_up_already() -> None:
    old = {date(2025, 1, 1) + timedelta(days=n): KnownDay(100 + n, 0, "", 0.0) for n in range(100)}
    plan = plan_days(Cursor(0, old), [LandedDay(TODAY, 500, 0)], NOW)
    assert plan.requests[0][0] == TODAY
