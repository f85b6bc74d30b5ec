"""Which days to derive: ``plan_days`` decides by what has landed, and what the last request was made with. Pure.

The failures it prevents: a day that is asked for at every tick while fills keep coming (runs would queue faster
than they end); a late fill or bust of an old day that nobody derives; a day lost because a tick asked for too
many at once; a run key used up by a run that failed, so that the day is never asked for again; figures of the
future that stay unknown because nothing landed after them: a day that is over is asked for once more.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import msgspec

from ledger.domain.markouts import HORIZONS
from ledger.domain.times import NANOS
from sensors.cursors import read_stored

DAYS_PER_TICK = 5  # requests a tick; the rest wait for the next, the longest waiting first
DAYS_REMEMBERED = 400
FIRST_LOOK_SECONDS = 7 * 86_400  # without a cursor: what landed before is for a backfill
# a day is final when its last fill's longest markout is known, and what was on its way has landed or been given up
CLOSE_SECONDS = max(HORIZONS.values()) / NANOS + 120.0
CLOSED = ".closed"  # ends the mark of a day that is over


class LandedDay(msgspec.Struct, frozen=True):
    """A day something landed for.

    ``high_water``: its last report's landing (us), 0: none since the cursor. ``routed`` and ``market``: its newest
    order and snapshot (ns), 0: not looked at, or none.
    """

    day: date
    high_water: int
    pending: int
    routed: int = 0
    market: int = 0


class KnownDay(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the cursor remembers of a day; ``asked`` is the mark of the last request."""

    high_water: int = 0
    pending: int = 0
    asked: str = ""
    asked_at: float = 0.0
    routed: int = 0
    market: int = 0

    def mark(self, *, is_over: bool) -> str:
        """Say up to where the day has landed: another mark is another state of its facts.

        Snapshots come all the time: they make a difference only once the day is over.
        """
        landed = f"{self.high_water}.{self.pending}" + (f".o{self.routed}" if self.routed else "")
        if not is_over:
            return landed
        return landed + (f".s{self.market}" if self.market else "") + CLOSED


class Cursor(msgspec.Struct, frozen=True):
    """Up to where landings were read (us), and the days seen."""

    since: int = 0
    days: dict[date, KnownDay] = {}


class Plan(msgspec.Struct, frozen=True):
    """What a tick asks for: (day, run key) pairs, the next cursor, and how many days must wait."""

    requests: list[tuple[date, str]]
    cursor: Cursor
    waiting: int


def plan_days(
    cursor: Cursor,
    rows: Iterable[LandedDay],
    now: float,
    *,
    every: float = 15.0,
    busy: frozenset[date] = frozenset(),
    first: date = date.min,
    limit: int = DAYS_PER_TICK,
) -> Plan:
    """Decide which days to derive.

    A day is asked for when its mark differs from the one it was last asked with, no run of it is unfinished
    (``busy``), and ``every`` seconds have passed since; never before ``first`` nor after today, and at most
    ``limit`` a tick, those asked for longest ago first. When a day is over its mark changes, whatever lands.
    """
    days, since = _taken_up(cursor, rows, now)
    today = datetime.fromtimestamp(now, UTC).date()
    changed = [
        day
        for day, known in days.items()
        if _waits(day, known, now) and first <= day <= today and (known.high_water or known.routed or known.asked)
    ]
    ready = [day for day in changed if day not in busy and now - days[day].asked_at >= every]
    chosen = sorted(ready, key=lambda day: (days[day].asked_at, today - day))[:limit]
    for day in chosen:
        mark = days[day].mark(is_over=_ended(day, now) >= CLOSE_SECONDS)
        days[day] = msgspec.structs.replace(days[day], asked=mark, asked_at=now)
    return Plan(
        [(day, f"{day}:{days[day].asked}") for day in chosen],
        Cursor(since, _remembered(days, now)),
        len(changed) - len(chosen),
    )


def reason_of(before: KnownDay | None, day: date, today: date) -> str:
    """Say why a day is asked for, of which the cursor knew ``before``."""
    if day >= today:
        return "landed"
    is_first_of_the_closed = before is not None and before.asked and not before.asked.endswith(CLOSED)
    return "closed" if is_first_of_the_closed else "late arrivals"


def _ended(day: date, now: float) -> float:
    """Give the seconds since a day's end."""
    return now - datetime.combine(day, datetime.min.time(), UTC).timestamp() - 86_400.0


def _waits(day: date, known: KnownDay, now: float) -> bool:
    """Say whether a day's facts are others than it was last asked for with.

    A day that was over for a week when it was first seen to be is not asked for because of that alone.
    """
    seconds = _ended(day, now)
    mark = known.mark(is_over=seconds >= CLOSE_SECONDS)
    return mark != known.asked and not (seconds >= FIRST_LOOK_SECONDS and mark == known.asked + CLOSED)


def _taken_up(cursor: Cursor, rows: Iterable[LandedDay], now: float) -> tuple[dict[date, KnownDay], int]:
    """Give the days with what has landed for them, and up to where landings were read.

    No more days wait than a cursor remembers: of a larger backlog those that landed first are taken up, and what
    landed later is read again.
    """
    found = {row.day: row for row in rows}
    days = {day: _with(known, found.get(day)) for day, known in cursor.days.items()}
    room = max(0, DAYS_REMEMBERED - sum(_waits(day, known, now) for day, known in days.items()))
    fresh = sorted((row for row in found.values() if row.day not in days), key=lambda row: row.high_water)
    landed = [row for row in fresh if row.high_water]
    taken = (
        fresh if len(landed) <= room else _whole_instants(landed, max(0, room))
    )  # what only pends can wait, too
    days |= {row.day: _with(KnownDay(), row) for row in taken}
    left = [row.high_water for row in landed if row.day not in days]
    since = min(left) - 1 if left else max((known.high_water for known in days.values()), default=0)
    return days, max(cursor.since, since)


def _whole_instants(landed: list[LandedDay], room: int) -> list[LandedDay]:
    """Give the first that there is room for, but of an instant all or none: the cursor is an instant."""
    last = landed[room].high_water
    first = [row for row in landed[:room] if row.high_water < last]
    # an instant larger than all the memory is taken up whole once nothing else waits
    return first if first or room < DAYS_REMEMBERED else [row for row in landed if row.high_water <= last]


def _with(known: KnownDay, row: LandedDay | None) -> KnownDay:
    if row is None:  # a day that no longer pends is not in the rows
        return msgspec.structs.replace(known, pending=0)
    return msgspec.structs.replace(
        known,
        high_water=max(known.high_water, row.high_water),
        pending=row.pending,
        routed=max(known.routed, row.routed),
        market=max(known.market, row.market),
    )


def _remembered(days: Mapping[date, KnownDay], now: float) -> dict[date, KnownDay]:
    """Bound the cursor: all days that wait (taken up only as far as there is room), then the newest."""
    waiting = {day for day, known in days.items() if _waits(day, known, now)}
    ranked = sorted(days, key=lambda day: (day in waiting, day), reverse=True)
    return {day: days[day] for day in sorted(ranked[: max(DAYS_REMEMBERED, len(waiting))])}


def read_cursor(stored: str | None, now: float) -> tuple[Cursor, str | None]:
    """Read what the last tick wrote; without it begin a week back, and say so where it cannot be read.

    To begin anew is safe: a day whose mark is the one of its last request has its run key already.
    """
    return read_stored(
        stored,
        Cursor(int((now - FIRST_LOOK_SECONDS) * 1_000_000)),
        "started over, a week back; older days that landed since: execution-agent backfill",
    )
