"""A Postgres of one ledger: sessions, transactions, the lease's lock, and everything that can happen to a session.

What the driver is asked for runs at the server, whatever becomes of the asker meanwhile: a statement that is out
when its process is killed may commit, and a commit whose answer is lost has happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import asyncpg
import msgspec

from ledger.db.sql import load_queries
from ledger.db.tables import SCHEMA
from ledger.domain.times import utc_date
from simulation.landing import land
from simulation.locks import Locks, RowLockedError
from simulation.loop import FATE, Fate, VirtualLoop, outside
from simulation.queries import Queries
from simulation.tables import MemoryTable, Row, Stamp, Undo, make_tables

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

_CONCERNS = ("reading", "landing", "outbox", "delays", "instruments", "leases")
_NAMES: dict[str, str] = {}
for _concern in _CONCERNS:
    for _name, _text in load_queries(_concern).items():
        _NAMES.setdefault(_text, _name)


class Troubles(msgspec.Struct):
    """How likely which trouble is; all of it is drawn from the seed."""

    slow: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    killed_in_flight: float = 0.0


class Commit(msgspec.Struct):
    """What one transaction has inserted and where its positions now stand, for those who check."""

    writer: Fate | None
    xid: int
    inserted: dict[str, list[Row]]
    moved: list[Row]


class Postgres:
    """The server. ``on_commit`` is called after each transaction that wrote something."""

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self.loop = loop
        self.rng = rng
        self.tables: dict[str, MemoryTable] = make_tables()
        self.troubles = Troubles()
        self.up = True
        self.on_commit: list[Callable[[Commit], None]] = []
        self.note: Callable[[str], None] = lambda _: None
        self.commits = 0
        self._next_xid = 1000
        self._open: dict[int, Session] = {}
        self._position = 0
        self._pids = 0
        self.sessions: list[Session] = []
        self.locks = Locks(self)
        self.queries = Queries(self.tables, rng, loop.time_ns, self._horizon)

    async def connect(self) -> Session:
        """Open a session for the process that asks."""
        fate = FATE.get()
        await asyncio.sleep(self.delay())
        if not self.up:
            raise ConnectionRefusedError("connection refused")
        session = Session(self, fate)
        self.sessions.append(session)
        if fate is not None:
            fate.on_death.append(session.forsake)
        return session

    def cut(self, session: Session, *, client_knows_after: float) -> None:
        """End a session at the server; its client learns of it later."""
        session.end()
        self.loop.call_later(client_knows_after, session.lose, context=outside())

    def stop(self) -> None:
        """Go down: every session ends."""
        self.up = False
        for session in list(self.sessions):
            self.cut(session, client_knows_after=self.rng.choice((0.0, 0.0, 2.0)))

    def delay(self) -> float:
        """Draw how long a statement takes."""
        if self.rng.random() < self.troubles.slow:
            return self.rng.choice((0.05, 0.5, 2.0, 4.0)) * self.rng.random()
        return 0.0005 + 0.001 * self.rng.random()

    def begin(self, session: Session) -> int:
        """Give a transaction that writes its id."""
        self._next_xid += 1
        self._open[self._next_xid] = session
        return self._next_xid

    def write(self, session: Session, xid: int, statements: Sequence[Callable[[Stamp, Undo], None]]) -> None:
        """Commit statements, or raise and leave everything as it was."""
        undo: Undo = []
        try:
            stamp, _ = self._carry_out(statements, xid, undo)
        except BaseException:
            for back in reversed(undo):
                back()
            raise
        finally:
            self._open.pop(xid, None)
        self.commits += 1
        for told in self.on_commit:
            told(Commit(session.fate, xid, stamp.inserted, stamp.moved))

    def check(self, xid: int, statements: Sequence[Callable[[Stamp, Undo], Any]]) -> Any:
        """Raise what the last statement of an open transaction would raise, or give what it would give.

        Nobody else sees anything of it yet.
        """
        undo: Undo = []
        try:
            return self._carry_out(statements, xid, undo)[1]
        finally:
            for back in reversed(undo):
                back()

    def _carry_out(
        self, statements: Sequence[Callable[[Stamp, Undo], Any]], xid: int, undo: Undo
    ) -> tuple[Stamp, Any]:
        now_ns = self.loop.time_ns()
        stamp = Stamp(xid, now_ns, utc_date(now_ns), self._take_position)
        value: Any = None
        for statement in statements:
            value = statement(stamp, undo)
        return stamp, value

    def _take_position(self) -> int:
        self._position += 1
        return self._position

    def _horizon(self) -> Row:
        none_from = self._next_xid + 1
        return {"all_before": min(self._open, default=none_from), "none_from": none_from}

    def next_pid(self) -> int:
        """Number a session."""
        self._pids += 1
        return self._pids

    def close_transaction(self, xid: int) -> None:
        """Count a transaction as ended."""
        self._open.pop(xid, None)

    def is_at_work(self, pid: int) -> bool:
        """Whether a session's statement is being worked on."""
        return any(session.pid == pid and session.is_busy for session in self.sessions)

    def release(self, session: Session) -> None:
        """Release what a session holds."""
        self.locks.release(session)
        for xid, holder in list(self._open.items()):
            if holder is session:
                del self._open[xid]
        if session in self.sessions:
            self.sessions.remove(session)


