"""The crash campaign: a bounded slice of it, its fault points, and that its books see what they are there for."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from chaos.comparing import Made, Message, Row, beyond_rows, published, reports
from chaos.plan import draw
from ledger.faultpoints import POINTS, FaultPointError, parsed

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "streaming").rglob("*.py"), *(ROOT / "ledger" / "db").rglob("*.py")]
PASSED = re.compile(r"""\b(?:at|rows)\(\s*"([a-z]+\.[a-z_]+)\"""")


# --- the fault points --------------------------------------------------------------------------------------


def test_every_point_is_passed_somewhere_and_documented() -> None:
    passed = {name for source in SOURCES for name in PASSED.findall(source.read_text("utf-8"))}
    assert passed == POINTS.keys()
    documented = (ROOT / "docs" / "chaos.md").read_text("utf-8")
    assert [name for name in POINTS if f"`{name}`" not in documented] == []


@pytest.mark.parametrize("text", ["landing.afterwards:1", "decode.before", "decode.before:0", "decode.before:x"])
def test_a_fault_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(FaultPointError, match=r"EXECUTION_AGENT_FAULT="):
        parsed({"EXECUTION_AGENT_FAULTS": "1", "EXECUTION_AGENT_FAULT": text})


def passes(number: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Pass ``decode.after`` and another point so many times each, in a process of its own."""
    code = (
        "from ledger.faultpoints import at\n"
        f"for n in range(1, {number} + 1):\n    at('decode.before'); print(n, flush=True); at('decode.after')"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_process_dies_at_the_pass_that_was_named() -> None:
    done = passes(5, EXECUTION_AGENT_FAULTS="1", EXECUTION_AGENT_FAULT="decode.after:3")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["1", "2", "3"]
    assert done.stderr == "fault point decode.after, pass 3: SIGKILL\n"


@pytest.mark.parametrize("switch", [{}, {"EXECUTION_AGENT_FAULTS": "0"}])
def test_nothing_dies_without_the_switch(switch: dict[str, str]) -> None:
    done = passes(2, EXECUTION_AGENT_FAULT="decode.after:1", **switch)
    assert done.returncode == 0
    assert done.stdout.split() == ["1", "2"]


# --- the plan ----------------------------------------------------------------------------------------------


def test_a_seed_is_a_plan_and_every_point_comes_before_any_comes_again() -> None:
    assert draw(200, 7) == draw(200, 7)
    assert draw(200, 7) != draw(200, 8)
    points = [kill.point for kill in draw(400, 7) if kill.point]
    assert set(points[: len(POINTS)]) == POINTS.keys()
    assert {kill.how for kill in draw(60, 7)} == {"point", "process", "group"}


# --- the books see it --------------------------------------------------------------------------------------

FILL = Made("BRAVO", "fill", "E1", "1.5", "100")
ROW = Row(10, "fill", "1.5", "100")


@pytest.mark.parametrize(
    ("landed", "seen"),
    [
        ({("BRAVO", "E1"): [ROW]}, None),
        ({}, "lost"),
        ({("BRAVO", "E1"): [ROW, msgspec.structs.replace(ROW, report_id="r2")]}, "in Postgres twice"),
        ({("BRAVO", "E1"): [ROW, ROW]}, None),  # two wordings of one report
        ({("BRAVO", "E1"): [Row(10, "fill", "1.4", "100")]}, "landed with other values"),
        ({("BRAVO", "E1"): [ROW], ("BRAVO", "E2"): [ROW]}, "landed and never made"),
    ],
)
def test_the_books_see_what_is_wrong_with_reports(
    landed: dict[tuple[str, str], list[Row]], seen: str | None
) -> None:
    wrong = [line.left_name for line in reports([FILL], landed) if not line.balances]
    assert wrong == ([] if seen is None else [seen])


@pytest.mark.parametrize(
    ("numbered", "position", "ahead"),
    [
        ([(1, 10), (2, 11)], 2, 0),
        ([(1, 10), (2, 12)], 2, 1),  # 2 landed in a transaction that had not begun when the position said 2
        ([(1, 12), (2, 11)], 2, 1),
        ([(1, 10), (2, 12)], 1, 0),
    ],
)
def test_the_books_see_a_position_beyond_its_rows(
    numbered: list[tuple[int, int]], position: int, ahead: int
) -> None:
    assert beyond_rows("BRAVO.ws", numbered, [(position, 12)]).left == ahead


@pytest.mark.parametrize(
    ("messages", "seen"),
    [
        ([(0, "k", "a"), (0, "k", "b"), (1, "l", "c")], []),
        ([(1, "l", "c"), (0, "k", "a"), (0, "k", "b")], []),  # another key's may come first
        ([(0, "k", "b"), (0, "k", "a"), (1, "l", "c")], ["out of order for their key"]),
        ([(0, "k", "a"), (1, "k", "b"), (1, "l", "c")], ["with another key or partition"]),
        ([(0, "k", "a"), (0, "k", "b")], ["events landed"]),
        ([(0, "k", "a"), (0, "k", "b"), (0, "k", "b"), (1, "l", "c")], ["messages"]),
        ([(0, "k", "a"), (0, "k", "b"), (1, "l", "c"), (1, "l", "x")], ["messages"]),
    ],
)
def test_the_books_see_what_is_wrong_with_events(messages: list[tuple[int, str, str]], seen: list[str]) -> None:
    found = [Message(partition, offset, key, name) for offset, (partition, key, name) in enumerate(messages)]
    lines = published("t", {"a": "k", "b": "k", "c": "l"}, found)
    assert [line.left_name for line in lines if not line.balances] == seen


# --- the campaign ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_twenty_five_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    options = "--kills 25 --seed 5 --orders 12 --json"
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *options.split(), "--state", tmp_path / "state"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    report = json.loads(done.stdout)
    assert report["differences"] == []
    assert report["drained"]
    assert report["kills"].pop("after catching up") == 2
    assert sum(report["kills"].values()) + sum(report["missed"].values()) == 25
    assert sum(report["kills"].values()) >= 17  # of a busy machine
    assert len(report["kills"].keys() | report["missed"].keys()) > 12
    assert report["sent"] > 500
    assert report["duplicates"] > 0
    assert report["events"] > report["sent"]
    assert report["switches"] > 0
