"""What uvloop says of a connection that is closed under a write is Redis's trouble, and ends nothing.

A cancellation that is lost within a call is raised after it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import uvloop
from redis.exceptions import RedisError

from streaming.fencing import redis_named


async def _write_to_what_is_closed() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.transport.abort()
    await asyncio.sleep(0.05)
    try:
        with redis_named():
            writer.writelines([b"PING\r\n"])
    finally:
        server.close()


def test_a_write_to_a_closed_connection_is_a_redis_error() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(RedisError, match="closed"):
        runner.run(_write_to_what_is_closed())


async def test_another_error_is_itself() -> None:
    with pytest.raises(RuntimeError, match="a bug"), redis_named():
        raise RuntimeError("a bug of ours")


async def test_a_cancellation_that_is_lost_within_a_call_is_raised_after_it() -> None:
    async def losing() -> None:
        # as asyncio.wait_for does in Python 3.11 where it has its result already
        with redis_named(), suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    task = asyncio.create_task(losing())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