class Session:
    """One connection, both ends of it: what asyncpg's Connection offers, as far as it is used."""

    def __init__(self, server: Postgres, fate: Fate | None) -> None:
        self.server = server
        self.fate = fate
        self.pid = server.next_pid()
        self._lost = False
        self._ended = False
        self._forsaken = False
        self._busy = False
        self._waiting: asyncio.Future[Any] | None = None
        self._listeners: list[Callable[[Any], None]] = []
        self._transaction: Transaction | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the server works for it."""
        return self._busy and not self._ended

    @property
    def is_landing(self) -> bool:
        """Whether its open transaction has checked its token, and so holds the lease's row."""
        return self._transaction is not None and self._transaction.has_landed

    def get_server_pid(self) -> int:
        """Give the session's number at the server."""
        return self.pid

    async def set_type_codec(self, name: str, **options: object) -> None:
        """Values do not travel as bytes here."""
        del name, options
        await self._ask(lambda _: None)

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None) -> list[Row]:  # noqa: ASYNC109
        """Run a query by its text; the timeout is the driver's."""
        async with asyncio.timeout(timeout):
            return await self._fetch(query, arguments)

    async def _fetch(self, query: str, arguments: tuple[Any, ...]) -> list[Row]:
        if self.server.queries.about_nothing(query):
            return []
        name = _name_of(query)
        if name == "save_cursor":
            found: list[Row] = await self._ask(lambda xid: self._save_cursor(xid, *arguments), writes=True)
            return found
        found = await self._ask(lambda _: self.server.queries.run(name, arguments))
        return found  # noqa: RET504  typed on the way

    async def fetchrow(self, query: str, *arguments: Any) -> Row | None:
        """Run a query that gives one row."""
        assert _name_of(query) == "known", query
        found: Row | None = await self._ask(lambda _: self.server.locks.known(*arguments))
        return found

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Run a query that gives one value."""
        name, server = _name_of(query), self.server
        if name == "take":
            return await self._ask(lambda _: self._open_transaction().add(server.locks.take(*arguments)))
        ask: dict[str, Callable[[], Any]] = {
            "takeover": lambda: server.locks.takeover(self, *arguments),
            "lock": lambda: server.locks.lock(self, *arguments),
            "renew": lambda: server.locks.renew(self, *arguments),
            "idle_since": lambda: None if server.is_at_work(*arguments) else 0.0,
        }
        return await self._ask(lambda _: ask[name]())

    async def execute(self, query: str, *arguments: Any) -> None:
        """Run a statement."""
        name = "set" if query.startswith("SET ") else _name_of(query)
        if name == "land":
            doc = msgspec.json.decode(arguments[0])
            await self._write(lambda stamp, undo: self._land(doc, stamp, undo), lands=True)
            return
        effects: dict[str, Callable[[], None]] = {
            "set": lambda: None,
            "ensure_partitions": lambda: None,
            "end_holder": lambda: self.server.locks.end_holder(self, *arguments),
            "hold_row": lambda: self.server.locks.hold_row(self),
        }
        await self._ask(lambda _: effects[name]())

    def _land(self, doc: dict[str, Any], stamp: Stamp, undo: Undo) -> None:
        lease = doc.pop("lease", None)
        if lease is not None:
            self.server.locks.check(self, lease)
        try:
            land(self.server.tables, doc, stamp, undo)
        finally:
            if lease is not None:
                doc["lease"] = lease

    async def copy_records_to_table(
        self, table: str, *, schema_name: str, columns: Sequence[str], records: Iterable[Sequence[Any]]
    ) -> None:
        """Copy rows."""
        assert schema_name == SCHEMA
        rows = [dict(zip(columns, record, strict=True)) for record in records]

        def copy(stamp: Stamp, undo: Undo) -> None:
            for row in rows:
                self.server.tables[table].insert(row, stamp, undo)

        await self._write(copy)

    def transaction(self) -> Transaction:
        """Open a transaction block."""
        return Transaction(self)

    def add_termination_listener(self, listener: Callable[[Any], None]) -> None:
        """Call when the connection has ended."""
        self._listeners.append(listener)

    def is_closed(self) -> bool:
        """Whether this end knows that it is over."""
        return self._lost

    def terminate(self) -> None:
        """Close without a word."""
        if self.fate is not None and not self.fate.alive:
            return  # a killed process does nothing
        self.lose()
        self.forsake()

    def lose(self) -> None:
        """This end learns that the connection is gone."""
        if self._lost:
            return
        self._lost = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(asyncpg.ConnectionDoesNotExistError("connection was closed"))
        for listener in self._listeners:
            self.server.loop.call_soon(listener, self)

    def end(self) -> None:
        """The server ends it: what is not committed is gone, its locks are free."""
        self._ended = True
        self._transaction = None
        self.server.release(self)

    def forsake(self) -> None:
        """The client is gone; the server finds out, after what it is at."""
        self._forsaken = True
        if not self._busy:
            self.server.loop.call_later(0.001, self.end, context=outside())

    def _open_transaction(self) -> Transaction:
        """Give the transaction, at the server: a client may ask when its session has ended, and not know it."""
        assert self._transaction is not None, "the lease is taken in a transaction"
        return self._transaction

    async def _write(self, statement: Callable[[Stamp, Undo], None], *, lands: bool = False) -> None:
        block = self._transaction
        if block is None:
            await self._ask(lambda xid: self.server.write(self, xid, [statement]), writes=True)
            return
        await self._ask(lambda _: block.add(statement, lands=lands))

    def _save_cursor(
        self, writer: int, publisher: str, incarnation: str, xid: str, position: int, tails: str
    ) -> list[Row]:
        table = self.server.tables["publish_cursors"]
        row = table.rows.get((publisher,))
        place = {"incarnation": incarnation, "xid": int(xid), "position": position, "tails": tails}

        def save(stamp: Stamp, undo: Undo) -> None:
            if row is None:
                table.insert({"publisher": publisher, **place}, stamp, undo)
            else:
                table.change(row, place, undo)

        self.server.write(self, writer, [save])
        return []

    async def _ask(self, effect: Callable[[Any], Any], *, writes: bool = False) -> Any:
        """Send a request; it runs at the server in a while, and its answer comes back in a while."""
        if self._lost:
            raise asyncpg.InterfaceError("connection is closed")
        server = self.server
        assert self._waiting is None, "one task at a time uses a connection"
        self._waiting = answer = server.loop.create_future()
        self._busy = True
        server.loop.call_later(server.delay(), self._arrive, effect, answer, writes, context=outside())
        try:
            return await answer
        finally:
            self._waiting = None

    def _arrive(self, effect: Callable[[Any], Any], answer: asyncio.Future[Any], writes: bool) -> None:
        server, troubles = self.server, self.server.troubles
        if self._ended:
            self._busy = False
            return
        if self._forsaken and server.rng.random() < troubles.killed_in_flight:
            self._busy = False  # it was still on its way when its sender died
            self.end()
            return
        draw = server.rng.random()
        if draw < troubles.lost_before:
            server.note("connection lost before the statement")
            self._busy = False
            self.end()
            self.lose()
            return
        if writes and server.rng.random() < troubles.slow:
            xid = server.begin(self)
            later = server.rng.random() * 1.5
            server.loop.call_later(later, self._finish, effect, answer, xid, context=outside())
            return
        self._finish(effect, answer, server.begin(self) if writes else None)

    def _finish(self, effect: Callable[[Any], Any], answer: asyncio.Future[Any], xid: int | None) -> None:
        server = self.server
        self._busy = False
        if self._ended:
            return
        error: Exception | None = None
        value: Any = None
        try:
            value = effect(xid)
        except RowLockedError:
            self._busy = True
            server.loop.call_later(0.005, self._finish, effect, answer, xid, context=outside())
            return
        except asyncpg.PostgresError as refused:
            error = refused
        if xid is not None:
            server.close_transaction(xid)
        if self._forsaken:
            self.end()
            return
        if server.rng.random() < server.troubles.lost_after:
            server.note("connection lost after the statement")
            self.end()
            self.lose()
            return
        if not answer.done():
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)


class Transaction:
    """A transaction block: nobody sees its rows before COMMIT."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._statements: list[Callable[[Stamp, Undo], Any]] = []
        self._xid = 0
        self._outer: Transaction | None = None
        self.has_landed = False

    async def __aenter__(self) -> Self:
        await self._session._ask(self._begin)  # noqa: SLF001  a part of it
        return self

    def _begin(self, _: object) -> None:
        self._outer = self._session._transaction  # noqa: SLF001
        self._session._transaction = self  # noqa: SLF001
        if self._outer is None:
            self._xid = self._session.server.begin(self._session)

    def add(self, statement: Callable[[Stamp, Undo], Any], *, lands: bool = False) -> Any:
        """Carry out one statement more."""
        assert self._outer is None, "a savepoint that writes is not simulated"
        value = self._session.server.check(self._xid, [*self._statements, statement])
        self._statements.append(statement)
        self.has_landed |= lands
        return value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        if session.is_closed():
            if error is None:
                raise asyncpg.InterfaceError("connection is closed")
            return
        await session._ask(self._commit if error is None else self._roll_back)  # noqa: SLF001

    def _commit(self, _: object) -> None:
        if self._leave():
            self._session.server.write(self._session, self._xid, self._statements)

    def _roll_back(self, _: object) -> None:
        if self._leave():
            self._session.server.close_transaction(self._xid)

    def _leave(self) -> bool:
        """Whether it was the outermost."""
        self._session._transaction = self._outer  # noqa: SLF001
        if self._outer is None:
            self._session.server.locks.end_transaction(self._session)
        return self._outer is None


def _name_of(query: str) -> str:
    name = _NAMES.get(query)
    if name is None:
        raise NotImplementedError(f"the simulated Postgres does not know this query:\n{query}")
    return name
