"""``judge`` case by case: which measurements are alerts."""

from pathlib import Path

import pytest

from sensors.fill_lag import (
    LEAST_REPORTS,
    Cursor,
    Limits,
    Measured,
    VenueLag,
    judge,
    read_cursor,
    read_metrics,
    run_tag,
    stuck_since,
)

NOW = 1_795_000_000.0
LIMITS = Limits(backlog=120.0, p95=0.15)


def venue(**changed: object) -> Measured:
    return Measured((VenueLag("ALPHA", **changed),))  # type: ignore[arg-type]


CASES = [
    pytest.param(Measured(), {}, [], id="nothing trades"),
    pytest.param(venue(waiting=3, oldest=NOW - 120), {}, [], id="two minutes are allowed"),
    pytest.param(venue(waiting=3, oldest=NOW - 121), {}, ["backlog of ALPHA"], id="a second more is not"),
    pytest.param(venue(reports=500, p95=0.15), {}, [], id="a p95 at the SLO"),
    pytest.param(venue(reports=500, p95=0.151, first=NOW - 900), {}, ["latency of ALPHA"], id="a p95 beyond it"),
    pytest.param(venue(reports=LEAST_REPORTS - 1, p95=9.0), {}, [], id="a p95 of a handful is chance"),
    pytest.param(
        venue(waiting=1, oldest=NOW - 300, reports=50, p95=2.0), {}, ["backlog of ALPHA", "latency of ALPHA"],
        id="both",
    ),
    pytest.param(Measured(), {"main": ("7:9", NOW - 100)}, [], id="the publisher has stood for a moment"),
    pytest.param(Measured(), {"main": ("7:9", NOW - 121)}, ["publisher main"], id="the publisher stands"),
    pytest.param(Measured(inbox_age=119.0), {}, [], id="arrivals wait a little"),
    pytest.param(Measured(inbox_age=500.0), {}, ["inbox"], id="arrivals wait and nothing lands"),
    pytest.param(Measured(unreachable="refused"), {}, ["streaming process"], id="the process does not answer"),
]  # fmt: skip


@pytest.mark.parametrize(("measured", "stuck", "subjects"), CASES)
def test_judge(measured: Measured, stuck: dict[str, tuple[str, float]], subjects: list[str]) -> None:
    found = judge(measured, LIMITS, NOW, stuck)
    assert [alert.subject for alert in found] == subjects
    assert all(a.figure and a.limit and a.remedy and a.docs.startswith("docs/alerts.md#") for a in found)


def test_a_publisher_is_stuck_since_its_cursor_stopped_while_events_wait() -> None:
    first = stuck_since({}, {"main": "7:9"}, NOW)
    moved = stuck_since(first, {"main": "8:2"}, NOW + 30)
    stands = stuck_since(moved, {"main": "8:2"}, NOW + 200)
    assert first == {"main": ("7:9", NOW)}
    assert stands == {"main": ("8:2", NOW + 30)}
    assert stuck_since(stands, {}, NOW + 230) == {}, "nothing waits"


def test_the_tag_of_a_run_is_short_and_gone_without_alerts() -> None:
    alerts = judge(venue(waiting=1, oldest=NOW - 300), LIMITS, NOW)
    assert run_tag(alerts) == "backlog of ALPHA: 300 s"
    assert len(run_tag(alerts * 50) or "") == 200
    assert run_tag([]) is None


def test_an_unreadable_cursor_is_said_and_started_over() -> None:
    for stored in ("{", "[1]", '{"known": 3}', "2026-11-23"):
        cursor, problem = read_cursor(stored)
        assert cursor == Cursor()
        assert problem is not None
        assert "started over" in problem
    assert read_cursor(None) == (Cursor(), None)


def test_the_oldest_arrival_of_a_page_of_metrics_counts() -> None:
    page = (
        "# TYPE execution_backlog_age_seconds gauge\n"
        'execution_backlog_age_seconds{venue="A"} 3.5\nexecution_backlog_age_seconds{venue="B"} 130\n'
        "# TYPE execution_backlog gauge\nexecution_backlog 9\n"
    )
    assert read_metrics(page) == 130.0
    assert read_metrics("# TYPE up gauge\nup 1\n") is None


def test_every_alert_has_its_section_in_the_runbook() -> None:
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text()
    sections = {line[3:].strip().lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}
    measured = Measured(
        (VenueLag("ALPHA", 1, NOW - 300, 50, 2.0, NOW),), {}, inbox_age=900.0, unreachable="refused"
    )
    found = judge(measured, LIMITS, NOW, {"main": ("1:1", NOW - 900)})
    assert {alert.docs.split("#")[1] for alert in found} | {"run-failed"} <= sections
