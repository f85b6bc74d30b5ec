"""A dry run tells what the backfill after it does, of every table, and needs no right to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.derivation import derive_day
from execution_assets.final_day import derive_finals
from execution_assets.resources import LedgerResource
from execution_assets.would_be import plan_day
from ledger.domain.decide import Policy
from tests.integration.test_final_day import DAY, SLO_US, a_day, land, rows

if TYPE_CHECKING:
    from execution_assets.sheets import Changes

TAMPERED = (
    "UPDATE execution.executions SET last_px = last_px + 5 WHERE exec_id = 'E1'",
    "DELETE FROM execution.executions WHERE exec_id = 'E3'",
    """
    INSERT INTO execution.executions (execution_id, trade_date, correlation_id, msg_id, venue, account, symbol,
                                      side, exec_id, last_exec_id, status, last_qty, last_px, transact_ns)
    SELECT gen_random_uuid(), trade_date, correlation_id, msg_id, venue, account, symbol, side, 'X', 'X', status,
           last_qty, last_px, transact_ns FROM execution.executions WHERE exec_id = 'E5'
    """,
    "UPDATE execution.slippage_metrics SET bps = bps + 1 WHERE kind = 'fill_mid'",
)


def told(changes: list[Changes]) -> dict[str, tuple[Any, ...]]:
    return {c.asset: (c.rows, c.added, c.changed, c.removed, c.digest, c.sample) for c in changes}


@pytest.mark.parametrize("is_derived", [False, True], ids=["never derived", "derived and tampered with since"])
async def test_a_dry_run_tells_what_a_backfill_does(
    ledger_url: str, urls: dict[str, str], *, is_derived: bool
) -> None:
    await land(ledger_url, a_day())
    engine = LedgerResource(url=ledger_url).engine()
    if is_derived:
        derive_finals(engine, DAY, Policy())
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        for statement in TAMPERED:
            assert connection.execute(statement.encode()).rowcount
    everything = "SELECT t::text FROM execution.executions t ORDER BY 1"
    before = rows(ledger_url, everything)

    reading = LedgerResource(url=urls["auditor"]).engine()
    planned, tables = plan_day(reading, DAY, Policy(), SLO_US)
    assert told(plan_day(reading, DAY, Policy(), SLO_US)[1]) == told(tables)
    assert rows(ledger_url, everything) == before

    done = derive_day(engine, DAY, Policy())
    assert (planned.derived_digest, planned.differences.found) == (done.derived_digest, done.differences.found)
    assert planned.differences.count >= 4
    found = derive_finals(engine, DAY, Policy())
    others = [derive_breaks(engine, DAY), derive_quality(engine, DAY, SLO_US)]
    assert told(tables) == told([*found, *others])
    _, nothing = plan_day(reading, DAY, Policy(), SLO_US)
    assert [c.count for c in nothing] == [0] * 4
