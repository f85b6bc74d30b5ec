"""The factory's suites on small frames: what passes, what fails, and what a failure says."""

import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from execution_assets.checks.executions import execution_suite
from execution_assets.checks.making import all_hold, outcome_result, table
from execution_assets.checks.slippage import judged
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
        "quantity": [None, None, None],
        "price": [None, None, None],
        "uniqueness": [None, None, None],
    }
    return pd.DataFrame({**columns, **changed}, dtype=object)


def test_sound_executions_pass() -> None:
    outcome = evaluate(executions(), execution_suite, "execution_id")
    assert outcome.success
    assert (outcome.row_count, outcome.failing, outcome.sample()) == (3, 0, [])


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        pytest.param({"uniqueness": [None, "there twice", "there twice"]}, ["b", "c"], id="one execution twice"),
        pytest.param({"quantity": [None, "LastQty 0", None]}, ["b"], id="nothing filled"),
        pytest.param({"price": [None, None, "LastPx -1"]}, ["c"], id="price below zero"),
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
    frame = frame.assign(execution_id=ids, price="LastPx 0")
    outcome = evaluate(frame, execution_suite, "execution_id")
    assert outcome.failing == 1000
    assert len(outcome.sample()) == SAMPLE


def test_findings_pair_a_row_with_what_is_wrong_of_it() -> None:
    frame = pd.DataFrame({"row": ["a", "b", "c"], "hole": [None, "1 to 3 are missing", None]}, dtype=object)
    outcome = evaluate(frame, all_hold("hole"), "row")
    assert outcome.findings() == [("b", "1 to 3 are missing")]


def test_what_a_venue_wrote_cannot_end_a_cell_of_a_table() -> None:
    assert table(("row", "value"), [("a|b", "c\nd")]).splitlines()[2] == "| a\\|b | c d |"


def test_the_distance_of_live_and_final_is_taken_exactly() -> None:
    found = [
        Difference("a", "fill_mid", Found.DIFFERS, {"bps": ("1.000000000001", "-1")}),
        Difference("b", "fill_mid", Found.MISSING, {"bps": (None, "1")}),
        Difference("c", "fill_mid", Found.DIFFERS, {"snapshot_id": ("S1", "S2")}),
        Difference("d", "fee", Found.DIFFERS, {"bps": ("7.5", "7")}),
        Difference("d", None, Found.DIFFERS, {"fee_bps": (None, "3"), "last_px": ("1", "2")}),
        Difference("e", None, Found.DIFFERS, {"last_px": ("1", "2")}),
    ]
    there = [
        ("a", "fill_mid", "exact"),
        ("b", "fill_mid", "exact"),
        ("d", "fee", "exact"),
        ("f", "fee", "best_effort"),
    ]
    found += [
        Difference("f", "fee", Found.DIFFERS, {"bps": ("9", "1")}),
        Difference("g", "fill_mid", Found.UNSUPPORTED, {"bps": ("9", None), "quality": ("exact", None)}),
        Difference("h", "fill_mid", Found.UNSUPPORTED, {"bps": ("9", None), "quality": ("best_effort", None)}),
    ]
    rows = ({"execution_id": i, "kind": k, "quality": q, "benchmark": 1, "bps": 1} for i, k, q in there)
    told = {row[:2]: row[2:4] for row in judged(rows, Differences(2, 7, Decimal(2), found)) if any(row[2:])}
    assert told == {
        ("a", "fill_mid"): ("live 1.000000000001, final -1: 2.000000000001 bps apart", None),
        ("b", "fill_mid"): ("live none, final 1", None),
        ("d", "fee"): (None, "live none, final 3"),
        ("g", "fill_mid"): ("live 9, final none", None),
    }


def test_an_outcome_says_what_was_looked_at_and_what_to_do() -> None:
    outcome = evaluate(executions(quantity=[None, "LastQty 0", None]), execution_suite, "execution_id")
    result = outcome_result(outcome, DAY, "Look it up.")
    assert not result.passed
    shown = {name: value.value for name, value in result.metadata.items()}
    assert (shown["day"], shown["rows"], shown["failing"]) == ("2026-11-23", 3, 1)
    assert shown["sample"] == ["b"]
    assert shown["remedy"] == "Look it up."
    assert "expect_column_values_to_be_null: quantity | FAILED | 3 | 1" in str(shown["expectations"])
    assert "| b | LastQty 0 |" in str(shown["findings"])


def test_a_day_without_rows_passes_without_loading_anything() -> None:
    outcome = evaluate(pd.DataFrame(), execution_suite, "execution_id")
    assert outcome.success
    assert outcome.row_count == 0


def test_evaluating_leaves_no_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evaluate(executions(), execution_suite, "execution_id")
    assert list(tmp_path.iterdir()) == []
