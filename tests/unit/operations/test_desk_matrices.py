"""The order state change matrices, replayed: OrdStatus, CumQty, LeavesQty, AvgPx at each report, and no break."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from operations.cli import app
from tests.shared import needs_shared, shared
from tests.unit.operations.matrices import (
    Spelling,
    Step,
    fix_lines,
    intents,
    paths,
    shared_matrices,
    written_matrices,
)

WRITTEN = written_matrices()
_FILE = "samples/fix/order_state_matrices.json"
SHARED = shared_matrices() if shared(_FILE).is_file() else {}
SPELLINGS = [
    Spelling("FIX.4.4", "|"),
    Spelling("FIX.4.4", "\x01", same_time=True),
    Spelling("FIX.4.2", "|", same_time=True),
    Spelling("FIXT.1.1", "\x01"),
]
GIVEN = ["intents", "requests", "nothing"]


def replayed(path: list[Step], spelling: Spelling, given: str, folder: Path) -> list[dict[str, Any]]:
    lines = fix_lines(path, spelling, requests=given == "requests")
    (folder / "messages").write_text("".join(f"{line}\n" for line in lines))
    options = []
    if given == "intents":
        (folder / "intents").write_text("".join(json.dumps(intent) + "\n" for intent in intents(path)))
        options = ["--intents", str(folder / "intents")]
    result = CliRunner().invoke(app, ["replay", "--venue", "fix", *options, str(folder / "messages")])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def check(steps: list[Step], spelling: Spelling, given: str, folder: Path) -> None:
    for path in paths(steps):
        lines = replayed(path, spelling, given, folder)
        reports = [step for step in path if step.is_report]
        assert [line["message"] for line in lines] == list(range(1, len(reports) + 1))
        for step, line in zip(reports, lines, strict=True):
            if step.is_other:
                continue
            assert line["ord_status"] == step.status, step
            assert line["breaks"] == line["dead_letters"] == [], step
            assert line["msg_id"] == step.cl_ord_id
            if step.kind == "8":
                assert (line["cum_qty"], line["leaves_qty"]) == (step.cum_qty, step.leaves_qty), step
                assert line["order_qty"] == step.order_qty, step
            if step.avg_px:
                assert line["avg_px"] == step.avg_px, step
            counted = [e for e in line["executions"] if e["status"] == "active"]
            if given == "nothing":
                assert counted == []
                assert line["pending"]
            else:
                assert sum(int(e["last_qty"]) for e in counted) == int(line["cum_qty"])
                assert line["pending"] == []


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_matrix(name: str, given: str, tmp_path: Path) -> None:
    for spelling in SPELLINGS:
        check(WRITTEN[name], spelling, given, tmp_path)


@needs_shared
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", SHARED)
def test_a_transcribed_matrix(name: str, given: str, tmp_path: Path) -> None:
    for spelling in SPELLINGS:
        check(SHARED[name], spelling, given, tmp_path)


@needs_shared
def test_the_transcribed_matrices_are_there() -> None:
    assert len(SHARED) == 9
    assert sum(len(steps) for steps in SHARED.values()) == 75


@needs_shared
def test_one_line_says_all(tmp_path: Path) -> None:
    """J.1.a: the first execution is busted, the second corrected again and again."""
    line = replayed(SHARED["J.1.a"], SPELLINGS[0], "intents", tmp_path)[-1]
    assert {name: line[name] for name in ("correlation_id", "msg_id", "exec_id")} == {
        "correlation_id": "C-X",
        "msg_id": "Y",
        "exec_id": "K",
    }
    found = [
        tuple(e[name] for name in ("exec_id", "last_exec_id", "status", "last_qty", "last_px", "msg_id"))
        for e in line["executions"]
    ]
    assert found == [
        ("C", "E", "busted", "1000", "100", "X"),
        ("D", "K", "active", "9500", "120", "X"),
        ("G", "G", "active", "1000", "120", "X"),
    ]
