"""Writing to Redis under the writer's lease: a process that has lost it without knowing writes nothing.

``execution:token`` is the token of the lease under which Redis was last written to (``ledger.db.leases``). A write
watches it: where another process has put a higher one there, before the write or during it, nothing is written.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ledger.faultpoints import at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

TOKEN = "execution:token"  # noqa: S105  a counter
_RAISE = """
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""


class FencedError(RedisError):
    """Another process has the lease, and has written."""


@contextmanager
def redis_named() -> Iterator[None]:
    """Raise what uvloop says of a connection that the server has just closed as a ``RedisError``.

    It is a RuntimeError there, which redis-py lets through: a server that stops would end the process. A
    cancellation that redis-py has lost is raised, too: it sends under ``asyncio.wait_for``, which in Python 3.11
    swallows one that comes as it ends, and the task would never end.
    """
    try:
        yield
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        raise RedisConnectionError(f"the connection was closed: {error}") from error
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


@asynccontextmanager
async def fenced(redis: Redis, token: Callable[[], int]) -> AsyncIterator[Pipeline]:
    """Give a pipeline whose ``execute`` writes all of it, or raises ``RedisError`` where another has the lease."""
    async with redis.pipeline(transaction=True) as pipe:
        ours = token()
        await pipe.watch(TOKEN)
        known = await _known(pipe)
        if known < ours:
            await pipe.unwatch()  # type: ignore[no-untyped-call]
            await redis.eval(_RAISE, 1, TOKEN, str(ours))
            at("redis.fenced")
            await pipe.watch(TOKEN)
            known = await _known(pipe)
        if known > ours:
            raise FencedError(f"Redis was written to under the lease's token {known}, ours is {ours}")
        pipe.multi()  # type: ignore[no-untyped-call]
        yield pipe


async def _known(pipe: Pipeline) -> int:
    return int(await pipe.get(TOKEN) or 0)
