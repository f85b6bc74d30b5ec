"""Redis: orders in flight that await fills, for agents that ask. A cache: flushed at any time, nothing lost.

``execution:order:{correlation_id}`` is a hash (venue, symbol, side, order_qty, cum_qty, leaves_qty, deadline),
``execution:deadlines:{venue}`` a sorted set of correlation ids by deadline (Unix seconds). What is here is
rebuilt from the order states in Postgres whenever the marker ``execution:built`` is gone, and each time that this
process takes the lease.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
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
_PAGE = 1_000
_KEEP_SECONDS = 86_400  # an order nobody speaks of for a day is not in flight

_OPEN_ORDERS = """
SELECT correlation_id, venue, symbol, side, order_qty, cum_qty, leaves_qty, extract(epoch FROM routed_at) AS routed
FROM execution.order_states
WHERE leaves_qty > 0 AND routed_at > now() - make_interval(secs => $1)
LIMIT $2
"""

# One command for many orders: each command costs this process as much as writing down an order.
_WRITE = """
local changes = cjson.decode(ARGV[1])
for _, order in ipairs(changes.over) do
  redis.call('DEL', KEYS[1] .. order[1])
  redis.call('ZREM', KEYS[2] .. order[2], order[1])
end
for _, order in ipairs(changes.open) do
  local id, venue, symbol, side, order_qty, cum_qty, leaves_qty, deadline = unpack(order)
  redis.call('HSET', KEYS[1] .. id, 'venue', venue, 'symbol', symbol, 'side', side, 'order_qty', order_qty,
    'cum_qty', cum_qty, 'leaves_qty', leaves_qty, 'deadline', deadline)
  redis.call('EXPIRE', KEYS[1] .. id, ARGV[2])
  redis.call('ZADD', KEYS[2] .. venue, deadline, id)
end
"""

log = structlog.get_logger()


class _Open(msgspec.Struct, array_like=True):
    """One order in flight, in the order of ``_WRITE``."""

    correlation_id: str
    venue: str
    symbol: str
    side: str
    order_qty: str
    cum_qty: str
    leaves_qty: str
    deadline: str


class _Changes(msgspec.Struct):
    """Orders in flight, and those that are it no more: (correlation id, venue)."""

    open: list[_Open] = []
    over: list[tuple[str, str]] = []


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
        await self._write(self._changes(changed), "redis.before")
        at("redis.after")
        self._rest_seconds = min(_REST_TIMES * (clocks.monotonic() - began), _CHECK_SECONDS)

    def _changes(self, changed: dict[str, OrderState]) -> _Changes:
        found = _Changes()
        for correlation_id, order in changed.items():
            root = order.root
            if root is None:
                continue
            if not (left := order.leaves_qty):
                found.over.append((correlation_id, root.venue))
                continue
            found.open.append(
                _Open(
                    correlation_id,
                    root.venue,
                    root.symbol,
                    root.side,
                    text(order.order_qty),
                    text(order.cum_qty),
                    text(left),
                    f"{root.routed_ns / 1e9 + self._deadline_seconds:.3f}",
                )
            )
        return found

    async def _write(self, changes: _Changes, point: str) -> None:
        async with fenced(self._redis, self._token) as pipe:
            raw = msgspec.json.encode(changes)
            pipe.eval(_WRITE, 2, _ORDER, _DEADLINES, raw, str(_KEEP_SECONDS))
            at(point)
            await pipe.execute()

    async def _gone(self, still_open: set[bytes]) -> list[tuple[str, str]]:
        """List what was filled while nobody could say so here; a hash may be there without its deadline."""
        held = [
            key.removeprefix(_ORDER.encode()) async for key in self._redis.scan_iter(f"{_ORDER}*", count=_PAGE)
        ]
        gone = [(name.decode(), "") for name in held if name not in still_open]
        async for key in self._redis.scan_iter(f"{_DEADLINES}*"):
            venue = key.removeprefix(_DEADLINES.encode()).decode()
            members: list[Any] = await self._redis.zrange(key, 0, -1)
            gone += [(name.decode(), venue) for name in members if name not in still_open]
        return gone

    async def _rebuild(self) -> None:
        """Write every open order from Postgres, take out what is none any more, then set the marker.

        It is done in pages: what lands meanwhile goes first, and is written when all of this is.
        """
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
        gone = await self._gone({row["correlation_id"].encode() for row in found})
        for start in range(0, len(gone), _PAGE):
            await self._write(_Changes(over=gone[start : start + _PAGE]), "redis.rebuilding")
        for start in range(0, len(found), _PAGE):
            page = [self._read(row) for row in found[start : start + _PAGE]]
            await self._write(_Changes(page), "redis.rebuilding")
        async with fenced(self._redis, self._token) as pipe:
            pipe.set(MARKER, str(clocks.time_ns()))
            at("redis.rebuilding")
            await pipe.execute()
        log.info("in-flight orders rebuilt", orders=len(found), seconds=round(time.monotonic() - began, 3))

    def _read(self, row: asyncpg.Record) -> _Open:
        return _Open(
            row["correlation_id"],
            row["venue"],
            row["symbol"],
            row["side"],
            text(row["order_qty"]),
            text(row["cum_qty"]),
            text(row["leaves_qty"]),
            f"{float(row['routed']) + self._deadline_seconds:.3f}",
        )
