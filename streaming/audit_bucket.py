"""The audit log's part in the locked bucket: the newest checkpoint first, then the tiles below it.

However much has piled up, the newest checkpoint waits for a few tiles at most. Now and then the unfinished tiles
below a checkpoint are stored, too, so that what is older can be proven from the bucket alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from ledger import clocks, faultpoints
from streaming.audit_checks import RefusedError, check_signed, check_tiles
from streaming.audit_parts import bucket_of, signer_of
from trust.errors import AlreadyStoredError, NoteError, TrustError
from trust.growing import edge_of
from trust.merkle import HASH_BYTES
from trust.notes import parse_key
from trust.tiles import WIDTH, Tile, tiles_between

if TYPE_CHECKING:
    from ledger.db.audit_log import AuditLog
    from streaming.audit_metrics import AuditMetrics
    from streaming.checkpoints import Maker
    from streaming.settings import AuditSettings
    from streaming.trusting import Trust
    from trust.bucket_log import BucketLog
    from trust.notes import NoteKey
    from trust.signing import RotatedSigner

_STORE_SECONDS, _AWAY_SECONDS = 0.2, 0.5
_TILES = 16  # a pass: a tenth of a second, for so long the next checkpoint waits
_AT_ONCE = 4
_DAYS_A_YEAR = 366  # rather a day too long

log = structlog.get_logger()


class Keeper:
    """Stores what the maker has signed. ``state`` and ``reason`` say how the bucket is."""

    def __init__(
        self,
        ledger: AuditLog,
        audit: AuditSettings,
        metrics: AuditMetrics,
        maker: Maker,
        trust: Trust | None = None,
    ) -> None:
        self._trust = trust
        self._ledger = ledger
        self._audit = audit
        self._metrics = metrics
        self._maker = maker
        self._bucket: BucketLog | None = None
        self._signer: RotatedSigner | None = None
        self._key: NoteKey | None = None
        self._stored = self._tiled = self._edged = 0
        self._edged_at: float | None = None
        self._waits: dict[str, float] = {}  # part -> since when
        self.state, self.reason = "checking", ""

    async def run(self) -> None:
        """Store until cancelled. Raises ``RefusedError``, and ``LedgerError``: all begins again then."""
        while True:
            try:
                if self._bucket is None:
                    self._bucket = await self._open()
                is_done = await self._store(self._bucket)
                self.state, self.reason = "live", ""
                rest = _STORE_SECONDS if is_done else 0.0
            except TrustError as error:
                if isinstance(error, (AlreadyStoredError, NoteError)):
                    raise RefusedError(str(error)) from error
                if self.state != "away":
                    log.warning("the audit log's bucket or signer is away", reason=str(error))
                self.state, self.reason = "away", str(error)
                rest = 0.0
                if self._bucket is not None:
                    self._bucket.store.disconnect()
            self._tell_waits()
            if self.state == "away":  # a new checkpoint brings it back no sooner
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._maker.signed.wait()
            self._maker.signed.clear()

    async def _open(self) -> BucketLog:
        """Compare the ledger with the newest checkpoint in the bucket, and let the maker sign."""
        self._signer = signer = signer_of(self._audit, self._trust)
        bucket = bucket_of(self._audit, [], self._trust, self._fault)
        await asyncio.to_thread(bucket.check)
        await asyncio.to_thread(self._exchange_keys, bucket, signer)
        tree = self._maker.tree
        newest = await asyncio.to_thread(bucket.newest, tree.stored_size)
        if newest is None and tree.stored_size:
            raise RefusedError(
                f"{bucket.place} has no checkpoint, and one over {tree.stored_size} events was stored: it is "
                "another bucket or prefix, copy what the old one holds; or another key has signed it, name it in "
                "audit.verifiers"
            )
        if newest is not None:
            if newest.size > tree.size:
                await self._maker.caught_up.wait()
                tree = await self._ledger.tree(self._audit.origin)
            await check_signed(self._ledger, tree.size, newest.size, newest.root, bucket.place)
            self._stored = newest.size
        self._tiled = min(tree.tiled_size, self._stored)
        faultpoints.at("audit.compared")
        self._maker.signer = signer
        log.info("the audit log goes on", bucket=bucket.place, size=tree.size, key=str(signer.key))
        return bucket

    def _exchange_keys(self, bucket: BucketLog, signer: RotatedSigner) -> None:
        """Trust what signed before, and let others know the key that signs now."""
        known = [*signer.keys, *(parse_key(text) for text in self._audit.verifiers)]
        bucket.trust(bucket.keys.trusted(known))
        bucket.keys.publish(signer, self._until())
        faultpoints.at("audit.key_shown")
        self._key = signer.key

    async def _look_for_new_key(self, bucket: BucketLog) -> None:
        """Let others know the key where it was rotated, and the one before may not sign any more."""
        if self._signer is not None and (self._maker.signed_by or self._key) != self._key:
            await asyncio.to_thread(self._exchange_keys, bucket, self._signer)

    async def _store(self, bucket: BucketLog) -> bool:
        """Store the newest checkpoint and a few tiles; give whether that was all."""
        newest = await self._ledger.newest_checkpoint()
        if newest is None:
            return True
        if newest.size > self._stored:
            await self._look_for_new_key(bucket)
            self._waits.setdefault("bucket", clocks.monotonic())
            await asyncio.to_thread(bucket.put_checkpoint, newest.note, self._until())
            faultpoints.at("audit.stored")
            self._stored = newest.size
            self._waits.pop("bucket", None)
            self._metrics.size.labels("bucket").set(self._stored)
            await self._ledger.stored(self._stored, self._tiled)
        whole = self._stored - self._stored % WIDTH
        if self._tiled < whole:
            self._waits.setdefault("tiles", clocks.monotonic())
            await self._store_tiles(bucket, whole)
        if self._tiled < whole:
            return False
        self._waits.pop("tiles", None)
        await self._store_edge(bucket)
        return True

    async def _store_tiles(self, bucket: BucketLog, whole: int) -> None:
        upto = min(whole, self._tiled + _TILES * WIDTH)
        full = [tile for tile in tiles_between(self._tiled, upto) if tile.width == WIDTH]
        rows = await check_tiles(self._ledger, full, self._stored)
        signer, until = self._signer, self._until()
        assert signer is not None, "the bucket was opened with it"
        some = asyncio.Semaphore(_AT_ONCE)

        async def put(tile: Tile) -> None:
            async with some:
                await asyncio.to_thread(bucket.put_tile, tile, rows[tile], until, signer)

        await asyncio.gather(*map(put, full))
        faultpoints.at("audit.tiled")
        self._tiled = upto
        await self._ledger.stored(self._stored, self._tiled)

    async def _store_edge(self, bucket: BucketLog) -> None:
        now = clocks.monotonic()
        is_due = self._edged_at is None or now - self._edged_at >= self._audit.edge_seconds
        if not is_due or self._edged == self._stored:
            return
        wanted = edge_of(self._stored)
        rows = await self._ledger.tiles([tile[:2] for tile in wanted])
        edge = {tile: rows[tile[:2]].hashes[: tile.width * HASH_BYTES] for tile in wanted if tile[:2] in rows}
        faultpoints.at("audit.edge")
        await asyncio.to_thread(bucket.put_edge, self._stored, edge, self._until())
        faultpoints.at("audit.edged")
        await asyncio.to_thread(bucket.keys.keep, self._until())
        faultpoints.at("audit.edged")
        self._edged, self._edged_at = self._stored, now

    def _tell_waits(self) -> None:
        for part in ("bucket", "tiles"):
            since = self._waits.get(part)
            self._metrics.behind.labels(part).set(0.0 if since is None else clocks.monotonic() - since)

    def _fault(self, what: str) -> None:
        self._metrics.faults.inc()
        log.error("somebody meddles with the audit log's bucket; the log goes on", fault=what)

    def _until(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._audit.retention_years * _DAYS_A_YEAR)
