"""What is told, when, and what happens to it when the place it goes to is away."""

import msgspec
import pytest

from sensors.alerting import (
    KNOWN_LIMIT,
    REPEAT_SECONDS,
    Alert,
    Known,
    Notice,
    Raised,
    State,
    as_line,
    deliver,
    make_notice,
    plan_notices,
)

NOW = 1_795_000_000.0
LAG = Alert("fill-lag", "ALPHA", "3 reports wait", NOW - 200, "200 s", "120 s", "Ask.", "docs/alerts.md#x")
OTHER = msgspec.structs.replace(LAG, subject="BETA")
WORSE = msgspec.structs.replace(LAG, figure="900 s", since=NOW - 900)
TOLD = {LAG.key: Raised(LAG, NOW - 60)}
LONG_TOLD = {LAG.key: Raised(LAG, NOW - REPEAT_SECONDS)}

CASES = [
    pytest.param({}, [], [], id="nothing is wrong"),
    pytest.param({}, [LAG], [(State.RAISED, LAG)], id="it begins"),
    pytest.param({}, [LAG, LAG], [(State.RAISED, LAG)], id="found twice in one tick"),
    pytest.param(TOLD, [LAG], [], id="it lasts: silence"),
    pytest.param(TOLD, [WORSE], [], id="it gets worse: silence, it is the same alert"),
    pytest.param(TOLD, [LAG, OTHER], [(State.RAISED, OTHER)], id="another venue, too"),
    pytest.param(TOLD, [], [(State.RESOLVED, LAG)], id="it ends"),
    pytest.param(TOLD, [OTHER], [(State.RAISED, OTHER), (State.RESOLVED, LAG)], id="one ends, one begins"),
    pytest.param(
        LONG_TOLD, [WORSE], [(State.LASTS, msgspec.structs.replace(WORSE, since=LAG.since))],
        id="it has lasted for hours: told again, with today's figure and the first since",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("known", "found", "expected"), CASES)
def test_plan_notices(known: Known, found: list[Alert], expected: list[tuple[State, Alert]]) -> None:
    assert [(n.state, n.alert) for n in plan_notices(known, found, NOW)] == expected


class Recording:
    def __init__(self, failing: int = 0) -> None:
        self.told: list[Notice] = []
        self.failing = failing

    def send(self, notice: Notice) -> None:
        self.told.append(notice)
        if len(self.told) <= self.failing:
            raise ConnectionRefusedError("nobody listens")


def test_an_alert_of_an_hour_is_two_messages_through_restarts() -> None:
    """Ticks every 30 s; the cursor is written and read at each, as after a restart of the daemon."""
    sink, stored = Recording(), b"{}"
    for tick in range(240):
        found = [LAG] if tick < 120 else []
        known = msgspec.json.decode(stored, type=Known)
        known, problems = deliver(sink, known, plan_notices(known, found, NOW + 30 * tick))
        assert not problems
        stored = msgspec.json.encode(known)
    assert [n.state for n in sink.told] == [State.RAISED, State.RESOLVED]
    assert stored == b"{}"


def test_a_sink_that_is_away_gets_the_alert_at_the_next_tick_under_the_same_id() -> None:
    sink, known = Recording(failing=2), Known()
    for tick in range(3):
        known, problems = deliver(sink, known, plan_notices(known, [LAG], NOW + tick))
        assert bool(problems) == (tick < 2)
    assert len({n.id for n in sink.told}) == 1
    assert [n.state for n in sink.told] == [State.RAISED] * 3
    assert known[LAG.key].alert == LAG


def test_a_resolution_that_does_not_arrive_is_due_again() -> None:
    known, problems = deliver(Recording(failing=1), TOLD, plan_notices(TOLD, [], NOW))
    assert known == TOLD
    assert problems == [f"{LAG.key}: nobody listens"]


def test_ten_thousand_alerts_at_once_are_bounded() -> None:
    found = [msgspec.structs.replace(LAG, subject=f"V{n}") for n in range(10_000)]
    notices = plan_notices({}, found, NOW)
    assert len(notices) == KNOWN_LIMIT
    known, _ = deliver(Recording(), {}, notices)
    assert plan_notices(known, found, NOW + 30) == []


def test_a_line_names_what_since_when_figure_limit_remedy_and_page() -> None:
    line = as_line(make_notice(State.RAISED, LAG, NOW))
    for said in (
        "RAISED",
        "ALPHA",
        "3 reports wait",
        "200 s against 120 s",
        "since 2026-11-18T",
        "Ask.",
        LAG.docs,
    ):
        assert said in line
