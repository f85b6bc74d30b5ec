"""The audit log as it grows: leaves into tiles, tiles under signed checkpoints, both into the locked bucket.

One process makes it at a time, under a lease of its own. First the tree is committed, only if it is where this
process left it; then its root is signed; then the note is kept with an audit event that publishes it; then it goes
to the bucket. What was not kept was never given away, and the order of the leaves, (xid, position) of transactions
that have all ended, is the same whoever asks: after a crash at any point there is one root over each size.

Nothing is signed in a lease before the ledger was found to agree with the last checkpoint in the bucket. A signer
or bucket that is away stops neither landing nor the tree: what waits is in Postgres, the newest is stored next.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks, faultpoints
from ledger.db import leases
from ledger.db.audit_log import AuditLog, Signed, TileRow, Tree
from ledger.db.errors import LeaseLostError, LedgerError, LedgerUnavailableError
from ledger.db.outbox_event import OutboxEvent
from streaming.audit_bucket import Keeper
from streaming.audit_checks import RefusedError, check_last_rows, check_signed
from trust.errors import TrustError
from trust.growing import Growing, edge_of
from trust.notes import Checkpoint, sign_note
from trust.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from ledger.db.audit_log import Leaves
    from streaming.audit_metrics import AuditMetrics
    from streaming.settings import AuditSettings
    from streaming.trusting import Trust
    from trust.notes import NoteKey, Signer

LEASE = "execution.audit"
_EVENT = "checkpoint"
_LEASE_SECONDS = 10.0
_PAGE = 4_096
_PACE = 0.6  # of the interval: what a step takes comes on top
_RETRY_SECONDS, _REFUSED_SECONDS = 1.0, 10.0

log = structlog.get_logger()


class Checkpointer:
    """The maker of the log; runs while the writer of this process holds its lease."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        audit: AuditSettings,
        metrics: AuditMetrics,
        may_write: asyncio.Event,
        trust: Trust | None = None,
        tell: Callable[[OutboxEvent], None] = lambda _: None,
    ) -> None:
        self._trust = trust
        self._tell = tell  # who publishes, of each checkpoint that was committed: a sweep comes later
        self._connect = connect
        self._audit = audit
        self._metrics = metrics
        self._may_write = may_write
        self.state = "connecting"
        self.reason = ""

    def status(self) -> dict[str, str]:
        """Say how the log is, for /status."""
        return {"state": self.state, "reason": self.reason}

    async def run(self) -> None:
        """Make the log until cancelled; after any trouble it begins again from what is stored."""
        while True:
            await self._may_write.wait()
            try:
                await self._session()
            except RefusedError as error:
                self._metrics.refused.set(1)
                self._say("refused", str(error), "the audit log is not signed")
                await asyncio.sleep(_REFUSED_SECONDS)
            except LeaseLostError as error:
                self._say("standby", str(error), "another process makes the audit log")
                await asyncio.sleep(_RETRY_SECONDS)
            except (LedgerError, TrustError, OSError) as error:
                self._say("down", str(error), "the audit log starts over")
                await asyncio.sleep(_RETRY_SECONDS)

    def _say(self, state: str, reason: str, event: str) -> None:
        if (state, reason) != (self.state, self.reason):
            (log.error if state == "refused" else log.warning)(event, reason=reason)
        self.state, self.reason = state, reason

    async def _session(self) -> None:
        connections = []
        storing: asyncio.Task[None] | None = None
        try:
            connections.append(await self._opened())
            connections.append(await self._opened())
            token = await leases.take(connections[0], LEASE, _LEASE_SECONDS)
            faultpoints.at("audit.leased")
            maker = Maker(AuditLog(connections[0]), self._audit, self._metrics, self._tell)
            await maker.begin()
            keeper = Keeper(AuditLog(connections[1]), self._audit, self._metrics, maker, self._trust)
            storing = asyncio.create_task(keeper.run(), name="audit bucket")
            while self._may_write.is_set():
                began = clocks.monotonic()
                await leases.renew(connections[0], LEASE, token, _LEASE_SECONDS)
                await maker.step()
                if storing.done():
                    storing.result()
                self._metrics.refused.set(0)
                self.state, self.reason = keeper.state, keeper.reason
                rest = self._audit.interval_seconds * _PACE - (clocks.monotonic() - began)
                await asyncio.wait({storing}, timeout=max(0.0, rest))
        finally:
            if storing is not None:
                storing.cancel()
                await asyncio.wait({storing}, timeout=_RETRY_SECONDS)
            for connection in connections:
                connection.terminate()
        raise LeaseLostError("the lease of the writer is gone")

    async def _opened(self) -> asyncpg.Connection[Any]:
        try:
            return await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error


