"""A batch that is decided while the one before is written: nothing is told early, and what fails drops it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from streaming import lander as landing
from tests.integration.arrivals import fill, fill_message, fills, intent, snapshot
from tests.integration.database import connected, row_counts, terminate_sessions, until
from tests.integration.test_lander import Answers, World, world
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streaming.arrivals import Arrival
    from streaming.deciding import Decided
    from streaming.lander import Lander

__all__ = ["world"]  # a fixture

_WAITS = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


class Stage:
    """``ahead`` is what was decided ahead, as the lander does it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.ahead: list[Decided] = []
        self._lock = world.watching.transaction()
        genuine = landing.decide_ahead

        async def noted(*arguments: object) -> Decided:
            self.ahead.append(await genuine(*arguments))  # type: ignore[arg-type]
            return self.ahead[-1]

        monkeypatch.setattr(landing, "decide_ahead", noted)

    @asynccontextmanager
    async def writing(self, *queue: Arrival, batch: int = 1) -> AsyncIterator[Lander]:
        """Have C1 routed and ``queue`` waiting; give the lander whose first commit waits for a lock."""
        async with self.world.landing() as lander:
            await self.world.land(lander, intent())
        self.world.decisions.clear()
        await self._lock.start()
        await self.world.watching.execute("LOCK execution.audit_events IN SHARE MODE")
        await self.world.inbox.put(queue)
        async with self.world.landing(batch_limit=batch) as lander:
            async with connected(self.world.url) as other:  # a transaction sees one state of the sessions
                while not await other.fetchval(_WAITS):  # noqa: ASYNC110  Postgres has no event for it
                    await asyncio.sleep(0.01)
            yield lander

    async def go_on(self, lander: Lander) -> None:
        await self._lock.rollback()
        await until(lambda: lander.is_idle)


@pytest.fixture
def stage(world: World, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(world, monkeypatch)


async def test_the_next_batch_is_decided_meanwhile_and_told_after_its_own_commit(stage: Stage) -> None:
    answers = Answers()
    queue = [
        fill("E1", position=1, done=answers.to("first")),
        fill("E9", position=2),
        fill("E1", position=3, done=answers.to("again")),
        fill("E2", position=4, done=answers.to("second")),
    ]
    async with stage.writing(*queue, batch=2) as lander:
        await until(lambda: bool(stage.ahead))
        assert not answers.told
        assert not stage.world.decisions
        await stage.go_on(lander)
    (decided,) = stage.ahead
    assert [d is decided.decision for d in stage.world.decisions] == [False, True]
    assert answers.counts("first") == answers.counts("second") == (1, 0, 0, 0)
    assert answers.counts("again") == (0, 1, 0, 0), "what the batch in flight holds is known"
    assert await stage.world.exec_ids() == ["E1", "E2", "E9"]
    assert await stage.world.watching.fetchval("SELECT sum(last_qty) FROM execution.executions") == 3


async def test_orders_that_the_book_lacks_are_loaded_before(stage: Stage) -> None:
    async with stage.world.landing() as lander:
        await stage.world.land(lander, intent("C2", "M2"), fill("E2", "M2"))
    again = fills(fill_message("E2", "M2"), fill_message("E3", "M2"))
    async with stage.writing(fill("E1"), again) as lander:
        await until(lambda: bool(stage.ahead))
        await stage.go_on(lander)
    assert [c.report.exec_id for c in stage.ahead[0].decision.fills] == ["E3"]
    assert stage.ahead[0].decision.duplicates == {"ALPHA.rest": 1}
    assert await stage.world.exec_ids() == ["E1", "E2", "E3"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(fill("E8", "M2"), id="waits for its intent"),
        pytest.param(snapshot("S1", T0 - 1000 * SECOND), id="older than the book goes back"),
    ],
)
async def test_what_the_ledger_alone_will_know_is_not_decided_upon(stage: Stage, first: Arrival) -> None:
    async with stage.world.landing() as lander:
        await stage.world.land(lander, snapshot("S0", T0 - 10 * SECOND))
    async with stage.writing(first, fill("E1"), intent("C2", "M2"), fill("E2", "M2"), batch=2) as lander:
        await asyncio.sleep(0.2)
        assert not stage.ahead
        await stage.go_on(lander)
    assert "E2" in await stage.world.exec_ids()
    assert (await row_counts(stage.world.watching))["fills_pending"] == 0


