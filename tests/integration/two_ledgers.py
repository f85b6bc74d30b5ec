"""One script of landings for two ledgers: a real Postgres and the simulation's, and their rows in one form."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from sqlalchemy import Date, DateTime
from sqlalchemy.dialects.postgresql import JSONB

from ledger import clocks
from ledger.db.errors import LedgerError
from ledger.db.landing import Landing
from ledger.db.tables import SCHEMA, Xid8, metadata
from simulation.loop import EPOCH_NS, VirtualLoop
from simulation.postgres import Postgres, Troubles
from simulation.tables import shapes
from tests.integration.cuttable import proxy
from tests.integration.database import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sqlalchemy import Column

    from ledger.db.desk import Answers
    from ledger.domain.decision import Decision
    from ledger.domain.records import Position

Step = tuple["Decision", tuple["Position", ...], "Answers | None"]
Rows = dict[str, list[dict[str, Any]]]
_FILLED_BY_MIGRATIONS = frozenset({"instruments"})


class RealLedger:
    """A Postgres of the tests."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack

    async def connect(self) -> Any:
        return await self._stack.enter_async_context(connected(self._url))

    async def release_locks(self, connection: Any) -> None:
        await connection.execute("SELECT pg_advisory_unlock_all()")

    @asynccontextmanager
    async def answer_lost(self) -> AsyncIterator[tuple[Any, Callable[[Awaitable[None]], Awaitable[None]]]]:
        """Give a session and what runs its statement so that it commits and the answer is lost."""
        host_and_port, _, name = self._url.rpartition("@")[2].partition("/")
        login = self._url.rpartition("@")[0]
        async with proxy(host_and_port) as between, connected(self._url) as other:
            session = await asyncpg.connect(f"{login}@127.0.0.1:{between.port}/{name}")
            pid = session.get_server_pid()

            async def run(statement: Awaitable[None]) -> None:
                block = other.transaction()
                await block.start()
                await other.execute(f"LOCK TABLE {SCHEMA}.fills IN ACCESS EXCLUSIVE MODE")
                landing = asyncio.ensure_future(statement)
                while not await other.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                between.hang()
                await block.commit()
                idle = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $1"
                while not await other.fetchval(idle, pid):  # noqa: ASYNC110  Postgres has no event for it
                    await asyncio.sleep(0.005)
                between.cut()
                await landing

            try:
                yield session, run
            finally:
                session.terminate()

    async def rows(self) -> Rows:
        async with connected(self._url) as watching:
            found: Rows = {}
            for name, shape in shapes().items():
                if name in _FILLED_BY_MIGRATIONS:
                    continue
                columns = ", ".join(shape.casts)
                found[name] = [dict(r) for r in await watching.fetch(f"SELECT {columns} FROM {SCHEMA}.{name}")]  # noqa: S608
            return found


class MemoryLedger:
    """The simulation's Postgres, with no troubles but those that are asked for."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._server = Postgres(loop, random.Random(1))

    async def connect(self) -> Any:
        return await self._server.connect()

    async def release_locks(self, connection: Any) -> None:
        self._server.locks.release(connection)

    @asynccontextmanager
    async def answer_lost(self) -> AsyncIterator[tuple[Any, Callable[[Awaitable[None]], Awaitable[None]]]]:
        """Give the same."""

        async def run(statement: Awaitable[None]) -> None:
            self._server.troubles = Troubles(lost_after=1.0)
            try:
                await statement
            finally:
                self._server.troubles = Troubles()

        yield await self._server.connect(), run

    async def rows(self) -> Rows:
        tables = self._server.tables
        return {name: [dict(r) for r in tables[name]] for name in tables if name not in _FILLED_BY_MIGRATIONS}


def on_both(url: str, script: Callable[[RealLedger | MemoryLedger], Awaitable[Any]]) -> tuple[Any, Any]:
    """Run a script on the real ledger, then on the one in memory; give what each came to."""

    async def real() -> Any:
        async with AsyncExitStack() as stack:
            return await script(RealLedger(url, stack))

    loop = VirtualLoop()  # type: ignore[abstract]  # what is not there is not used
    found: list[Any] = []

    async def in_memory() -> None:
        found.append(await script(MemoryLedger(loop)))

    with clocks.replaced(lambda: EPOCH_NS, lambda: 0.0):  # partitions of the same days
        first = asyncio.run(real())
    with clocks.replaced(loop.time_ns, loop.time):
        loop.run(in_memory())
    return first, found[0]


async def refusal(asked: Awaitable[Any]) -> Any:
    """Give what was asked for, or the name of the error that refused it."""
    try:
        return await asked
    except LedgerError as error:
        return type(error).__name__


async def land(landing: Landing, step: Step) -> str:
    """Land and say what came of it."""
    return await refusal(landing.land(*step)) or "landed"


async def land_all(ledger: RealLedger | MemoryLedger, steps: Sequence[Step]) -> list[str]:
    """Land one after the other on one session."""
    landing = Landing(await ledger.connect())
    return [await land(landing, step) for step in steps]


def comparable(found: Rows) -> Rows:
    """Give rows by key; what a server makes up is only what it means: that there is a time, which came first."""
    return {name: _comparable(name, rows) for name, rows in found.items()}


def _comparable(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = {column.name: column for column in metadata.tables[f"{SCHEMA}.{name}"].columns}
    made_up = {c.name for c in columns.values() if _is_of_server(c)}
    ranks = {
        column: {value: rank for rank, value in enumerate(sorted({row[column] for row in rows}))}
        for column, declared in columns.items()
        if declared.identity is not None or isinstance(declared.type, Xid8)
        if rows and column in rows[0] and all(row[column] is not None for row in rows)
    }
    shown = [
        {
            column: ranks[column][value] if column in ranks else _meant(columns[column], value, made_up)
            for column, value in row.items()
        }
        for row in rows
    ]
    return sorted(shown, key=lambda row: [str(row[key]) for key in shapes()[name].key])


def _is_of_server(column: Column[Any]) -> bool:
    if isinstance(column.type, DateTime | Date):
        return column.server_default is not None or isinstance(column.type, DateTime)
    return "SESSION_USER" in str(getattr(column.server_default, "arg", ""))


def _meant(column: Column[Any], value: Any, made_up: set[str]) -> Any:
    if column.name in made_up:
        return "some" if value is not None else None
    if isinstance(column.type, JSONB) and isinstance(value, str):
        return msgspec.json.decode(value)
    return value
