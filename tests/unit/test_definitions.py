"""The definitions: they load with nothing running, fast, and what they offer is written down here."""

import os
import resource
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.instance.config import dagster_instance_config

from execution_assets.days import TRADING_DAYS
from execution_assets.resources import LedgerResource
from operations.definitions import build_defs

ROOT = Path(__file__).parents[2]
LOAD_SECONDS = 5.0

# (asset, check): whether it blocks what is downstream
CHECKS = {
    ("executions", "executions_are_sound"): True,
    ("executions", "quantity_is_conserved"): True,
    ("executions", "totals_are_the_venues"): False,
    ("executions", "sequences_have_no_holes"): False,
    ("executions", "prices_are_within_limits"): False,
    ("executions", "times_are_plausible"): False,
    ("executions", "nothing_pends"): False,
    ("executions", "streaming_equals_derived"): False,
    ("executions", "latency_is_within_the_slo"): False,
    ("executions", "duplicates_are_rare"): False,
    ("executions", "look_back_found_nothing_missing"): False,
    ("slippage_metrics", "slippage_is_final"): False,
    ("slippage_metrics", "references_hold"): True,
}


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    ledger = LedgerResource(url="postgresql://nobody@nowhere/nothing")
    return build_defs(resource_overrides={"ledger": ledger}).get_repository_def()


def test_the_checks_are_these(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert {(s.asset_key.to_user_string(), s.name): s.blocking for s in specs} == CHECKS


def test_every_asset_and_check_says_what_it_is(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    said = [graph.get(key).description for key in graph.get_all_asset_keys()]
    said += [graph.get_check_spec(key).description for key in graph.asset_check_keys]
    assert all(text is not None and len(text) > 40 and text.endswith(".") for text in said), said


def test_one_job_derives_a_day_with_all_checks_in_one_process(repository: dg.RepositoryDefinition) -> None:
    job = repository.get_job("derive_day")
    assert job.executor_def is dg.in_process_executor
    selected = job.asset_layer
    assert {key.to_user_string() for key in selected.executable_asset_keys} == {"executions", "slippage_metrics"}
    assert {(key.asset_key.to_user_string(), key.name) for key in selected.asset_graph.asset_check_keys} == set(
        CHECKS
    )


def test_today_has_a_partition() -> None:
    assert time.strftime("%Y-%m-%d", time.gmtime()) in TRADING_DAYS.get_partition_keys()


def test_definitions_load_within_five_seconds_with_nothing_running() -> None:
    """In a process of its own, without any setting; neither pandas nor Great Expectations is imported."""
    program = (
        "import sys; from operations.definitions import defs; defs.get_repository_def().load_all_definitions();"
        "sys.exit(','.join({'pandas', 'great_expectations'} & set(sys.modules)) or 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # a busy machine takes longer, and no more CPU
    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime < LOAD_SECONDS


def test_dg_and_the_workspace_name_the_same_code_location() -> None:
    """`dg` prefers pyproject.toml and says nothing of it, the webserver and the daemon read workspace.yaml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    [module] = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert module["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_the_instance_file_is_one_that_dagster_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://dagster@localhost/dagster")
    config, _ = dagster_instance_config(str(ROOT))
    assert config["telemetry"] == {"enabled": False}
    assert config["run_monitoring"]["enabled"]


@pytest.mark.slow
def test_dg_check_defs_passes_with_nothing_running(tmp_path: Path) -> None:
    """With an empty DAGSTER_HOME: without one `dg` takes ./dagster.yaml, whose storage is a running Postgres."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("dg"), "check", "defs"],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "All definitions loaded successfully." in done.stdout + done.stderr
    assert done.returncode == 0


def test_a_first_trade_date_that_is_none_stops_the_load_with_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import operations.definitions"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "EXECUTION_AGENT_FIRST_TRADE_DATE": "yesterday"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "EXECUTION_AGENT_FIRST_TRADE_DATE='yesterday'" in done.stderr.splitlines()[-1]
