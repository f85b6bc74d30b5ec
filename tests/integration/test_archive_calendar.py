"""The schedule that archives what has no archive, on a real ledger: its query, and what it asks Dagster for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest

from execution_assets.archives.assets import ArchiveResource
from execution_assets.archives.calendar import archive_calendar
from execution_assets.archives.settings import BUCKET_VARIABLE, KEYS_VARIABLE, SIGNER_VARIABLE
from execution_assets.resources import LedgerResource
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import intent, report

if TYPE_CHECKING:
    from datetime import date

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
CONFIGURED = {BUCKET_VARIABLE: "bucket", KEYS_VARIABLE: "/keys", SIGNER_VARIABLE: "/signer"}


def noon(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 10**9


def due(url: str, environment: dict[str, str] = CONFIGURED) -> set[tuple[str, str]] | str:
    """What a tick asks for: the asset and the day; or why it asks for nothing."""
    resources = {"ledger": LedgerResource(url=url), "archive": ArchiveResource(environment=environment)}
    with (
        TemporaryDirectory() as folder,
        dg.DagsterInstance.local_temp(folder) as instance,
        dg.build_schedule_context(
            instance=instance, resources=resources, scheduled_execution_time=datetime.now(UTC)
        ) as context,
    ):
        found: Any = archive_calendar(context)
    if isinstance(found, dg.SkipReason):
        return str(found.skip_message)
    return {
        (asset.to_user_string(), request.partition_key) for request in found for asset in request.asset_selection
    }


def record(connection: psycopg.Connection[Any], statement: str, *values: object) -> None:
    connection.execute(statement.encode(), values)
    connection.commit()


def archived(connection: psycopg.Connection[Any], name: str, day: date, at: datetime) -> None:
    record(
        connection,
        "INSERT INTO execution.archives (object_key, object_version, record_class, table_name, trade_date, venue, "
        "revision, digest, sha256, size_bytes, row_count, key_id, retain_until, schema_version, manifest_key, "
        "archived_at) VALUES (%s, '1', %s, 't', %s, 'V', 1, 'd', 's', 1, 1, 'k', now(), 1, 'm', %s)",
        f"{name}{day}{at}", name, day, at,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def without_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CONFIGURED:
        monkeypatch.delenv(name, raising=False)


def test_a_day_without_any_execution_is_archived_too(ledger_url: str) -> None:
    """Only an order was routed, and what was decided on that day is audit events of their own."""
    day, before = YESTERDAY, YESTERDAY - timedelta(days=3)
    assert "0 days without an archive" in due(ledger_url)
    Streaming(ledger_url).land([intent("C1", "M1", at=noon(day))])
    assert due(ledger_url) == {("fill_archive", str(day))}, "today's audit events are of a day that is not over"
    with psycopg.connect(ledger_url) as connection:
        record(
            connection,
            "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
            "VALUES (%s, gen_random_uuid(), 'fill', 'k', 'b')",
            before,
        )
        assert due(ledger_url) == {("fill_archive", str(day)), ("audit_archive", str(before))}
        over = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        archived(connection, "fills", day, over - timedelta(minutes=1))
        archived(connection, "audit", before, over)
        assert due(ledger_url) == {("fill_archive", str(day))}, "it was archived before it was over"
        archived(connection, "fills", day, over + timedelta(minutes=1))
    assert "hold them all back" in due(ledger_url)


def test_a_day_waits_for_its_executions_and_its_checks(ledger_url: str) -> None:
    at = noon(YESTERDAY)
    Streaming(ledger_url).land([
        intent("C1", "M1", at=at), report("E1", cl_ord_id="M1", qty="1", px="100", at=at + 1)
    ])  # fmt: skip
    assert "1 days without an archive" in due(ledger_url)
    with psycopg.connect(ledger_url) as connection:
        record(
            connection,
            "INSERT INTO execution.executions_derived (trade_date, derived_digest, live_digest, execution_count, "
            "difference_count, differences, high_water) VALUES (%s, 'd', 'd', 1, 0, '[]', 1)",
            YESTERDAY,
        )
        record(
            connection,
            "INSERT INTO execution.derivations (asset, trade_date, digest, row_count, changed_count, "
            "removed_count) VALUES ('finals', %s, 'd', 1, 0, 0)",
            YESTERDAY,
        )
        assert "1 days without an archive" in due(ledger_url), "no check has looked"
        for passed in (True, False):
            record(
                connection,
                "INSERT INTO execution.check_outcomes (trade_date, asset, check_name, passed, severity, blocking, "
                "row_count, failing, findings, description, remedy) "
                "VALUES (%s, 'executions', %s, %s, 'ERROR', true, 1, 1, '[]', 'd', 'r')",
                YESTERDAY, str(passed), passed,
            )  # fmt: skip
            found = due(ledger_url)
            if passed:
                assert found == {("fill_archive", str(YESTERDAY))}
            else:
                assert "1 days without an archive" in found


def test_without_a_bucket_nothing_is_asked_for(ledger_url: str) -> None:
    Streaming(ledger_url).land([intent("C1", "M1", at=noon(YESTERDAY))])
    assert "archives are not configured" in due(ledger_url, {})
