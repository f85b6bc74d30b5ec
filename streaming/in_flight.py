"""Redis: orders in flight that await fills, for agents that ask. A cache: flushed at any time, nothing lost.

``execution:order:{correlation_id}`` is a hash (venue, symbol, side, order_qty, cum_qty, leaves_qty, deadline),
``execution:deadlines:{venue}`` a sorted set of correlation ids by deadline (Unix seconds). What is here is
rebuilt from the order states in Postgres whenever the marker ``execution:built`` is gone, and each time that this
process takes the lease.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from ledger import clocks
from ledger.db.errors import LedgerUnavailableError
from ledger.db.failures import explained
from ledger.domain.numbers import text
from ledger.faultpoints import at
from streaming.fencing import fenced, redis_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    from redis.asyncio import Redis

    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState

MARKER = "execution:built"
_ORDER = "execution:order:"
_DEADLINES = "execution:deadlines:"
_CHECK_SECONDS = 1.0
_PACE_SECONDS = 0.05
_REST_TIMES = 9  # what a write took, it rests so many times: of a backlog the landing has nine tenths
_CHANGED_LIMIT = 10_000
_REBUILD_LIMIT = 50_000
_KEEP_SECONDS = 86_400  # an order nobody speaks of for a day is not in flight

_OPEN_ORDERS = """
SELECT correlation_id, venue, symbol, side, order_qty, cum_qty, leaves_qty, extract(epoch FROM routed_at) AS routed
FROM execution.order_states
WHERE leaves_qty > 0 AND routed_at > now() - make_interval(secs => $1)
LIMIT $2
"""

log = structlog.get_logger()


class InFlight:
    """Keeps Redis up to date after each commit, and makes it whole when it has forgotten."""

    def __init__(
        self,
        redis: Redis,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        *,
        deadline_seconds: float,
        may_write: asyncio.Event | None = None,
        token: Callable[[], int] = lambda: 0,
    ) -> None:
        self._redis = redis
        self._connect = connect
        self._deadline_seconds = deadline_seconds
        self._may_write = may_write
        self._token = token
        self._changed: dict[str, OrderState] = {}
        self._overflowed = True  # what the last process wrote here may miss its last commits
        self._wake = asyncio.Event()
        self._rest_seconds = 0.0
        self.state = "connecting"

    def offer(self, decision: Decision) -> None:
        """Note the orders a decision touched; too many at once mean a rebuild."""
        self._changed.update(decision.orders)
        if len(self._changed) > _CHANGED_LIMIT:
            self._changed.clear()
            self._overflowed = True
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; while Redis is away the changes it misses are made up for by a rebuild.

        Redis is left to the process that has the lease.
        """
        while True:
            if self._may_write is not None and not self._may_write.is_set():
                self.state = "connecting"
                await self._may_write.wait()
                self._overflowed = True
            try:
                with redis_named():
                    if self._overflowed or not await self._redis.exists(MARKER):
                        await self._rebuild()
                    await self._write_changes()
                self.state = "live"
            except (RedisError, LedgerUnavailableError, OSError) as error:
                if self.state != "down":
                    log.warning("in-flight orders are not kept", error=str(error))
                self.state = "down"
                self._overflowed = True
                self._changed.clear()
                await asyncio.sleep(_CHECK_SECONDS)
            try:
                async with asyncio.timeout(_CHECK_SECONDS):  # wait_for loses a cancellation in 3.11
                    await self._wake.wait()
            except TimeoutError:
                continue
            # an order's fills of this time are one write
            await asyncio.sleep(max(_PACE_SECONDS, self._rest_seconds))
            self._wake.clear()

    async def _write_changes(self) -> None:
        changed, self._changed = self._changed, {}
        if not changed:
            return
        began = clocks.monotonic()
        async with fenced(self._redis, self._token) as pipe:
            self._put_changes(pipe, changed)
            at("redis.before")
            await pipe.execute()
            at("redis.after")
        self._rest_seconds = min(_REST_TIMES * (clocks.monotonic() - began), _CHECK_SECONDS)

    def _put_changes(self, pipe: Any, changed: dict[str, OrderState]) -> None:
        """Put what changed into few commands: each costs this process as much as ten of its arguments."""
        over: dict[str, list[str]] = defaultdict(list)
        waits: dict[str, dict[str, float]] = defaultdict(dict)
        for correlation_id, order in changed.items():
            root = order.root
            if root is None:
                continue
            if not (left := order.leaves_qty):
                over[root.venue].append(correlation_id)
                continue
            deadline = root.routed_ns / 1e9 + self._deadline_seconds
            waits[root.venue][correlation_id] = deadline
            self._put(pipe, f"{_ORDER}{correlation_id}", deadline, {
                "venue": root.venue, "symbol": root.symbol, "side": root.side, "order_qty": text(order.order_qty),
                "cum_qty": text(order.cum_qty), "leaves_qty": text(left),
            })  # fmt: skip
        for venue, correlation_ids in over.items():
            pipe.delete(*(f"{_ORDER}{correlation_id}" for correlation_id in correlation_ids))
            pipe.zrem(f"{_DEADLINES}{venue}", *correlation_ids)
        for venue, deadlines in waits.items():
            pipe.zadd(f"{_DEADLINES}{venue}", deadlines)

    @staticmethod
    def _put(pipe: Any, key: str, deadline: float, fields: dict[str, str]) -> None:
        pipe.hset(key, mapping={**fields, "deadline": f"{deadline:.3f}"})
        pipe.expire(key, _KEEP_SECONDS)

    async def _remove_all_but(self, still_open: set[bytes], pipe: Any) -> None:
        """Take out orders that were filled while nobody could say so here."""
        async for key in self._redis.scan_iter(f"{_ORDER}*", count=1000):
            if key.removeprefix(_ORDER.encode()) not in still_open:
                pipe.delete(key)
        async for key in self._redis.scan_iter(f"{_DEADLINES}*"):
            gone = [name for name in await self._redis.zrange(key, 0, -1) if name not in still_open]
            if gone:
                pipe.zrem(key, *gone)

    async def _rebuild(self) -> None:
        """Write every open order from Postgres, take out what is none any more, then set the marker."""
        began = time.monotonic()
        self._overflowed = False
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            with explained("reading open orders"):
                found = await connection.fetch(_OPEN_ORDERS, float(_KEEP_SECONDS), _REBUILD_LIMIT)
        finally:
            connection.terminate()
        async with fenced(self._redis, self._token) as pipe:
            await self._remove_all_but({row["correlation_id"].encode() for row in found}, pipe)
            waits: dict[str, dict[str, float]] = defaultdict(dict)
            for row in found:
                deadline = float(row["routed"]) + self._deadline_seconds
                fields = {
                    name: text(row[name]) if name.endswith("qty") else row[name]
                    for name in ("venue", "symbol", "side", "order_qty", "cum_qty", "leaves_qty")
                }
                waits[row["venue"]][row["correlation_id"]] = deadline
                self._put(pipe, f"{_ORDER}{row['correlation_id']}", deadline, fields)
            for venue, deadlines in waits.items():
                pipe.zadd(f"{_DEADLINES}{venue}", deadlines)
            pipe.set(MARKER, str(clocks.time_ns()))
            at("redis.rebuilding")
            await pipe.execute()
        log.info("in-flight orders rebuilt", orders=len(found), seconds=round(time.monotonic() - began, 3))
