"""Which days without an archive are archived now."""

from datetime import date, timedelta

import pytest

from execution_assets.archives.calendar import DAYS_PER_TICK, plan

D1, D2 = date(2026, 11, 20), date(2026, 11, 21)

CASES = [
    pytest.param([], [], id="all is archived"),
    pytest.param([("fills", D1, False, False)], [("fills", D1)], id="derived and checked, or nothing to derive"),
    pytest.param([("fills", D1, True, False)], [], id="its executions are not derived yet"),
    pytest.param([("fills", D1, False, True)], [], id="a blocking check fails"),
    pytest.param([("audit", D1, False, False)], [("audit", D1)], id="audit events wait for nothing"),
    pytest.param(
        [("fills", D2, False, False), ("audit", D2, False, False), ("fills", D1, False, False)],
        [("fills", D1), ("audit", D2), ("fills", D2)],
        id="the oldest first",
    ),
    pytest.param(
        [("fills", D1, False, True), ("fills", D2, False, False)],
        [("fills", D2)],
        id="one held back holds up no other",
    ),
]


@pytest.mark.parametrize(("found", "due"), CASES)
def test_days_that_are_due(found: list[tuple[str, date, bool, bool]], due: list[tuple[str, date]]) -> None:
    assert plan(found) == due


def test_a_month_is_worked_off_a_few_days_a_tick() -> None:
    waiting = {("audit", D1 - timedelta(days=n)) for n in range(30)}
    ticks = 0
    while waiting:
        due = plan((name, day, False, False) for name, day in waiting)
        assert len(due) <= DAYS_PER_TICK
        assert due[0][1] == min(day for _, day in waiting)
        waiting -= set(due)
        ticks += 1
    assert ticks == 30 // DAYS_PER_TICK
