"""Redis is written to under the lease alone: who has lost it without knowing writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import WatchError

from streaming.fencing import TOKEN, FencedError, fenced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


async def write(redis: Redis, token: int, key: str) -> None:
    async with fenced(redis, lambda: token) as pipe:
        pipe.set(key, "x")
        await pipe.execute()


async def test_the_highest_token_writes(redis: Redis) -> None:
    await write(redis, 3, "a")
    await write(redis, 3, "b")
    await write(redis, 4, "c")
    with pytest.raises(FencedError, match="token 4, ours is 3"):
        await write(redis, 3, "d")
    assert await redis.get(TOKEN) == "4"
    assert [await redis.exists(key) for key in "abcd"] == [1, 1, 1, 0]


async def test_a_writer_that_is_stopped_between_its_look_and_its_write_writes_nothing(redis: Redis) -> None:
    await write(redis, 3, "a")
    with pytest.raises(WatchError):  # noqa: PT012  the write of another comes in between
        async with fenced(redis, lambda: 3) as pipe:
            pipe.set("late", "x")
            await write(redis, 4, "b")
            await pipe.execute()
    assert await redis.exists("late") == 0


async def test_a_flushed_redis_is_written_to_again(redis: Redis) -> None:
    await write(redis, 3, "a")
    await redis.flushdb()
    await write(redis, 3, "a")
    assert await redis.get(TOKEN) == "3"
