"""Reference data out of ``execution.instruments``: by the live process and by Dagster, the same rows.

Read when a session with Postgres begins. A row that breaks a rule raises ``DefectError``, which names it: figures
of wrong contract sizes would be worse than none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.domain.errors import defect_error
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.numbers import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    import asyncpg
    from sqlalchemy import Connection

_QUERY = load_queries("instruments")["instruments"]
_KINDS = {str(kind): kind for kind in InstrumentKind}


async def load_instruments(connection: asyncpg.Connection[Any]) -> Instruments:
    """Load all reference data, as the live process does. Raises ``LedgerUnavailableError``, ``DefectError``."""
    with explained("reading instruments"):
        rows = await connection.fetch(_QUERY)
    return Instruments(map(read_instrument, rows))


def read_instruments(connection: Connection) -> Instruments:
    """Load all reference data over SQLAlchemy, as Dagster does. Raises ``DefectError``."""
    rows: Any = connection.execute(text(_QUERY)).mappings()
    return Instruments(map(read_instrument, rows))


def read_instrument(row: Mapping[str, Any]) -> Instrument:
    """Read a row of ``instruments``."""
    kind = _KINDS.get(row["kind"])
    if kind is None:
        raise defect_error(
            "unknown_value",
            f"instruments[{row['venue']} {row['symbol']}].kind",
            row["kind"],
            f"one of {', '.join(_KINDS)} is required",
            "Correct the row of execution.instruments.",
        )
    return Instrument(
        row["venue"],
        row["symbol"],
        kind,
        row["base"],
        row["quote"],
        row["settlement"],
        canonical(row["contract_size"]),
        canonical(row["multiplier"]),
        _optional(row["tick"]),
        _optional(row["lot"]),
    )


def _optional(value: Decimal | None) -> Decimal | None:
    return None if value is None else canonical(value)
