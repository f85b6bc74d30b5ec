"""What a check found of a day, kept in the ledger: the report of the day reads it there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db.sql import load_queries

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy import Engine

    from execution_assets.expectations import Outcome

_SQL = load_queries("checks")


class Judge(msgspec.Struct, frozen=True):
    """A check as it is declared."""

    asset: str
    name: str
    severity: str
    blocking: bool
    description: str
    remedy: str


def keep(
    engine: Engine, judge: Judge, day: date, outcome: Outcome | None, *, skipped: str | None, digest: str | None
) -> None:
    """Write what a check found of a day over what it found before.

    ``outcome`` None: there was nothing to judge, ``skipped`` says why. ``digest`` is of the executions that were
    judged.
    """
    row: dict[str, Any] = {
        **msgspec.to_builtins(judge),
        "check_name": judge.name,
        "trade_date": day,
        "passed": outcome is None or outcome.success,
        "row_count": 0 if outcome is None else outcome.row_count,
        "failing": 0 if outcome is None else outcome.failing,
        "findings": json.dumps([] if outcome is None else outcome.findings(), ensure_ascii=False),
        "skipped": skipped,
        "of_digest": digest,
    }
    with engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute(_SQL["keep_outcome"], row)
