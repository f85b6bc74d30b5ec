"""The sensor that asks for days, on a real ledger: what lands after the last fill counts, and a tick is cheap."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest
from sqlalchemy import text

from execution_assets.facts import SQL
from execution_assets.resources import LedgerResource
from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.records import ExecType
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import day_start
from sensors.landed_days import REASON_TAG, landed_days
from tests.integration.database import connected
from tests.unit.domain.facts import SECOND, intent, order_report, report, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=3)  # a day that is over, and recent
NOON = day_start(OLD.year, OLD.month, OLD.day) + 43_200 * SECOND


async def land(url: str, facts: Sequence[Fact]) -> None:
    async with connected(url) as connection:
        await Landing(connection).land(decide(Book(SnapshotBook()), facts, Policy()))


class Sensor:
    """Ticks one after the other, each with the cursor of the one before."""

    def __init__(self, url: str) -> None:
        self._ledger = LedgerResource(url=url)
        self._cursor: str | None = None

    def tick(self) -> list[tuple[str | None, str]]:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=self._cursor, resources={"ledger": self._ledger}
            )
            result = landed_days(context)
        assert isinstance(result, dg.SensorResult)
        self._cursor = result.cursor
        return [(r.partition_key, r.tags[REASON_TAG]) for r in result.run_requests or []]


@pytest.fixture
def sensor(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    monkeypatch.setenv("EXECUTION_AGENT_DERIVE_EVERY_SECONDS", "0")
    return Sensor(ledger_url)


async def test_what_lands_after_the_last_fill_of_a_day_asks_for_it_again(ledger_url: str, sensor: Sensor) -> None:
    late = [(OLD.isoformat(), "late arrivals")]
    await land(ledger_url, [snapshot("S1", "99", "101", NOON), intent(at=NOON), report(at=NOON + SECOND)])
    assert sensor.tick() == late
    assert sensor.tick() == []
    await land(ledger_url, [order_report(ExecType.CANCELED, at=NOON + 2 * SECOND)])
    assert sensor.tick() == late
    assert sensor.tick() == []
    await land(ledger_url, [snapshot("S2", "98", "100", NOON + 61 * SECOND)])
    assert sensor.tick() == late
    assert sensor.tick() == []


async def test_a_day_of_orders_that_never_traded_is_asked_for(ledger_url: str, sensor: Sensor) -> None:
    await land(ledger_url, [intent(at=NOON)])
    assert sensor.tick() == [(OLD.isoformat(), "late arrivals")]
    assert sensor.tick() == []


async def test_a_day_that_ends_is_asked_for_once_more(
    ledger_url: str, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = (NOON + 43_200 * SECOND) / 1e9
    await land(ledger_url, [intent(at=NOON), report(at=NOON + 43_199 * SECOND)])
    told = []
    for seconds in (1, 60, 300, 600, 700, 800):
        monkeypatch.setattr(time, "time", lambda at=end + seconds: at)
        told += [(seconds, reason) for _, reason in sensor.tick()]
    assert told == [(1, "late arrivals"), (600, "closed")]


def scans(plan: dict[str, Any]) -> list[str]:
    """Name the tables that a plan reads whole."""
    own = [str(plan["Relation Name"])] if plan["Node Type"] == "Seq Scan" else []
    return own + [name for part in plan.get("Plans", []) for name in scans(part)]


@pytest.mark.parametrize("indexed", [True, False])
async def test_a_tick_reads_no_days_order_reports_whole(ledger_url: str, *, indexed: bool) -> None:
    days = [TODAY - timedelta(days=back) for back in range(3)]
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        for day in days:
            connection.execute("SELECT execution.ensure_partitions(%s)", [day])
            connection.execute(
                "INSERT INTO execution.order_reports (report_id, trade_date, venue, account, symbol, exec_type, "
                "transact_ns, received_ns, landed_at, feed, raw) SELECT gen_random_uuid(), %s, 'ALPHA', 'ACC', "
                "'BTCUSDT', 'new', 0, 0, now() - make_interval(secs => 10060 - n), 'f', 'raw' "
                "FROM generate_series(1, 10000) n",
                [day],
            )
        if not indexed:  # the test can tell
            connection.execute("DROP INDEX execution.order_reports_landed")
        connection.execute("ANALYZE execution.order_reports")
    query = text("EXPLAIN (FORMAT JSON) " + str(SQL["landed_days"]))
    with LedgerResource(url=ledger_url).engine().connect() as asking:
        [[plan]] = asking.execute(query, {"since": datetime.now(UTC) - timedelta(seconds=30)}).scalars().all()
    full = {f"order_reports_{day:%Y%m%d}" for day in days}
    assert full.intersection(scans(plan["Plan"])) == (set() if indexed else full)
