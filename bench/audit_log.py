"""How fast the audit log grows, and how long a proof takes in a large one: ``python -m bench.audit_log --help``.

Growing is measured on real rows, from the ledger's hashes to committed tiles. The large log's leaves are random
hashes in real tiles, with real rows under its last ones: a proof reads tiles, whatever is below them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import psycopg
from psycopg import sql

from ledger.db.audit_log import AuditLog
from ledger.db.migrate import migrate
from operations.audit.proving import prove_event
from operations.audit.reading import opened
from operations.embedded import EmbeddedStack, ServerName
from streaming.checkpoints import Maker
from streaming.metrics import Metrics
from streaming.settings import AuditSettings
from trust.growing import Growing
from trust.merkle import HASH_BYTES
from trust.signing import FileSigner, make_key_file
from trust.tiles import WIDTH

_INSERT = (
    "INSERT INTO execution.audit_events (event_id, event_type, key, body) "
    "SELECT gen_random_uuid(), 'fill', 'C' || mod(n, 5000), convert_to(repeat('0123456789', 60), 'UTF8') "
    "FROM generate_series(1, %s) n"
)
_CHUNK = 262_144
_EVENTS_A_SECOND, _PROOF_MS = 20_000, 50


def main() -> None:
    """Measure and print; exit 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000, help="events that the log grows by")
    parser.add_argument("--leaves", type=int, default=10_000_000, help="of the log that is proven from")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="execution-agent-bench-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedStack(Path(folder) / "state", [ServerName.POSTGRES]) as stack:
            rate = asyncio.run(_grow(_database(stack, "grown"), Path(folder), options.rows))
            proofs = _prove(_database(stack, "large"), Path(folder), options.leaves)
    sys.stdout.write(
        f"growing: {rate:,.0f} events/s, {rate / _EVENTS_A_SECOND:.1f} times what is promised\n"
        f"proof at {options.leaves:,} events: p50 {statistics.median(proofs):.1f} ms, most {max(proofs):.1f} ms, "
        f"{_PROOF_MS} ms are promised\n"
    )
    sys.exit(0 if rate >= _EVENTS_A_SECOND and statistics.median(proofs) <= _PROOF_MS else 1)


def _database(stack: EmbeddedStack, name: str) -> str:
    with psycopg.connect(stack.endpoints.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = stack.endpoints.postgres_url(name)
    migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)")
    return url


def _audit(folder: Path) -> AuditSettings:
    make_key_file(folder / "key.pem")
    return AuditSettings(bucket="none", signer=str(folder / "key.pem"), interval_seconds=60)


async def _grow(url: str, folder: Path, rows: int) -> float:
    with psycopg.connect(url) as connection:
        connection.execute(_INSERT, [rows])
    ledger = await asyncpg.connect(url)
    maker = Maker(AuditLog(ledger), _audit(folder), Metrics().audit)
    await maker.begin()
    began = time.perf_counter()
    await maker.step()
    took = time.perf_counter() - began
    await ledger.close()
    return rows / took


def _prove(url: str, folder: Path, leaves: int) -> list[float]:
    """Random leaves in tiles first, then rows over them, signed; then proofs of rows."""
    growing = Growing(0, {})
    with psycopg.connect(url) as connection:
        latest: dict[tuple[int, int], bytes] = {}
        with connection.cursor() as cursor:
            with cursor.copy(
                "COPY execution.audit_tiles (level, number, hashes, first_xid, first_position) FROM STDIN"
            ) as copy:
                while growing.size < leaves:
                    grown = growing.append(os.urandom(min(_CHUNK, leaves - growing.size) * HASH_BYTES))
                    for tile, hashes in grown.items():
                        latest[tile.level, tile.number] = hashes
                    for place in [p for p, hashes in latest.items() if len(hashes) == WIDTH * HASH_BYTES]:
                        copy.write_row(_tile(place, latest.pop(place)))
                for place, hashes in latest.items():
                    copy.write_row(_tile(place, hashes))
            cursor.execute(
                "INSERT INTO execution.audit_tree (log, origin, tree_size, xid, position) "
                "VALUES ('audit', %s, %s, '1', 1)",
                [_audit(folder).origin, growing.size],
            )
            cursor.execute(_INSERT, [2000])
    asyncio.run(_sign(url, folder))
    signer = FileSigner(_audit(folder).origin, folder / "key.pem")
    times = []
    with psycopg.connect(url) as connection:
        ids = [
            row[0].hex
            for row in connection.execute(
                "SELECT event_id FROM execution.audit_events ORDER BY position OFFSET 512 LIMIT 200"
            )
        ]
    for event_id in ids:
        began = time.perf_counter()
        with opened(url) as log:
            prove_event(log, log.event(event_id), None, [signer.key])
        times.append((time.perf_counter() - began) * 1e3)
    return times


def _tile(place: tuple[int, int], hashes: bytes) -> tuple[object, ...]:
    first = ("0", place[1]) if place[0] == 0 else (None, None)
    return (*place, hashes, *first)


async def _sign(url: str, folder: Path) -> None:
    ledger = await asyncpg.connect(url)
    maker = Maker(AuditLog(ledger), _audit(folder), Metrics().audit)
    await maker.begin(check_rows=False)
    maker.signer = FileSigner(_audit(folder).origin, folder / "key.pem")
    await maker.step()
    await ledger.close()


if __name__ == "__main__":
    main()
