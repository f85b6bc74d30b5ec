"""The sensors on a real ledger: lag is told once, letters are asked for once, Dagster's event log shrinks."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg
import psycopg
import pytest
from dagster._core.instance.ref import InstanceRef

from execution_assets.derivation import derive_day
from execution_assets.resources import LedgerResource
from execution_assets.retention import prune
from ledger.db.urls import plain_url
from ledger.domain.decide import Policy
from ledger.domain.times import utc_date
from sensors.alerting import Notice, State
from sensors.dead_letters import dead_letters_to_replay
from sensors.fill_lag import execution_fill_lag
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import T0, intent, report

DAY = utc_date(T0)


def run_sql(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(plain_url(url)) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


class Recording:
    def __init__(self) -> None:
        self.told: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.told.append(notice)


def tick(sensor: dg.SensorDefinition, url: str, cursor: str | None, **resources: object) -> dg.SensorResult:
    context = dg.build_sensor_context(
        instance=dg.DagsterInstance.ephemeral(),
        cursor=cursor,
        resources={"ledger": LedgerResource(url=url), **resources},
    )
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_fill_that_waits_is_told_once_and_its_end_once(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTION_AGENT_METRICS_URL", raising=False)
    streaming, alerts = Streaming(ledger_url), Recording()
    streaming.land([report("E1", cl_ord_id="M9")])  # its intent has not come since T0
    cursor: str | None = None
    for _ in range(3):
        cursor = tick(execution_fill_lag, ledger_url, cursor, alerts=alerts).cursor
    assert [(n.state, n.alert.subject) for n in alerts.told] == [(State.RAISED, "backlog of ALPHA")]
    assert "1 reports of ALPHA wait" in alerts.told[0].alert.summary

    streaming.land([intent("C9", "M9")])
    for _ in range(2):
        cursor = tick(execution_fill_lag, ledger_url, cursor, alerts=alerts).cursor
    assert [n.state for n in alerts.told] == [State.RAISED, State.RESOLVED]


def test_slow_fills_and_a_process_that_is_away_are_told(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTION_AGENT_METRICS_URL", "http://127.0.0.1:9/metrics")  # the discard port: nobody
    now = time.time_ns()
    streaming, alerts = Streaming(ledger_url), Recording()
    streaming.land([intent("C1", "M1", qty="100", at=now - 10**10)])
    streaming.land([report(f"E{n}", qty="1", at=now - 5 * 10**9) for n in range(30)])
    tick(execution_fill_lag, ledger_url, None, alerts=alerts)
    assert [n.alert.subject for n in alerts.told] == ["latency of ALPHA", "streaming process"]
    assert "of 30 reports" in alerts.told[0].alert.figure


LETTERS = {  # the id's last digit: reason, field, value
    1: ("out_of_order", "exec_ref_id", "E1"),  # what it refers to has landed: can be a fact now
    2: ("out_of_order", "exec_ref_id", "E9"),  # has not
    3: ("malformed", "raw", "E1"),  # never
    4: ("out_of_order", "cum_qty", "7"),  # a total, and nothing of the venue waits for a fill
}


def letter(number: int) -> str:
    return str(UUID(int=number))


def test_letters_that_can_be_facts_are_asked_for_once_when_their_day_is_reconciled(ledger_url: str) -> None:
    Streaming(ledger_url).land([intent("C1", "M1"), report("E1")])
    for number, (reason, field, value) in LETTERS.items():
        run_sql(
            ledger_url,
            "INSERT INTO execution.dead_letters (dead_letter_id, source, feed, reason, field, value, raw,"
            " received_ns, rule, remedy) VALUES (%s, 'ALPHA', 'ALPHA.fix', %s, %s, %s, '', %s, 'r', 'r')",
            letter(number), reason, field, value, T0,
        )  # fmt: skip

    def asked() -> list[str]:
        rows = run_sql(ledger_url, "SELECT dead_letter_id::text FROM execution.replay_requests ORDER BY 1")
        return [str(row[0]) for row in rows]

    first = tick(dead_letters_to_replay, ledger_url, None)
    assert asked() == [], "no day is reconciled"
    derive_day(LedgerResource(url=ledger_url).engine(), DAY, Policy())
    second = tick(dead_letters_to_replay, ledger_url, first.cursor)
    assert asked() == [letter(1), letter(4)]
    derive_day(LedgerResource(url=ledger_url).engine(), DAY, Policy())
    third = tick(dead_letters_to_replay, ledger_url, second.cursor)
    tick(dead_letters_to_replay, ledger_url, "unreadable")
    assert asked() == [letter(1), letter(4)], "each once, ever"
    assert "0 dead letters asked for, of 1 reconciled days" in str(third.skip_reason)


def test_letters_that_wait_for_ever_do_not_hide_the_ones_behind_them(ledger_url: str) -> None:
    """3,000 older letters miss their report still; that of 150 newer ones has landed: asked for in two ticks."""
    Streaming(ledger_url).land([intent("C1", "M1"), report("E1")])
    run_sql(
        ledger_url,
        "INSERT INTO execution.dead_letters (dead_letter_id, source, feed, reason, field, value, raw, received_ns,"
        " rule, remedy) SELECT lpad(to_hex(n), 32, '0')::uuid, 'ALPHA', 'ALPHA.fix', 'out_of_order',"
        " 'exec_ref_id', CASE WHEN n <= 3000 THEN 'none' ELSE 'E1' END, '', %s::bigint + n, 'r', 'r'"
        " FROM generate_series(1, 3150) AS n",
        T0,
    )
    derive_day(LedgerResource(url=ledger_url).engine(), DAY, Policy())
    asked, cursor = [], None
    for _ in range(3):
        cursor = tick(dead_letters_to_replay, ledger_url, cursor).cursor
        asked.append(run_sql(ledger_url, "SELECT count(*) FROM execution.replay_requests")[0][0])
    assert asked == [100, 150, 150]
    hopeless = "SELECT count(*) FROM execution.replay_requests JOIN execution.dead_letters USING (dead_letter_id)"
    assert run_sql(ledger_url, f"{hopeless} WHERE value = 'none'") == [(0,)]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def something(context: dg.AssetExecutionContext) -> None:
    context.log.info("a line that nobody needs")


@dg.asset_check(asset=something, partitions_def=something.partitions_def)
def is_good() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_the_event_log_shrinks_and_lineage_stays(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database_url.replace("postgresql://", "postgresql+psycopg2://"))
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: {env: DAGSTER_POSTGRES_URL}}}\ntelemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        for _ in range(3):
            for key in ("a", "b"):
                assert dg.materialize([something, is_good], partition_key=key, instance=instance).success
        rows = len(run_sql(database_url, "SELECT 1 FROM event_logs"))
        assert sum(prune(instance, datetime.now(UTC) - timedelta(days=1)).rows.values()) == 0, "nothing is old"

        stopped = prune(instance, datetime.now(UTC) + timedelta(days=1), seconds=0)
        assert (stopped.is_complete, sum(stopped.rows.values())) == (False, 0)
        pruned = prune(instance, datetime.now(UTC) + timedelta(days=1), batch=7)
        left = run_sql(
            database_url,
            "SELECT e.dagster_event_type, coalesce(e.partition, c.partition) FROM event_logs e"
            " LEFT JOIN asset_check_executions c ON c.evaluation_event_storage_id = e.id ORDER BY 1, 2",
        )
        assert left == [
            ("ASSET_CHECK_EVALUATION", "a"), ("ASSET_CHECK_EVALUATION", "b"),
            ("ASSET_MATERIALIZATION", "a"), ("ASSET_MATERIALIZATION", "b"),
        ]  # fmt: skip
        assert pruned.is_complete
        assert rows > 60
        assert instance.get_materialized_partitions(something.key) == {"a", "b"}
        assert run_sql(database_url, "SELECT count(*) FROM asset_check_executions") == [(2,)]
        assert dg.materialize([something, is_good], partition_key="a", instance=instance).success