async def test_a_refused_batch_takes_what_was_decided_on_it_along(stage: Stage) -> None:
    """E2 was decided on a book that held E1 and the refused one: it is decided again."""
    answers = Answers()
    queue = [
        fill("E1", position=1),
        fill("POISON1", position=2, done=answers.to("poison")),
        fill("E2", position=3, done=answers.to("second")),
    ]
    async with stage.writing(*queue, batch=2) as lander:
        await until(lambda: bool(stage.ahead))
        first = stage.ahead[0]
        await stage.go_on(lander)
    assert answers.counts("poison") == (0, 0, 0, 1)
    assert answers.counts("second") == (1, 0, 0, 0)
    assert all(d is not first.decision for d in stage.world.decisions)
    assert await stage.world.exec_ids() == ["E1", "E2"]
    assert await stage.world.watching.fetchval("SELECT sum(last_qty) FROM execution.executions") == 2


async def test_a_conflict_takes_what_was_decided_on_it_along(stage: Stage) -> None:
    """Another process lands E1 while the batch that holds it is on its way."""
    answers = Answers()
    queue = [fill("E1", position=1, done=answers.to("first")), fill("E2", position=2, done=answers.to("second"))]
    genuine = landing.Landing.land
    overtaken: list[bool] = []

    async def late(self: landing.Landing, *arguments: object) -> None:
        if not overtaken:
            overtaken.append(True)
            await stage.world.elsewhere(fill("E1"))
        await genuine(self, *arguments)  # type: ignore[arg-type]

    async with stage.world.landing() as lander:
        await stage.world.land(lander, intent())
    await stage.world.inbox.put(queue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing.Landing, "land", late)
        async with stage.world.landing(batch_limit=1) as lander:
            await until(lambda: "second" in answers.told and lander.is_idle)
    assert stage.ahead, "nothing was decided ahead"
    assert answers.counts("first") == (0, 1, 0, 0)
    assert answers.counts("second") == (1, 0, 0, 0)
    assert (await row_counts(stage.world.watching))["executions"] == 2


async def test_a_lost_connection_lands_both_again(stage: Stage) -> None:
    answers = Answers()
    queue = [fill("E1", position=1, done=answers.to("first")), fill("E2", position=2, done=answers.to("second"))]
    async with stage.writing(*queue) as lander:
        await until(lambda: bool(stage.ahead))
        assert [a.position.value for a in lander.waiting() if a.position is not None] == [2, 1]
        await terminate_sessions(stage.world.watching)
        await stage.go_on(lander)
    assert answers.counts("first") == answers.counts("second") == (1, 0, 0, 0)
    assert [len(told) for told in answers.told.values()] == [1, 1]
    assert await stage.world.exec_ids() == ["E1", "E2"]


@pytest.mark.parametrize("book_limit", [30_000, 3])
async def test_a_backlog_comes_to_the_same_decided_ahead_or_in_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, book_limit: int
) -> None:
    """A long queue in small batches, with busts and repetitions of three orders, in a book that forgets."""
    forgets = landing.Reader.open_book

    async def small(*arguments: object) -> object:
        book = await forgets(*arguments)  # type: ignore[arg-type]
        book._report_limit = book_limit
        return book

    monkeypatch.setattr(landing.Reader, "open_book", small)
    world = stage.world
    messages = [fill_message(f"E{n:03}", f"M{1 + n % 3}") for n in range(200)]
    queue: list[dict[str, Any]] = []
    for n, message in enumerate(messages):
        queue += [message, messages[max(0, n - 3)]]  # again, in the next batch
        if n % 10 == 9:
            queue.append(fill_message(f"B{n}", f"M{1 + (n - 4) % 3}", type="bust", exec_ref_id=f"E{n - 4:03}"))
    async with world.landing(batch_limit=5) as lander:
        await world.land(lander, *(intent(f"C{n}", f"M{n}") for n in (1, 2, 3)))
        await world.land(lander, *(fills(m, position=n) for n, m in enumerate(queue)))
    assert len(stage.ahead) > 10
    rows = await world.watching.fetch("SELECT exec_id, status FROM execution.executions ORDER BY 1")
    assert {row["exec_id"]: row["status"] for row in rows} == {
        f"E{n:03}": "busted" if n % 10 == 5 else "active" for n in range(200)
    }
    assert world.metrics.duplicates == {"ALPHA.rest": 200}
    assert not any(decision.pending for decision in world.decisions), "a bust met its fill each time"
    conflicts = world.metrics.registry.get_sample_value("execution_recoveries_total", {"part": "conflict"})
    assert not conflicts, "what was decided ahead went by what was not committed yet"
