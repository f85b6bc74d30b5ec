"""An execution for tests of figures, everything defaulted."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from ledger.domain.records import Execution, ExecutionStatus, Side
from tests.unit.domain.facts import SECOND, T0


def execution(
    *,
    side: Side = Side.BUY,
    qty: str = "1",
    px: str = "100",
    fee: str | None = None,
    fee_currency: str | None = None,
    currency: str | None = None,
    venue: str = "ALPHA",
    symbol: str = "BTCUSDT",
    at: int = T0 + SECOND,
) -> Execution:
    return Execution(
        "e" * 32, "C1", "M1", venue, "ACC", symbol, side, date(2026, 11, 18), "E1", "E1", ExecutionStatus.ACTIVE,
        Decimal(qty), Decimal(px), currency, None if fee is None else Decimal(fee), fee_currency, None, at,
    )  # fmt: skip
