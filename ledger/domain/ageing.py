"""How long something has been open, in the buckets that a desk looks at."""

from __future__ import annotations

from enum import StrEnum

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Age(StrEnum):
    """A bucket, named by what it ends before."""

    MINUTES = "< 2 min"
    HOUR = "< 1 h"
    DAY = "< 1 day"
    OLDER = "older"


def age_of(seconds: float) -> Age:
    """Give the bucket of an age in seconds; a clock that is a little behind makes no age negative."""
    if seconds < 2 * _MINUTE:
        return Age.MINUTES
    if seconds < _HOUR:
        return Age.HOUR
    return Age.DAY if seconds < _DAY else Age.OLDER
