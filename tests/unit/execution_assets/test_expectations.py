"""The factory's suites on small frames: what passes, what fails, and what a failure says."""

import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from execution_assets.checks import apart, execution_suite, outcome_result, slippage_suite
from execution_assets.comparison import Difference, Differences, Found
from execution_assets.expectations import SAMPLE, evaluate

pytestmark = pytest.mark.slow  # Great Expectations takes 7-13 s to import

DAY = date(2026, 11, 23)


def executions(**changed: list[object]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "execution_id": ["a", "b", "c"],
        "correlation_id": ["C1", "C1", "C2"],
        "msg_id": ["M1", "M1", "M2"],
        "venue": ["ALPHA", "ALPHA", "BETA"],
        "symbol": ["BTCUSDT", "BTCUSDT", "ETHUSDT"],
        "last_qty": [1.0, 0.5, 1e-18],
        "last_px": [100.0, 101.0, 2000.0],
    }
    return pd.DataFrame({**columns, **changed})


def test_sound_executions_pass() -> None:
    outcome = evaluate(executions(), execution_suite, "execution_id")
    assert outcome.success
    assert (outcome.row_count, outcome.failing, outcome.sample()) == (3, 0, [])


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        pytest.param({"execution_id": ["a", "b", "b"]}, ["b"], id="one execution twice"),
        pytest.param({"last_qty": [1.0, 0.0, 1.0]}, ["b"], id="nothing filled"),
        pytest.param({"last_px": [1.0, 1.0, -1.0]}, ["c"], id="price below zero"),
        pytest.param({"last_px": [None, 1.0, 1.0]}, ["a"], id="no price"),
        pytest.param({"correlation_id": ["C1", None, "C2"]}, ["b"], id="no order"),
    ],
)
def test_an_unsound_execution_is_named(changed: dict[str, list[object]], failing: list[str]) -> None:
    outcome = evaluate(executions(**changed), execution_suite, "execution_id")
    assert not outcome.success
    assert outcome.sample() == failing


def test_a_thousand_failures_are_counted_and_sampled() -> None:
    ids = [f"{n:04}" for n in range(1000)]
    frame = executions().sample(1000, replace=True, random_state=1).reset_index(drop=True)
    frame = frame.assign(execution_id=ids, last_px=0.0)
    outcome = evaluate(frame, execution_suite, "execution_id")
    assert outcome.failing == 1000
    assert len(outcome.sample()) == SAMPLE


def test_figures_within_two_bps_pass_and_best_effort_is_not_judged() -> None:
    frame = pd.DataFrame(
        {
            "execution_id": ["a", "b", "c"],
            "apart_bps": [0.0, 2.0, None],
            "fee_apart_bps": [2.0, 0.0, 0.0],
            "unmeasured": [False, False, False],
        }
    )
    assert evaluate(frame, slippage_suite, "execution_id").success


def test_a_slippage_or_fee_beyond_two_bps_missing_or_unmeasured_fails() -> None:
    frame = pd.DataFrame(
        {
            "execution_id": ["a", "b", "c", "d", "e", "f"],
            "apart_bps": [0.0, 2.000000000001, float("inf"), 0.0, 0.0, None],
            "fee_apart_bps": [0.0, 0.0, 0.0, 0.0, 2.000000000001, float("inf")],
            "unmeasured": [False, False, False, True, False, False],
        }
    )
    assert sorted(evaluate(frame, slippage_suite, "execution_id").sample()) == ["b", "c", "d", "e", "f"]


def test_the_distance_of_live_and_final_is_taken_exactly() -> None:
    found = [
        Difference("a", "fill_mid", Found.DIFFERS, {"bps": ("1.000000000001", "-1")}),
        Difference("b", "fill_mid", Found.MISSING, {"bps": (None, "1")}),
        Difference("c", "fill_mid", Found.DIFFERS, {"snapshot_id": ("S1", "S2")}),
        Difference("d", "fee", Found.DIFFERS, {"bps": ("7.5", "7")}),
        Difference("d", None, Found.DIFFERS, {"fee_bps": (None, "3"), "last_px": ("1", "2")}),
        Difference("e", None, Found.DIFFERS, {"last_px": ("1", "2")}),
    ]
    assert apart(Differences(2, 4, Decimal(2), found)) == {
        ("a", "fill_mid"): 2.000000000001,
        ("b", "fill_mid"): float("inf"),
        ("c", "fill_mid"): 0.0,
        ("d", "fee"): 0.5,
        ("d", None): float("inf"),
        ("e", None): 0.0,
    }


def test_an_outcome_says_what_was_looked_at_and_what_to_do() -> None:
    outcome = evaluate(executions(last_qty=[1.0, 0.0, 1.0]), execution_suite, "execution_id")
    result = outcome_result(outcome, DAY, "Look it up.")
    assert not result.passed
    shown = {name: value.value for name, value in result.metadata.items()}
    assert (shown["day"], shown["rows"], shown["failing"]) == ("2026-11-23", 3, 1)
    assert shown["sample"] == ["b"]
    assert shown["remedy"] == "Look it up."
    assert "last_qty min_value=0.0 | FAILED | 3 | 1" in str(shown["expectations"])


def test_a_day_without_rows_passes_without_loading_anything() -> None:
    outcome = evaluate(pd.DataFrame(), execution_suite, "execution_id")
    assert outcome.success
    assert outcome.row_count == 0


def test_evaluating_leaves_no_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evaluate(executions(), execution_suite, "execution_id")
    assert list(tmp_path.iterdir()) == []
