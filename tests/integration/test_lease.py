"""The writer's lease: taken at once from who has ended, in time from who has fallen silent, and never shared."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from ledger.db import leases
from ledger.db.errors import LeaseLostError, LedgerUnavailableError
from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from tests.integration.database import connected, row_counts
from tests.unit.domain.facts import intent, report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

WRITER = "writer"


@pytest.fixture
async def sessions(ledger_url: str) -> AsyncIterator[list[asyncpg.Connection[Any]]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(ledger_url)) for _ in range(3)]


async def taken_after(connection: asyncpg.Connection[Any], seconds: float = 20.0) -> int:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await leases.take(connection, WRITER)
            except LeaseLostError:
                await asyncio.sleep(0.05)


async def test_a_lease_that_is_renewed_is_nobody_elses_and_each_taking_counts_the_token_up(
    sessions: list[asyncpg.Connection[Any]],
) -> None:
    first, second, keeper = sessions
    token = await leases.take(first, WRITER, 0.3)
    for _ in range(6):
        await asyncio.sleep(0.1)
        await leases.renew(keeper, WRITER, token, 0.3)
        with pytest.raises(LeaseLostError, match=f"{leases.this_process()}.*'writer'"):
            await leases.take(second, WRITER)
    await first.close()
    assert await taken_after(second) == token + 1
    with pytest.raises(LeaseLostError, match=f"token {token}"):
        await leases.renew(keeper, WRITER, token, 0.3)


async def test_who_falls_silent_is_ended_and_the_next_takes_over(sessions: list[asyncpg.Connection[Any]]) -> None:
    first, second, _ = sessions
    deposed = Landing(first)
    await deposed.take_lease(WRITER, 0.2)
    assert await taken_after(second) == 2
    with pytest.raises(LedgerUnavailableError):
        await deposed.land(decide(Book(), [intent()], Policy()))
    assert not deposed.is_open


async def test_who_cannot_be_ended_does_not_commit(sessions: list[asyncpg.Connection[Any]]) -> None:
    """The session lives on: another login's, say, or a pooler's. The token in its landings is the old one."""
    first, second, watching = sessions
    deposed, landing = Landing(first), Landing(second)
    await deposed.take_lease(WRITER)
    await first.execute("SELECT pg_advisory_unlock_all()")
    await landing.take_lease(WRITER)
    small: list[Fact] = [intent()]
    for facts in (small, [*small, *(report(f"E{n}") for n in range(200))]):  # one statement, and COPY
        with pytest.raises(LeaseLostError, match="another process has taken the lease of writer"):
            await deposed.land(decide(Book(), facts, Policy()))
    assert (await row_counts(watching))["orders"] == 0
    await landing.land(decide(Book(), [intent(), report("E1")], Policy()))
    counts = await row_counts(watching)
    assert (counts["orders"], counts["fills"]) == (1, 1)


async def test_a_landing_that_is_under_way_is_before_the_taking_or_refused(
    sessions: list[asyncpg.Connection[Any]],
) -> None:
    """A holder that is stopped in its transaction and cannot be ended keeps the lease until that is over."""
    first, second, _ = sessions
    token = await leases.take(first, WRITER)
    async with first.transaction():
        await first.execute(
            "SELECT execution.land($1::jsonb)", f'{{"lease": {{"writer": "writer", "token": {token}}}}}'
        )
        await first.execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(LeaseLostError, match="in the middle of a landing"):
            await leases.take(second, WRITER)
    assert await leases.take(second, WRITER) == token + 1


async def test_a_server_whose_clock_is_set_back_does_not_leave_the_lease_to_the_dead(
    sessions: list[asyncpg.Connection[Any]],
) -> None:
    first, second, watching = sessions
    await leases.take(first, WRITER)
    await watching.execute(
        "UPDATE execution.leases SET renewed_at = renewed_at + interval '1 h', "
        "expires_at = expires_at + interval '1 h'"
    )
    assert await taken_after(second) == 2


async def test_who_lost_a_session_does_not_wait_for_it(sessions: list[asyncpg.Connection[Any]]) -> None:
    """It is half-open: the server has it, with the lock, and our end is gone."""
    first, second, _ = sessions
    token = await leases.take(first, WRITER)
    with pytest.raises(LeaseLostError):
        await leases.take(second, WRITER)
    assert await leases.take(second, WRITER, last=token) == token + 1


async def test_two_that_wait_do_not_both_get_it(sessions: list[asyncpg.Connection[Any]]) -> None:
    first, second, third = sessions
    await leases.take(first, WRITER)
    await first.close()
    outcomes = await asyncio.gather(*(leases.take(c, WRITER) for c in (second, third)), return_exceptions=True)
    assert len([outcome for outcome in outcomes if isinstance(outcome, int)]) == 1
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, int)] == [LeaseLostError]


async def test_a_session_that_waits_for_its_client_is_not_at_work(sessions: list[asyncpg.Connection[Any]]) -> None:
    first, second, _ = sessions
    pid = first.get_server_pid()
    before = await leases.idle_since(second, pid)
    assert before is not None
    assert await leases.idle_since(second, pid) == before
    await first.execute("SELECT 1")
    after = await leases.idle_since(second, pid)
    assert after is not None
    assert after > before
    asking = asyncio.create_task(first.execute("SELECT pg_sleep(20)"))
    async with asyncio.timeout(10):
        while await leases.idle_since(second, pid) is not None:  # noqa: ASYNC110  Postgres has no event for it
            await asyncio.sleep(0.01)
    first.terminate()
    await asyncio.gather(asking, return_exceptions=True)
