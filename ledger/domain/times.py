"""Times as nanoseconds since the Unix epoch, UTC: an ``int`` keeps what a venue gives to the last digit."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from ledger.domain.errors import defect_error

NANOS = 1_000_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_NANOS = 86_400 * NANOS
# RFC 3339 with an optional fraction; FIX UTCTimestamp (20260102-09:30:00.123) is read by the FIX venue module
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))\Z", re.ASCII
)


@lru_cache(maxsize=4096)
def day_start(year: int, month: int, day: int) -> int:
    """Nanoseconds of that day's midnight. Raises ``ValueError`` for a day that does not exist."""
    return (date(year, month, day).toordinal() - _EPOCH_ORDINAL) * _DAY_NANOS


def parse_utc(field: str, value: object) -> int:
    """Read an RFC 3339 time to nanoseconds. Raises ``DefectError`` when it is not one, or has no offset."""
    match = _RFC3339.match(value) if isinstance(value, str) else None
    if match is None:
        raise _not_a_time(field, value)
    day, hour, minute, second, fraction, _, sign, offset_hour, offset_minute = match.groups()
    try:
        start = day_start(int(day[:4]), int(day[5:7]), int(day[8:]))
    except ValueError:
        raise _not_a_time(field, value) from None
    return (
        start
        + clock_nanos(field, value, hour, minute, second, fraction)
        - _offset(field, value, sign, offset_hour, offset_minute)
    )


def clock_nanos(field: str, value: object, hour: str, minute: str, second: str, fraction: str | None) -> int:
    """Nanoseconds since midnight of a clock time in text; a leap second (60) is the day's last instant."""
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if hours > 23 or minutes > 59 or seconds > 60:  # noqa: PLR2004  the clock's own numbers
        raise _not_a_time(field, value)
    if seconds == 60:  # noqa: PLR2004
        return ((hours * 60 + minutes) * 60 + 60) * NANOS - 1
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    return ((hours * 60 + minutes) * 60 + seconds) * NANOS + nanos


def _offset(field: str, value: object, sign: str | None, hour: str | None, minute: str | None) -> int:
    if sign is None or hour is None or minute is None:
        return 0
    if hour > "23" or minute > "59":
        raise _not_a_time(field, value)
    nanos = (int(hour) * 60 + int(minute)) * 60 * NANOS
    return nanos if sign == "+" else -nanos


def _not_a_time(field: str, value: object) -> Exception:
    return defect_error(
        "not_a_time",
        field,
        value,
        "a UTC time such as 2026-11-23T09:30:00.123456789Z is required",
        "Check the venue's clock format.",
    )


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4096)  # a benchmark's time is written with every fill that is measured against it
def format_utc(nanos: int) -> str:
    """RFC 3339, nine decimals, ``Z``."""
    second, fraction = divmod(nanos, NANOS)
    return f"{_second_text(second)}.{fraction:09d}Z"


@lru_cache(maxsize=4096)
def _date_of_day(day: int) -> date:
    return date.fromordinal(_EPOCH_ORDINAL + day)


def utc_date(nanos: int) -> date:
    """Give the UTC calendar day of a time."""
    return _date_of_day(nanos // _DAY_NANOS)


def to_datetime(nanos: int) -> datetime:
    """Convert to an aware datetime; what is under a microsecond is cut."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanos // 1000)
