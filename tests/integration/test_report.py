"""The report of a landed day on a real Postgres: its figures are those of the ledger, its file is kept well."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from execution_assets.checks.keeping import Judge, keep
from execution_assets.expectations import Expected, Outcome
from execution_assets.report.facts import read_facts
from execution_assets.report.figures import State, groups, states
from execution_assets.report.writing import path_of, write_page
from ledger.domain.numbers import exact_ratio
from operations.cli import app
from tests.acceptance.trading_day import DAY, SLO_US, derive_all, land_day

if TYPE_CHECKING:
    from pathlib import Path

    from execution_assets.report.facts import DayFacts
    from execution_assets.resources import LedgerResource

JUDGE = Judge("executions", "sound", "ERROR", blocking=True, description="All is sound.", remedy="Mend it.")
FAILED = Outcome(3, [Expected("null", success=False, checked=3, failing=1, sample=["E1"], values=["it is wrong"])])


@pytest.fixture
async def ledger(ledger_url: str) -> LedgerResource:
    await land_day(ledger_url, 60)
    return derive_all(ledger_url)


def facts_of(ledger: LedgerResource) -> DayFacts:
    with ledger.reading() as connection:
        return read_facts(connection, DAY, SLO_US)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def test_the_figures_are_those_of_the_rows(ledger: LedgerResource, ledger_url: str) -> None:
    facts = facts_of(ledger)
    assert "quantity_is_conserved" in facts.must_pass
    told = rows(
        ledger_url,
        "SELECT e.venue, e.currency, e.side, e.last_qty, e.last_px, m.bps FROM execution.executions e "
        "JOIN execution.slippage_metrics m USING (execution_id, trade_date) "
        "WHERE e.status = 'active' AND m.kind = 'arrival_mid'",
    )
    assert facts.executions.active == len(told) > 100
    for notional in facts.notionals:
        mine = [row for row in told if row[1] == notional.currency]
        assert notional.bought == sum(q * p for _, _, side, q, p, _ in mine if side == "buy")
        assert notional.sold == sum(q * p for _, _, side, q, p, _ in mine if side == "sell")
    for venue in groups(facts, "venue"):
        mine = [row for row in told if row[0] == venue.label]
        costs = sorted(row[5] for row in mine)
        assert venue.mean == exact_ratio(sum(costs), Decimal(len(costs)))
        weights = [(q * p, bps) for *_, q, p, bps in mine]
        assert venue.weighted == exact_ratio(sum(w * b for w, b in weights), sum(w for w, _ in weights))
        # nearest rank
        assert venue.ranks == tuple(costs[-(-len(costs) * p // 100) - 1] for p in (5, 25, 50, 75, 95))
    finals = rows(
        ledger_url,
        "SELECT e.currency, e.last_qty * e.last_px, f.interval_twap_bps, f.interval_vwap_bps "
        "FROM execution.executions e JOIN execution.slippage_finals f USING (execution_id, trade_date)",
    )
    against = {(group.label, group.currency): group for group in groups(facts, "benchmark")}
    assert {"arrival_mid", "decision_price", "fill_mid", "interval_twap"} <= {kind for kind, _ in against}
    for currency in {row[0] for row in finals}:
        for at, kind in ((2, "interval_twap"), (3, "interval_vwap")):
            known = [(row[1], row[at]) for row in finals if row[0] == currency and row[at] is not None]
            group = against.get((kind, currency))
            assert (group is None) is (not known)
            if group is not None:
                assert group.measured == len(known)
                assert group.mean == exact_ratio(sum(b for _, b in known), Decimal(len(known)))
                assert group.weighted == exact_ratio(sum(w * b for w, b in known), sum(w for w, _ in known))
    assert sum(b.executions for b in facts.histogram if b.kind == "arrival_mid") == len(told)
    assert sum(g.executions for g in groups(facts, "hour")) == len(told)


async def test_the_same_data_is_the_same_file_and_is_left_alone(ledger: LedgerResource, tmp_path: Path) -> None:
    path = path_of(tmp_path, DAY)
    first = write_page(ledger, DAY, SLO_US, path)
    when = path.stat().st_mtime_ns
    again = write_page(ledger, DAY, SLO_US, path)
    assert (first.changed, again.changed, first.digest == again.digest) == (True, False, True)
    assert path.stat().st_mtime_ns == when
    assert [found.name for found in path.parent.iterdir()] == ["execution-report.html"]
    keep(ledger.engine(), JUDGE, DAY, FAILED, skipped=None, digest=facts_of(ledger).derived.derived_digest)  # type: ignore[union-attr]
    assert write_page(ledger, DAY, SLO_US, path).changed
    assert "Do not use these figures" in path.read_text()


async def test_what_a_check_found_last_is_shown_until_the_day_is_another(
    ledger: LedgerResource, ledger_url: str
) -> None:
    derived = facts_of(ledger).derived
    assert derived is not None
    keep(ledger.engine(), JUDGE, DAY, Outcome(3, []), skipped=None, digest=derived.derived_digest)
    keep(ledger.engine(), JUDGE, DAY, FAILED, skipped=None, digest=derived.derived_digest)
    [(state, outcome)] = states(facts_of(ledger))
    assert (state, outcome.failing, outcome.findings) == (State.BLOCKS, 1, [("E1", "it is wrong")])
    rows(ledger_url, "UPDATE execution.executions_derived SET derived_digest = 'another'")
    assert [state for state, _ in states(facts_of(ledger))] == [State.BLOCKS], "until it has passed"
    keep(ledger.engine(), JUDGE, DAY, Outcome(3, []), skipped=None, digest=derived.derived_digest)
    assert [state for state, _ in states(facts_of(ledger))] == [State.OLD]


async def test_the_command_writes_the_page_and_says_what_it_says(
    ledger: LedgerResource, ledger_url: str, tmp_path: Path
) -> None:
    def run(*options: str) -> Any:
        return CliRunner().invoke(app, ["report", DAY.isoformat(), "--url", ledger_url, *options])

    told = run("--output", str(tmp_path), "--json")
    assert told.exit_code == 0, told.output
    shown = json.loads(told.stdout)
    page = (tmp_path / f"execution-report-{DAY}.html").read_text()
    assert (shown["verdict"], shown["path"]) == ("care", str(tmp_path / f"execution-report-{DAY}.html"))
    assert all(sentence.split(";")[0] in page for sentence in shown["summary"])
    assert run("--output", "-").stdout == page
    assert run("--output", "-", "--json").exit_code == 2
    gone = run("--output", str(tmp_path / "a-file" / "x.html"))
    assert gone.exit_code == 0
    (tmp_path / "file").write_text("")
    refused = run("--output", str(tmp_path / "file" / "x.html"))
    assert refused.exit_code == 1
    assert "--output" in refused.output


def test_the_command_refuses_what_is_no_day() -> None:
    found = CliRunner().invoke(app, ["report", "soon", "--url", "postgresql://nobody@127.0.0.1:1/x"])
    assert found.exit_code == 2
    assert "DAY='soon'" in found.output
