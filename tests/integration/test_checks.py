"""Every check is shown a day with its fault planted, on a real Postgres: it names the rows and the remedy."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from execution_assets.automation import automated
from execution_assets.checks import CHECKS
from execution_assets.data_docs import data_docs
from execution_assets.derivation import derive_day
from execution_assets.executions import executions
from execution_assets.report.facts import read_facts
from execution_assets.report.words import verdict
from execution_assets.resources import LedgerResource
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import SOURCES
from ledger.db.urls import plain_url
from ledger.domain.decide import Policy
from ledger.domain.records import ReportKind
from ledger.domain.times import utc_date
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot

# ruff: noqa: E501, S608  the table of faults: a line a value
pytestmark = pytest.mark.slow  # Great Expectations takes 7-13 s to import

DAY = utc_date(T0)
FIX = b"8=FIX.4.4\x0135=8\x0134=%d\x0110=000\x01"


@pytest.fixture
def url(ledger_url: str) -> str:
    """A derived day in which nothing is wrong: two orders, a bust, a correct, exact benchmarks."""
    streaming = Streaming(ledger_url)
    streaming.land([
        snapshot("S1", "99.5", "100.5", T0),
        intent("C1", "M1", qty="10", limit="101"),
        intent("C2", "M2", qty="10"),
        report("E1", qty="2", px="100.1", cum="2"),
        report("E2", qty="3", px="100.2", cum="5", at=T0 + 2 * SECOND),
        report("E3", cl_ord_id="M2", qty="4", px="100.3", cum="4"),
        report("E4", cl_ord_id="M2", qty="1", px="100.3", cum="5", at=T0 + 2 * SECOND),
        report("E5", cl_ord_id="M2", kind=ReportKind.CORRECT, ref="E3", qty="4", px="100.4", at=T0 + 3 * SECOND),
        report("E6", cl_ord_id="M2", kind=ReportKind.BUST, ref="E4", qty="1", px="100.3", at=T0 + 4 * SECOND),
    ])  # fmt: skip
    run_sql(ledger_url, "UPDATE execution.fills SET landed_at = to_timestamp(received_ns / 1e9) + interval '5 ms'")
    derive_day(LedgerResource(url=ledger_url).engine(), DAY, Policy())
    return ledger_url


def run_sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(plain_url(url)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def evaluate(url: str, *names: str) -> dict[str, dg.AssetCheckEvaluation]:
    """The outcomes of checks of the derived day, run alone; all of them without a name."""
    selection = dg.AssetSelection.checks(
        *(key for check in CHECKS for key in check.check_keys if not names or key.name in names)
    )
    result = dg.materialize(
        [*SOURCES, executions, slippage_metrics, *CHECKS],
        selection=selection,
        resources={"ledger": LedgerResource(url=url)},
        raise_on_error=False,
    )
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def shown(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


ID = "SELECT replace({}::text, '-', '') FROM execution.{} WHERE {}"
E1_EXECUTION = ID.format("execution_id", "executions", "exec_id = 'E1'")
E1_REPORT = ID.format("report_id", "fills", "exec_id = 'E1'")

# check, what is planted, whose identity must be named, a part of what is said
FAULTS = [
    pytest.param("executions_are_sound", "UPDATE execution.executions SET last_qty = 0 WHERE exec_id = 'E1'",
                 E1_EXECUTION, "LastQty 0 is not above zero", id="a quantity of zero"),
    pytest.param("executions_are_sound", "UPDATE execution.executions SET last_px = 'NaN' WHERE exec_id = 'E1'",
                 E1_EXECUTION, "LastPx NaN is not above zero", id="a price that is no number"),
    pytest.param("executions_are_sound",
                 "INSERT INTO execution.executions (execution_id, trade_date, correlation_id, msg_id, venue, account,"
                 " symbol, side, exec_id, last_exec_id, status, last_qty, last_px, transact_ns)"
                 " SELECT gen_random_uuid(), trade_date, correlation_id, msg_id, venue, account, symbol, side,"
                 " exec_id, last_exec_id, status, last_qty, last_px, transact_ns"
                 " FROM execution.executions WHERE exec_id = 'E1'",
                 E1_EXECUTION, "ExecID E1 of ALPHA is more than one execution", id="one ExecID twice"),
    pytest.param("quantity_is_conserved", "DELETE FROM execution.executions WHERE exec_id = 'E1'",
                 E1_REPORT, "2 at 100.1 landed, but is no execution", id="a fill that is lost"),
    pytest.param("quantity_is_conserved", "DELETE FROM execution.fills WHERE exec_id = 'E1'",
                 E1_EXECUTION, "2 at 100.1 that no landed report tells of", id="an execution that is invented"),
    pytest.param("quantity_is_conserved", "UPDATE execution.executions SET last_qty = 2.000000000000000001"
                 " WHERE exec_id = 'E1'",
                 E1_EXECUTION, "2.000000000000000001 at 100.1, reported", id="a quantity off by 1e-18: no float"),
    pytest.param("quantity_is_conserved", "UPDATE execution.executions SET last_px = 100.3 WHERE exec_id = 'E3'",
                 ID.format("execution_id", "executions", "exec_id = 'E3'"), "4 at 100.3, reported",
                 id="a correct that is not applied"),
    pytest.param("quantity_is_conserved", "UPDATE execution.executions SET status = 'active' WHERE exec_id = 'E4'",
                 ID.format("execution_id", "executions", "exec_id = 'E4'"), "active in spite of a landed bust",
                 id="a bust that is not applied"),
    pytest.param("totals_are_the_venues", "UPDATE execution.fills SET cum_qty = 7 WHERE exec_id = 'E2'",
                 "SELECT 'C1'", "ExecID E2 counts 7, the executions make 5: 2 is missing",
                 id="the venue counts a fill more"),
    pytest.param("totals_are_the_venues", "UPDATE execution.fills SET cum_qty = 4 WHERE exec_id = 'E2'",
                 "SELECT 'C1'", "counts 4, the executions make 5: 1 too many", id="the venue counts less"),
    pytest.param("sequences_have_no_holes",
                 "INSERT INTO execution.feed_positions VALUES ('ALPHA.fix', 'X', '', 7);"
                 " UPDATE execution.fills SET raw = '\\x383d4649582e342e3401" + b"34=9\x01".hex() + "'"
                 " WHERE exec_id = 'E2'",
                 "SELECT 'ALPHA.fix'", "MsgSeqNum 9 has landed, but all before it only up to 7",
                 id="a message beyond a hole"),
    pytest.param("prices_are_within_limits", "UPDATE execution.executions SET last_px = 101.000000000001"
                 " WHERE exec_id = 'E1'",
                 E1_EXECUTION, "bought at 101.000000000001, the limit is 101", id="a hair beyond the limit"),
    pytest.param("prices_are_within_limits", "UPDATE execution.slippage_metrics SET bps = -500.0001"
                 " WHERE kind = 'fill_mid' AND execution_id = (SELECT execution_id FROM execution.executions"
                 " WHERE exec_id = 'E1')",
                 E1_EXECUTION, "500.0001 bps from the mid 100, the band is 500", id="out of the band"),
    pytest.param("times_are_plausible", "UPDATE execution.fills SET received_ns = transact_ns - 6000000000"
                 " WHERE exec_id = 'E1'", E1_REPORT, "after it was received", id="received before it happened"),
    pytest.param("times_are_plausible", "UPDATE execution.fills SET landed_at = landed_at - interval '1 hour'"
                 " WHERE exec_id = 'E1'", E1_REPORT, "after it landed", id="landed before it was received"),
    pytest.param("times_are_plausible", "UPDATE execution.orders SET routed_ns = routed_ns + 8000000000"
                 " WHERE msg_id = 'M1'", E1_REPORT, "before its order was routed", id="filled before it was routed"),
    pytest.param("times_are_plausible", "UPDATE execution.fills SET transact_ns = transact_ns - 3 * 86400000000000"
                 " WHERE exec_id = 'E1'", E1_REPORT, "its trade date is", id="another day's trade date"),
    pytest.param("nothing_pends",
                 "INSERT INTO execution.fills_pending (report_id, content, trade_date, venue, reason, reference_kind,"
                 " reference, since_ns) SELECT report_id, content, trade_date, venue, 'awaiting_intent', 'c', 'M9',"
                 " received_ns FROM execution.fills WHERE exec_id = 'E1'",
                 E1_REPORT, "awaiting_intent since", id="a report waits"),
    pytest.param("streaming_equals_derived", "UPDATE execution.executions_derived SET live_digest = 'other'",
                 f"SELECT '{DAY}'", "streaming other, derived", id="another digest"),
    pytest.param("slippage_is_final",
                 "UPDATE execution.executions_derived SET differences = (SELECT format('{\"executions\": 0,"
                 ' "slippages": 1, "worst_bps": "2.1", "sample": [{"execution_id": "%s", "kind":'
                 " \"fill_mid\", \"found\": \"differs\", \"fields\": {\"bps\": [\"1\", \"3.000000000001\"]}}]}',"
                 " replace(execution_id::text, '-', '')) FROM execution.executions WHERE exec_id = 'E1')",
                 E1_EXECUTION, "live 1, final 3.000000000001: 2.000000000001 bps apart", id="2.000000000001 bps apart"),
    pytest.param("references_hold", "DELETE FROM execution.orders WHERE msg_id = 'M1'",
                 E1_EXECUTION, "order C1 has no routed message", id="an order that is gone"),
    pytest.param("references_hold", "DELETE FROM execution.executions WHERE exec_id = 'E1'",
                 E1_REPORT, "slippages without their execution", id="slippages that are left"),
    pytest.param("references_hold", "DELETE FROM execution.benchmark_snapshots",
                 E1_EXECUTION, "snapshot is not there: arrival_mid S1", id="a snapshot that is gone"),
    pytest.param("references_hold", "INSERT INTO execution.fills_pending (report_id, content, trade_date, venue,"
                 " reason, reference_kind, reference, since_ns) SELECT report_id, gen_random_uuid(), trade_date, venue,"
                 " 'awaiting_intent', 'c', 'M9', received_ns FROM execution.fills WHERE exec_id = 'E1'",
                 E1_REPORT, "awaiting_intent without its report", id="a wait for nothing"),
    pytest.param("latency_is_within_the_slo", "UPDATE execution.fills SET landed_at = landed_at + interval '146 ms'",
                 "SELECT 'ALPHA'", "p95 is 151 ms of 6 reports, the SLO is 150 ms", id="a slow day"),
    pytest.param("duplicates_are_rare", "INSERT INTO execution.feed_counts (feed, counted_on, duplicates)"
                 f" VALUES ('ALPHA.fix', '{DAY}', 1)",
                 "SELECT 'ALPHA.fix'", "1 of 7 are duplicates recognised", id="a feed that resends"),
    pytest.param("duplicates_are_rare", "UPDATE execution.executions SET last_qty = 2, last_px = 100.1,"
                 " transact_ns = (SELECT transact_ns FROM execution.executions WHERE exec_id = 'E1')"
                 " WHERE exec_id = 'E2'",
                 "SELECT 'ALPHA'", "1 of 3 are duplicates in the ledger", id="one trade under two ExecIDs"),
    pytest.param("look_back_found_nothing_missing",
                 "INSERT INTO execution.look_back_audits (audit_id, venue, reason, from_ns, until_ns, compared_ns,"
                 " theirs, ours, missing, handed_in, unconfirmed)"
                 f" VALUES (gen_random_uuid(), 'ALPHA', 'audit', {T0}, {T0 + 60 * SECOND}, {T0}, 7, 6, 1, 0, 0);"
                 "INSERT INTO execution.completeness_findings (finding_id, audit_id, kind, venue, report_id, exec_id,"
                 " symbol, transact_ns, found_ns) VALUES (gen_random_uuid(), gen_random_uuid(), 'missing', 'ALPHA',"
                 f" '00000000-0000-5000-8000-00000000000a', 'E77', 'BTCUSDT', {T0 + SECOND}, {T0})",
                 "SELECT '0000000000005000800000000000000a'", "ALPHA lists ExecID E77 (BTCUSDT,",
                 id="a fill in the venue's list only"),
]  # fmt: skip


def test_a_sound_day_passes_every_check(url: str) -> None:
    found = evaluate(url)
    assert {name: e.passed for name, e in found.items()} == dict.fromkeys(found, True)
    assert len(found) == len(CHECKS)
    skipped = shown(found["look_back_found_nothing_missing"])["skipped"]
    assert skipped.startswith(f"no look-back audit looked at {DAY}")
    assert shown(found["executions_are_sound"])["rows"] == 4


@pytest.mark.parametrize(("check", "plant", "identity", "said"), FAULTS)
def test_a_planted_fault_is_named_with_its_remedy(
    url: str, check: str, plant: str, identity: str, said: str
) -> None:
    [(expected,)] = (run_sql(url, identity) or [("",)])[:1]
    run_sql(url, plant)
    found = evaluate(url, check)[check]
    assert not found.passed
    metadata = shown(found)
    assert expected in metadata["sample"]
    assert said in metadata["findings"]
    assert len(metadata["remedy"]) > 60
    assert metadata["day"] == DAY.isoformat()


def test_what_a_second_feed_tells_too_is_no_fault(url: str) -> None:
    """Both feeds of a hot pair tell all: each then counts what the other brought first."""
    plant = "INSERT INTO execution.feed_counts (feed, counted_on, duplicates) VALUES ('{}', '{}', {})"
    run_sql(url, plant.format("ALPHA.fix", DAY, 3))
    assert not evaluate(url, "duplicates_are_rare")["duplicates_are_rare"].passed
    run_sql(url, plant.format("ALPHA.backup.ws", DAY, 3))
    assert evaluate(url, "duplicates_are_rare")["duplicates_are_rare"].passed


LIVE_BPS = (
    "UPDATE execution.slippage_metrics SET bps = bps + {}, quality = '{}' WHERE kind = '{}' AND execution_id = {}"
)
UNSUPPORTED = (
    "INSERT INTO execution.slippage_metrics (execution_id, trade_date, kind, bps, benchmark, quality)"
    f" VALUES ('00000000-0000-5000-8000-00000000000b', '{DAY}', 'fill_mid', 30, 100, '{{}}')"
)
THE_FIRST = "(SELECT execution_id FROM execution.executions WHERE exec_id = 'E1')"


@pytest.mark.parametrize(
    ("tampered", "said"),
    [
        (LIVE_BPS.format("2.000000000001", "exact", "arrival_mid", THE_FIRST), "2.000000000001 bps apart"),
        (LIVE_BPS.format("30", "best_effort", "arrival_mid", THE_FIRST), "30 bps apart"),
        (LIVE_BPS.format("2", "exact", "arrival_mid", THE_FIRST), None),
        # what no fill stands behind was published as exact, and is removed
        (UNSUPPORTED.format("exact"), "live 30, final none"),
        (UNSUPPORTED.format("best_effort"), None),
    ],
    ids=["beyond", "beyond, live best effort", "within", "removed", "removed, best effort"],
)  # fmt: skip
def test_a_live_figure_that_a_derivation_corrects_is_judged(url: str, tampered: str, said: str | None) -> None:
    run_sql(url, tampered)
    found = derive_day(LedgerResource(url=url).engine(), DAY, Policy()).differences
    assert (found.count, found.beyond) == (1, int(said is not None))
    outcome = evaluate(url, "slippage_is_final")["slippage_is_final"]
    assert outcome.passed == (said is None)
    assert said is None or said in shown(outcome)["findings"]


def test_what_was_published_wrong_is_told_by_every_later_page(url: str) -> None:
    ledger = LedgerResource(url=url)
    run_sql(url, LIVE_BPS.format("30", "exact", "arrival_mid", THE_FIRST))
    for expected in (0, 1, 1):
        derive_day(ledger.engine(), DAY, Policy())
        with ledger.reading() as connection:
            facts = read_facts(connection, DAY, 150_000)
        assert facts.derived is not None
        assert facts.derived.beyond_before == expected
        assert (
            "Before, 1 live figure was missing" in " ".join(verdict(facts).why).replace("\N{NO-BREAK SPACE}", " ")
        ) == bool(expected)


def test_a_live_figure_is_exact_and_the_final_one_is_not(url: str) -> None:
    run_sql(url, "UPDATE execution.benchmark_snapshots SET at_ns = at_ns - 3600000000000")
    run_sql(url, "UPDATE execution.slippage_metrics SET bps = bps + 30 WHERE kind = 'fill_mid'")
    derive_day(LedgerResource(url=url).engine(), DAY, Policy())
    [(kept,)] = run_sql(
        url, "SELECT count(*) FROM execution.slippage_metrics WHERE kind = 'fill_mid' AND quality = 'exact'"
    )
    assert kept == 0
    outcome = evaluate(url, "slippage_is_final")["slippage_is_final"]
    assert not outcome.passed
    assert "30 bps apart" in shown(outcome)["findings"]


def test_what_is_beyond_the_kept_differences_fails_the_day(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution_assets.comparison.SAMPLE_LIMIT", 0)
    run_sql(url, LIVE_BPS.format("30", "exact", "arrival_mid", THE_FIRST))
    derive_day(LedgerResource(url=url).engine(), DAY, Policy())
    outcome = evaluate(url, "slippage_is_final")["slippage_is_final"]
    assert not outcome.passed
    assert (
        "figures beyond the tolerance: 1 in all, the furthest by 30 bps; of 1 differences 0 are kept"
        in shown(outcome)["findings"]
    )


def test_every_check_has_a_planted_fault() -> None:
    assert {case.values[0] for case in FAULTS} == {key.name for check in CHECKS for key in check.check_keys}


def test_a_day_in_which_nothing_happened_passes_every_check(ledger_url: str) -> None:
    derive_day(LedgerResource(url=ledger_url).engine(), DAY, Policy())
    assert all(e.passed for e in evaluate(ledger_url).values())


@pytest.fixture
def docs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EXECUTION_AGENT_DATA_DOCS", str(tmp_path / "docs"))
    return tmp_path / "docs"


def test_a_days_data_docs_show_what_failed_and_forget_what_no_longer_does(url: str, docs_folder: Path) -> None:
    run_sql(url, "UPDATE execution.executions SET last_qty = 0 WHERE exec_id = 'E1'")
    run_sql(url, FAULTS_BY_ID["a report waits"])
    evaluate(url)
    path = Path(docs_path(url))
    assert path.parent.parent == docs_folder / DAY.isoformat()
    pages = {page.parts[-4]: page.read_text() for page in path.parent.glob("validations/**/*.html")}
    assert {"executions_are_sound", "quantity_is_conserved", "nothing_pends"} <= pages.keys()
    assert "LastQty 0 is not above zero" in pages["executions_are_sound"]
    assert "executions_are_sound" in path.read_text()

    run_sql(url, "DELETE FROM execution.fills_pending")
    evaluate(url)
    path = Path(docs_path(url))
    again = {page.parts[-4] for page in path.parent.glob("validations/**/*.html")}
    assert again == pages.keys() - {"nothing_pends"}


FAULTS_BY_ID = {str(case.id): str(case.values[1]) for case in FAULTS}


def docs_path(url: str) -> str:
    result = dg.materialize([*SOURCES, executions, slippage_metrics, data_docs], selection=[data_docs],
                            partition_key=DAY.isoformat(), resources={"ledger": LedgerResource(url=url)})  # fmt: skip
    [event] = result.asset_materializations_for_node("data_docs")
    return str(event.metadata["path"].value)


def test_a_run_of_several_days_checks_each_and_names_those_that_fail(url: str) -> None:
    before, after = DAY - timedelta(days=1), DAY + timedelta(days=1)
    for day in (before, after):
        derive_day(LedgerResource(url=url).engine(), day, Policy())
    run_sql(url, "UPDATE execution.executions SET last_qty = 0 WHERE exec_id = 'E1'")
    [check] = [c for c in CHECKS if next(iter(c.check_keys)).name == "executions_are_sound"]
    result = dg.materialize(
        [*SOURCES, executions, check],
        selection=dg.AssetSelection.checks(check),
        resources={"ledger": LedgerResource(url=url)},
        tags={
            "dagster/asset_partition_range_start": before.isoformat(),
            "dagster/asset_partition_range_end": after.isoformat(),
        },
        raise_on_error=False,
    )
    [evaluation] = result.get_asset_check_evaluations()
    metadata = shown(evaluation)
    assert not evaluation.passed
    assert (metadata["day"], metadata["days"], metadata["days_failed"]) == (DAY.isoformat(), 3, [DAY.isoformat()])
    assert "LastQty 0" in metadata["findings"]


def test_each_day_of_a_backfill_is_held_back_by_its_own_verdict(url: str) -> None:
    """Runs over several days: what follows is made of the days that passed, and of the one that failed later."""
    before, after = DAY - timedelta(days=1), DAY + timedelta(days=1)
    [check] = [c for c in CHECKS if next(iter(c.check_keys)).name == "executions_are_sound"]
    assets = [*SOURCES, *automated([executions, slippage_metrics])]
    resources = {"ledger": LedgerResource(url=url)}
    definitions = dg.Definitions(assets=assets, asset_checks=[check], resources=resources)
    now = datetime.combine(after, datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)

    with dg.DagsterInstance.ephemeral() as instance:

        def run(first: date, last: date, selection: Any) -> bool:
            return dg.materialize(
                [*assets, check], instance=instance, resources=resources, selection=selection,
                tags={
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                },
                raise_on_error=False,
            ).success  # fmt: skip

        def tick(cursor: Any) -> Any:
            asked = dg.AssetSelection.assets("slippage_metrics")
            return dg.evaluate_automation_conditions(definitions, instance, asked, now, cursor=cursor)

        seen = tick(None)
        assert run(before, after, dg.AssetSelection.assets(executions).without_checks())
        run_sql(url, FAULTS_BY_ID["a price that is no number"])
        assert not run(before, after, dg.AssetSelection.checks(check))
        seen = tick(seen.cursor)
        passed = {before.isoformat(), after.isoformat()}
        assert seen.get_requested_partitions(slippage_metrics.key) == passed
        assert run(DAY, DAY, dg.AssetSelection.assets(executions))
        seen = tick(seen.cursor)
        assert seen.get_requested_partitions(slippage_metrics.key) == {DAY.isoformat()}
