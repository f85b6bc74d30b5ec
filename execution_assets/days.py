"""The partitions: one a trading date, in UTC; the venue is a column."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

import dagster as dg

FIRST_DATE_VARIABLE = "EXECUTION_AGENT_FIRST_TRADE_DATE"
_FIRST_DATE = "2025-01-01"


def first_date() -> date:
    """Give the first trading date there is a partition for; a wrong setting stops the load with its name."""
    value = os.environ.get(FIRST_DATE_VARIABLE, _FIRST_DATE)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{FIRST_DATE_VARIABLE}={value!r}: a date such as {_FIRST_DATE} is required") from None


# end_offset=1: the day that is still being traded has its partition, too
TRADING_DAYS = dg.DailyPartitionsDefinition(
    start_date=datetime.combine(first_date(), datetime.min.time(), tzinfo=UTC), timezone="UTC", end_offset=1
)