class Maker:
    """The tree and its signatures. ``signer`` is set once the ledger was found to agree with the bucket."""

    def __init__(
        self,
        ledger: AuditLog,
        audit: AuditSettings,
        metrics: AuditMetrics,
        tell: Callable[[OutboxEvent], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._audit = audit
        self._metrics = metrics
        self._tell = tell
        self._growing = Growing(0, {})
        self._last = (0, 0)
        self._signed_size = 0
        self._unsigned_since: float | None = None
        self.tree = Tree(audit.origin, 0, 0, 0, 0, 0)
        self.signer: Signer | None = None
        self.signed_by: NoteKey | None = None
        self.caught_up = asyncio.Event()
        self.signed = asyncio.Event()

    async def begin(self, *, check_rows: bool = True) -> None:
        """Find the tree as it was left. Raises ``RefusedError`` where that is not what was signed."""
        self.tree = tree = await self._ledger.tree(self._audit.origin)
        if tree.origin != self._audit.origin:
            raise RefusedError(
                f"the log is named {tree.origin!r}, and audit.origin is {self._audit.origin!r}: "
                "a log keeps its name"
            )
        edge = edge_of(tree.size)
        rows = await self._ledger.tiles([(tile.level, tile.number) for tile in edge])
        hashes = {tile: rows[tile[:2]].hashes for tile in edge if tile[:2] in rows}
        try:
            self._growing = Growing(tree.size, hashes)
        except TrustError as error:
            raise RefusedError(f"the tiles in the ledger are not those of {tree.size} events: {error}") from error
        if check_rows:
            await check_last_rows(self._ledger, tree)
        self._last = (tree.xid, tree.position)
        newest = await self._ledger.newest_checkpoint()
        if newest is not None:
            await check_signed(self._ledger, tree.size, newest.size, newest.root, "the ledger's own")
            self._signed_size = newest.size
        if tree.size > self._signed_size + 1:  # one is the last checkpoint's own event
            self._unsigned_since = clocks.monotonic()

    async def step(self) -> None:
        """Append what has landed, and sign."""
        until = clocks.monotonic() + self._audit.interval_seconds / 2
        while True:
            leaves = await self._ledger.leaves(self._last, _PAGE)
            if leaves.positions:
                await self._append(leaves)
            if len(leaves.positions) < _PAGE:
                self.caught_up.set()
                break
            if clocks.monotonic() > until:
                break
        self._metrics.size.labels("tree").set(self._growing.size)
        if self.signer is not None and self._unsigned_since is not None:
            await self._sign(self.signer)
        waited = 0.0 if self._unsigned_since is None else clocks.monotonic() - self._unsigned_since
        self._metrics.behind.labels("signature").set(waited)

    async def _append(self, leaves: Leaves) -> None:
        old = self._growing.size
        grown = self._growing.append(leaves.hashes)
        rows = [_row(tile, hashes, old, leaves) for tile, hashes in grown.items()]
        self._last = (leaves.xids[-1], leaves.positions[-1])
        faultpoints.at("audit.before_grow")
        await self._ledger.grow(old, self._growing.size, self._last, rows)
        faultpoints.at("audit.grown")
        if leaves.decisions and self._unsigned_since is None:
            self._unsigned_since = clocks.monotonic()

    async def _sign(self, signer: Signer) -> None:
        checkpoint = Checkpoint(self._audit.origin, self._growing.size, self._growing.root())
        try:
            note = await asyncio.to_thread(sign_note, checkpoint.body(), [signer])
        except TrustError as error:
            log.warning("checkpoints wait for their signer", reason=str(error))
            return
        faultpoints.at("audit.signed")
        self.signed_by = signer.key
        event = _event(checkpoint, note, signer)
        is_new = await self._ledger.record(Signed(checkpoint.size, checkpoint.root, note), event)
        faultpoints.at("audit.recorded")
        if is_new:
            self._tell(event)
        self._signed_size = checkpoint.size
        self._unsigned_since = None
        self._metrics.checkpoints.inc()
        self._metrics.size.labels("signed").set(checkpoint.size)
        self.signed.set()


def _row(tile: Tile, hashes: bytes, old: int, leaves: Leaves) -> TileRow:
    if tile.level:
        return TileRow(tile.level, tile.number, hashes)
    first = max(tile.number * WIDTH - old, 0)  # of an older tile it is kept as it was
    return TileRow(0, tile.number, hashes, (leaves.xids[first], leaves.positions[first]))


def _event(checkpoint: Checkpoint, note: str, signer: Signer) -> OutboxEvent:
    """Give the audit event of a checkpoint: the same id however often it is made."""
    event_id = sha256(f"{checkpoint.origin}\n{checkpoint.size}\n".encode()).hexdigest()[:32]
    detail = {
        "origin": checkpoint.origin,
        "tree_size": str(checkpoint.size),
        "root_hash": checkpoint.root.hex(),
        "key": str(signer.key),
        "note": note,
    }
    told = {
        "event": _EVENT,
        "event_id": event_id,
        "correlation_id": None,
        "subject": event_id,
        "detail": detail,
    }
    return OutboxEvent(event_id, _EVENT, checkpoint.origin, msgspec.json.encode(told), None)
