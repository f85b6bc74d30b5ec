"""A ledger with audit events, a locked bucket and a key: what the audit log's tests stand on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from pydantic import SecretStr

from streaming.checkpoints import Checkpointer
from streaming.metrics import Metrics
from streaming.settings import AuditSettings
from trust.bucket_log import BucketLog
from trust.locked_store import LockedStore
from trust.signing import FileSigner, make_key_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from ledger.db.outbox_event import OutboxEvent
    from operations.embedded import Endpoints

ORIGIN = "example.com/audit"
INSERT = (
    "INSERT INTO execution.audit_events (event_id, event_type, key, body) "
    "SELECT gen_random_uuid(), 'fill', 'C' || n % 7, convert_to(repeat(n::text, 1 + n % 40), 'UTF8') "
    "FROM generate_series(1, {0}) n"
)


class Watched(Checkpointer):
    """A maker of the log whose metrics can be read."""

    def faults(self) -> float:
        return float(self._metrics.faults._value.get())


class AuditStage:
    """One log of a test's own. ``told`` are the events that who publishes was handed."""

    def __init__(self, endpoints: Endpoints, url: str, bucket: str, folder: Path) -> None:
        key = folder / "signer.pem"
        make_key_file(key)
        self.url = url
        self.told: list[OutboxEvent] = []
        self.settings = AuditSettings(
            bucket=bucket,
            signer=str(key),
            origin=ORIGIN,
            interval_seconds=0.1,
            s3_endpoint=endpoints.s3_endpoint,
            s3_access_key=endpoints.s3_access_key,
            s3_secret_key=SecretStr(endpoints.s3_secret_key),
        )
        self.signer = FileSigner(ORIGIN, key)

    def bucket(self, s3: S3Client) -> BucketLog:
        return BucketLog(LockedStore(s3, self.settings.bucket), "audit/", ORIGIN, [self.signer.key])

    def insert(self, count: int) -> None:
        self.run(INSERT.format(count))

    def run(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def tamper(self, *statements: str) -> None:
        """Change what is append-only, as a superuser can."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement)

    def rows(self) -> int:
        return int(self.run("SELECT count(*) FROM execution.audit_events")[0][0])

    def decisions(self) -> int:
        """Count the events up to the last that is not of a checkpoint, in the order of the tree."""
        query = (
            "SELECT coalesce(max(place), 0) FROM (SELECT event_type, row_number() OVER (ORDER BY xid, position) "
            "AS place FROM execution.audit_events) placed WHERE event_type <> 'checkpoint'"
        )
        return int(self.run(query)[0][0])

    def sizes(self) -> tuple[int, int, int]:
        """Give how many events are in the tree, signed, in the bucket."""
        tree = self.run("SELECT tree_size, stored_size FROM execution.audit_tree") or [(0, 0)]
        signed = self.run("SELECT coalesce(max(tree_size), 0) FROM execution.audit_checkpoints")
        return tree[0][0], signed[0][0], tree[0][1]

    @asynccontextmanager
    async def checkpointing(self, settings: AuditSettings | None = None) -> AsyncIterator[Watched]:
        ready = asyncio.Event()
        ready.set()
        maker = Watched(self._connect, settings or self.settings, Metrics().audit, ready, tell=self.told.append)
        task = asyncio.create_task(maker.run())
        try:
            yield maker
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def settled(self, maker: Checkpointer) -> None:
        """Wait until every event is in the tree, and all but the last checkpoint's own are signed and stored."""
        decisions = await asyncio.to_thread(self.decisions)
        await eventually(lambda: min(self.sizes()[1:]) >= decisions and self.sizes()[0] >= self.rows(), maker)

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.url)


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], maker: Checkpointer, seconds: float = 40
) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110  Postgres has no event for it
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the log is {maker.state}: {maker.reason}") from None
