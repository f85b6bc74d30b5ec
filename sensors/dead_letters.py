"""Dead letters that can be facts now are handed in again when their day has been reconciled. ``plan`` decides.

The failures it prevents: letters that lie for ever although what they missed has come, also behind thousands that
miss it still; a letter asked for at every tick (one request a letter, ever: a person may ask again); thousands of
requests at once after a bad day.
"""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import msgspec
from sqlalchemy.exc import DBAPIError

from execution_assets.resources import LedgerResource
from sensors.cursors import read_stored, write_cursor
from sensors.reading import rows

DAYS_PER_TICK = 20
REPLAYS_PER_TICK = 100
FIRST_LOOK_SECONDS = 7 * 86_400


class Cursor(msgspec.Struct, frozen=True):
    """Up to which derivation (us) days were looked at, and the days whose letters are not all asked for."""

    since: int
    days: tuple[date, ...] = ()


class Derived(msgspec.Struct, frozen=True):
    """A day whose reconciliation has succeeded, and when (us)."""

    day: date
    derived_us: int


def days_due(cursor: Cursor, derived: Sequence[Derived], limit: int = DAYS_PER_TICK) -> tuple[date, ...]:
    """Decide which days' letters to look for: those left from the last tick, then the newly derived."""
    return tuple(dict.fromkeys([*cursor.days, *(one.day for one in derived)]))[:limit]


def next_cursor(
    cursor: Cursor, derived: Sequence[Derived], looked: Sequence[date], asked: int, limit: int = REPLAYS_PER_TICK
) -> Cursor:
    """Remember what is left: all days looked at where the limit was met, and newly derived ones not looked at."""
    left = [day for day in looked if asked >= limit]
    later = [one for one in derived if one.day not in looked]
    since = min(
        (one.derived_us - 1 for one in later), default=max([cursor.since, *(d.derived_us for d in derived)])
    )
    return Cursor(max(cursor.since, since), tuple(left))


def read_cursor(stored: str | None, now: float) -> tuple[Cursor, str | None]:
    """Read what the last tick wrote; begin a week back without it, and say so where it cannot be read."""
    fresh = Cursor(int((now - FIRST_LOOK_SECONDS) * 1_000_000))
    return read_stored(stored, fresh, "started over, a week back")


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Hands dead letters in again once the day that they missed has been reconciled: those that came out of "
        "order and whose missing report has landed since. At most 100 a tick, each once."
    ),
)
def dead_letters_to_replay(context: dg.SensorEvaluationContext, ledger: LedgerResource) -> dg.SensorResult:
    """Look at newly reconciled days and ask for the replay of what can land now."""
    now = time.time()
    cursor, problem = read_cursor(context.cursor, now)
    if problem is not None:
        context.log.warning("%s", problem)
    since = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=cursor.since)
    with ledger.reading() as connection:
        derived = [
            Derived(row["day"], row["derived_us"])
            for row in rows(connection, "derived_since", since=since, limit=DAYS_PER_TICK)
        ]
        days = days_due(cursor, derived)
        letters = [
            row["dead_letter_id"]
            for row in (rows(connection, "replayable", days=list(days), limit=REPLAYS_PER_TICK) if days else ())
        ]
    if letters:
        request(ledger, letters)
    return dg.SensorResult(
        cursor=write_cursor(next_cursor(cursor, derived, days, len(letters))),
        skip_reason=f"{len(letters)} dead letters asked for, of {len(days)} reconciled days",
    )


def request(ledger: LedgerResource, letters: Sequence[str]) -> None:
    """Ask for replays by the rows that ``execution-agent dlq replay`` writes; the streaming process does them."""
    try:
        with ledger.engine().begin() as connection:
            rows(connection, "request", ids=list(letters), again=False)
    except DBAPIError as error:
        raise dg.Failure(
            f"execution.replay_requests: {error.orig}. This login needs INSERT there (docs/dagster.md, Sensors)."
        ) from error
