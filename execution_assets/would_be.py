"""What deriving a day would change, table by table, each as it would be after the one before was corrected.

Nothing of the ledger is written, so that no row is locked and reading is all the rights it takes: the day's live
rows, corrected, are in temporary tables of a transaction that is rolled back, and the later tables read those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from execution_assets.correction import write_corrections
from execution_assets.daily import breaks_in, quality_in
from execution_assets.derivation import derive_in
from execution_assets.facts import CORRECTED, WOULD_BE
from execution_assets.final_day import finals_in
from execution_assets.serial import in_one_transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from execution_assets.derivation import Derivation
    from execution_assets.sheets import Changes
    from ledger.domain.decide import Policy


def plan_day(
    engine: Engine, day: date, policy: Policy, slo_us: int, *, log: Callable[[str], None] = lambda _: None
) -> tuple[Derivation, list[Changes]]:
    """Derive a day, and say what would change of its executions and slippages, then of its other tables."""

    def work(connection: Connection) -> tuple[Derivation, list[Changes]]:
        derivation = derive_in(
            connection, day, policy, log, correct=False, stage=lambda folder: _stage(connection, day, folder)
        )
        return derivation, [
            *finals_in(connection, day, policy, log, correct=False),
            breaks_in(connection, day, correct=False),
            quality_in(connection, day, slo_us, correct=False),
        ]

    return in_one_transaction(engine, day, work, correct=False, log=log)


def _stage(connection: Connection, day: date, folder: Path) -> None:
    """Make the day's live rows as they would be, and let what reads them read these."""
    for table in ("executions", "slippage_metrics"):
        # what is computed of other columns comes as it was: nothing that reads these tables asks for it
        like = f"LIKE execution.{table} INCLUDING DEFAULTS INCLUDING INDEXES"
        connection.execute(text(f"CREATE TEMP TABLE {CORRECTED}{table} ({like})"))
        connection.execute(
            text(f"INSERT INTO {CORRECTED}{table} SELECT * FROM execution.{table} WHERE trade_date = :day"),  # noqa: S608
            {"day": day},
        )
        connection.execute(
            text(
                f"CREATE TEMP VIEW {WOULD_BE}{table} AS SELECT * FROM execution.{table} "  # noqa: S608
                f"WHERE trade_date <> '{day}' UNION ALL SELECT * FROM {CORRECTED}{table}"
            )
        )
    write_corrections(connection.execution_options(ledger=CORRECTED), day, folder)
    for table in ("executions", "slippage_metrics"):
        connection.execute(text(f"ANALYZE {CORRECTED}{table}"))
    connection.execution_options(ledger=WOULD_BE)
