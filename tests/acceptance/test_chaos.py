"""The crash campaign: a bounded slice of it, its fault points, and that its books see what they are there for."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from chaos.comparing import Made, Message, Row, beyond_rows, lost, published, reports, unpublished
from chaos.naming import _some
from chaos.nursery import Nursery
from chaos.plan import draw
from chaos.victim import Victim
from ledger.faultpoints import POINTS, FaultPointError, parsed

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "streaming").rglob("*.py"), *(ROOT / "ledger" / "db").rglob("*.py")]
PASSED = re.compile(r"""\b(?:at|rows)\(\s*"([a-z_]+\.[a-z_]+)\"""")


# --- the fault points --------------------------------------------------------------------------------------


def test_every_point_is_passed_somewhere_and_documented() -> None:
    sources = [source.read_text("utf-8") for source in SOURCES]
    assert {name for source in sources for name in PASSED.findall(source)} <= POINTS.keys()
    assert [name for name in POINTS if not any(f'"{name}"' in source for source in sources)] == []
    documented = (ROOT / "docs" / "chaos.md").read_text("utf-8")
    assert [name for name in POINTS if f"`{name}`" not in documented] == []


@pytest.mark.parametrize(
    "text",
    ["landing.afterwards:1", "decode.before", "decode.before:0", "decode.before:x", "decode.before:1:soon"],
)
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


def test_the_process_dies_at_the_first_pass_after_its_time_though_it_is_not_the_one_that_was_named() -> None:
    done = passes(5, EXECUTION_AGENT_FAULTS="1", EXECUTION_AGENT_FAULT="decode.after:3:0")
    assert done.stdout.split() == ["1"]
    assert done.stderr == "fault point decode.after, pass 1: SIGKILL\n"


def test_a_process_that_was_forked_is_armed_anew() -> None:
    code = (
        "from ledger.faultpoints import arm, at\n"
        "at('decode.before'); arm({'EXECUTION_AGENT_FAULTS': '1', 'EXECUTION_AGENT_FAULT': 'decode.before:2'})\n"
        "for n in range(3): print(n, flush=True); at('decode.before')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "1"]


@pytest.mark.parametrize("switch", [{}, {"EXECUTION_AGENT_FAULTS": "0"}])
def test_nothing_dies_without_the_switch(switch: dict[str, str]) -> None:
    done = passes(2, EXECUTION_AGENT_FAULT="decode.after:1", **switch)
    assert done.returncode == 0
    assert done.stdout.split() == ["1", "2"]


# --- the plan ----------------------------------------------------------------------------------------------


def test_a_seed_is_a_plan_and_every_point_comes_before_any_comes_again() -> None:
    assert draw(200, 7) == draw(200, 7)
    assert draw(200, 7) != draw(200, 8)
    points = [kill.point for kill in draw(600, 7) if kill.point and (kill.scenes or not kill.backlog)]
    assert set(points[: len(POINTS)]) == POINTS.keys()
    assert 0.03 < sum(kill.backlog for kill in draw(2_000, 7)) / 2_000 < 0.1
    assert {kill.how for kill in draw(200, 7)} == {"point", "await", "process", "group", "producer", "drain"}
    assert len({kill.fault.site for kill in draw(500, 7, ["awaits"]) if kill.fault is not None}) == 500
    assert {kill.point for kill in draw(20, 7, ["drain.over", "lander.lost"])} == {"drain.over", "lander.lost"}
    modules = {kill.fault.site.path for kill in draw(20, 7, ["streaming/lander.py"]) if kill.fault is not None}
    assert modules == {"streaming/lander.py"}


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


def test_what_is_missing_is_named() -> None:
    assert lost([FILL], {}) == ["BRAVO fill E1"]
    assert lost([FILL], {("BRAVO", "E1"): [ROW]}) == []
    messages = [Message(0, 0, "k", "a")]
    assert unpublished("t", {"a": "k", "b": "l"}, messages) == ["t: b of l"]
    assert _some("not landed", [f"BRAVO fill E{n}" for n in range(12)] + ["ALPHA bust B1"]) == [
        *(f"not landed: BRAVO fill E{n}" for n in range(10)),
        "not landed: … and 2 more like BRAVO fill E11",
        "not landed: ALPHA bust B1",
    ]


def test_a_life_of_the_nursery_is_a_process_of_its_own_that_tells_where_it_stands(tmp_path: Path) -> None:
    config = tmp_path / "stream.toml"
    venue = (
        '[venues.ALPHA]\nformat = "canonical"\n[venues.ALPHA.feed]\nkind = "rest"\nsecrets = ["whsec_c2VjcmV0"]\n'
    )
    nowhere = 'postgres_url = "postgresql://nobody@127.0.0.1:1/none"\nredis_url = "redis://127.0.0.1:1/0"\n'
    kafka = '[kafka]\nbootstrap = "127.0.0.1:1"\n[http]\nport = 0\n'
    config.write_text(nowhere + kafka + venue)
    environment = {"EXECUTION_AGENT_CONFIG": str(config), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    with Nursery(tmp_path / "nursery.log") as nursery:
        victim = Victim(tmp_path, log, environment, nursery)
        victim.start()
        deadline = time.monotonic() + 30
        while "ledger unavailable" not in victim.words():
            assert victim.alive, victim.words()
            assert time.monotonic() < deadline, victim.words()
            time.sleep(0.05)
        assert any(line.strip().startswith("lander:") for line in victim.stacks())
        first = victim.pid
        victim.kill(group=True)
        assert victim.ended_within(0, "")
        victim.start()
        assert victim.pid != first
        assert not victim.ended_within(0.2, "")
    assert victim.ended_within(10, ""), "it ends with its nursery"


# --- the campaign ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_twenty_five_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    options = "--kills 25 --seed 5 --orders 8 --json"
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *options.split(), "--state", tmp_path / "state"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    report = json.loads(done.stdout)
    assert report["differences"] == []
    assert report["drained"]
    assert report["missing"] == []
    assert report["kills"].pop("after catching up") >= 1
    assert sum(report["kills"].values()) + sum(report["missed"].values()) == 25
    assert sum(report["kills"].values()) >= 17  # of a busy machine
    assert len(report["kills"].keys() | report["missed"].keys()) > 12
    assert report["sent"] > 500
    assert report["duplicates"] > 0
    assert report["events"] > report["sent"]
    assert report["switches"] > 0
