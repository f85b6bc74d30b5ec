"""A batch that is decided while the one before is written: nothing is told early, and what fails drops it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from streaming import lander as landing
from tests.integration.arrivals import fill, fill_message, fills, intent
from tests.integration.database import row_counts, terminate_sessions, until
from tests.integration.test_lander import Answers, World, world

if TYPE_CHECKING:
    from streaming.deciding import Decided
    from streaming.lander import Lander

__all__ = ["world"]  # a fixture

_WAITS = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


class Ahead:
    """What was decided ahead: notes of each, as the lander makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Decided | None] = []
        genuine = landing.decide_ahead

        def noted(*arguments: object) -> Decided | None:
            self.found.append(genuine(*arguments))  # type: ignore[arg-type]
            return self.found[-1]

        monkeypatch.setattr(landing, "decide_ahead", noted)

    async def decided(self, world: World, first: list[landing.Arrival], second: list[landing.Arrival]) -> Lock:
        """Hand ``first`` over, and ``second`` while its commit waits for a lock; give the lock."""
        lock = Lock(world)
        await lock.take()
        await world.inbox.put(first)
        await lock.is_waited_for()
        await world.inbox.put(second)
        await until(lambda: bool(self.found))
        return lock


class Lock:
    """Holds up the last table that a landing writes."""

    def __init__(self, world: World) -> None:
        self._connection = world.watching
        self._transaction = world.watching.transaction()

    async def take(self) -> None:
        await self._transaction.start()
        await self._connection.execute("LOCK execution.audit_events IN SHARE MODE")

    async def is_waited_for(self) -> None:
        while not await self._connection.fetchval(_WAITS):  # noqa: ASYNC110  Postgres has no event for it
            await asyncio.sleep(0.01)

    async def free(self, lander: Lander) -> None:
        await self._transaction.rollback()
        await until(lambda: lander.is_idle)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    return Ahead(monkeypatch)


async def test_the_next_batch_is_decided_meanwhile_and_told_after_its_own_commit(
    world: World, ahead: Ahead
) -> None:
    answers = Answers()
    async with world.landing() as lander:
        await world.land(lander, intent())
        world.decisions.clear()
        lock = await ahead.decided(
            world,
            [fill("E1", position=1, done=answers.to("first"))],
            [fill("E1", position=2, done=answers.to("again")), fill("E2", position=3, done=answers.to("second"))],
        )
        assert not answers.told
        assert not world.decisions
        await lock.free(lander)
    (decided,) = (found for found in ahead.found if found is not None)
    assert [d is decided.decision for d in world.decisions] == [False, True]
    assert answers.counts("first") == answers.counts("second") == (1, 0, 0, 0)
    assert answers.counts("again") == (0, 1, 0, 0), "what the batch in flight holds is known"
    assert await world.exec_ids() == ["E1", "E2"]
    cum = await world.watching.fetchval("SELECT sum(last_qty) FROM execution.executions")
    assert cum == 2


async def test_what_needs_the_ledger_waits_for_its_turn(world: World, ahead: Ahead) -> None:
    async with world.landing() as lander:
        await world.land(lander, intent())
        lock = await ahead.decided(world, [fill("E1")], [intent("C2", "M2"), fill("E2", "M2")])
        assert ahead.found == [None], "whether C2 is known, Postgres must say"
        await lock.free(lander)
    assert await world.exec_ids() == ["E1", "E2"]


async def test_a_refused_batch_takes_what_was_decided_on_it_along(world: World, ahead: Ahead) -> None:
    """E2 was decided on a book that held E1 and the refused one: it is decided again."""
    answers = Answers()
    async with world.landing() as lander:
        await world.land(lander, intent())
        world.decisions.clear()
        lock = await ahead.decided(
            world,
            [fill("E1", position=1), fill("POISON1", position=2, done=answers.to("poison"))],
            [fill("E2", position=3, done=answers.to("second"))],
        )
        await lock.free(lander)
    assert answers.counts("poison") == (0, 0, 0, 1)
    assert answers.counts("second") == (1, 0, 0, 0)
    (decided,) = ahead.found
    assert decided is not None
    assert all(d is not decided.decision for d in world.decisions)
    assert await world.exec_ids() == ["E1", "E2"]


async def test_a_conflict_takes_what_was_decided_on_it_along(world: World) -> None:
    """Another process landed E1: the batch in flight conflicts, whether or not the next was decided on it."""
    answers = Answers()
    async with world.landing() as lander:
        await world.land(lander, intent())
        await world.elsewhere(fill("E1"))
        first = msgspec.structs.replace(fill("E1", position=1), done=answers.to("first"))
        await world.inbox.put([first])
        await world.inbox.put([fill("E2", position=2, done=answers.to("second"))])
        await until(lambda: lander.is_idle)
    assert answers.counts("first") == (0, 1, 0, 0)
    assert answers.counts("second") == (1, 0, 0, 0)
    assert await world.exec_ids() == ["E1", "E2"]
    assert (await row_counts(world.watching))["executions"] == 2


async def test_a_lost_connection_lands_both_again(world: World, ahead: Ahead) -> None:
    answers = Answers()
    async with world.landing() as lander:
        await world.land(lander, intent())
        lock = await ahead.decided(
            world,
            [fill("E1", position=1, done=answers.to("first"))],
            [fill("E2", position=2, done=answers.to("second"))],
        )
        assert [a.position.value for a in lander.waiting() if a.position is not None] == [2, 1]
        await terminate_sessions(world.watching)
        await lock.free(lander)
    assert answers.counts("first") == answers.counts("second") == (1, 0, 0, 0)
    assert [len(told) for told in answers.told.values()] == [1, 1]
    assert await world.exec_ids() == ["E1", "E2"]


async def test_a_backlog_comes_to_the_same_decided_ahead_or_in_turn(world: World, ahead: Ahead) -> None:
    """A long queue in small batches, with busts and repetitions between them."""
    messages = [fill_message(f"E{n:03}") for n in range(200)]
    busts = [fill_message(f"B{n}", type="bust", exec_ref_id=f"E{n:03}") for n in (7, 60)]
    queue = [*messages[:100], *busts, *messages[40:]]
    async with world.landing(batch_limit=5) as lander:
        await world.land(lander, intent())
        await world.land(lander, *(fills(m, position=n) for n, m in enumerate(queue)))
    assert sum(found is not None for found in ahead.found) > 10
    rows = await world.watching.fetch("SELECT exec_id, status FROM execution.executions ORDER BY 1")
    assert {row["exec_id"]: row["status"] for row in rows} == {
        f"E{n:03}": "busted" if n in (7, 60) else "active" for n in range(200)
    }
    assert world.metrics.duplicates == {"ALPHA.rest": 60}
