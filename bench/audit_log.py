"""``make bench-audit``: how fast the audit log grows, how far its checkpoints are apart, how long a proof takes.

Promised: 20,000 events a second on one core (hashing, tiles, checkpoints), checkpoints in the bucket at most 1 s
apart under that load, and on the topic ``audit.event.execution`` while the whole streaming process lands 2,000
fills a second, a proof within 50 ms in a log of 10 million events. Exit codes: 0 all kept; 1 one is not; 3 one
was missed, and other programs had taken so much of the processors that it says nothing: not proven.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import asyncpg
import psycopg
import uvloop
from pydantic import SecretStr
from rich.console import Console

from bench.audit_large import build
from bench.audit_topic import RATE, told
from bench.databases import fresh_database
from bench.machine import Others, cpu_seconds, outcome, verdict
from ledger.db.audit_log import AuditLog
from operations.audit.proving import prove_event
from operations.audit.reading import Log, connected, opened
from operations.audit.verifying import verify
from operations.embedded import EmbeddedStack, ServerName
from operations.main_job.preparing import make_bucket
from streaming.checkpoints import Checkpointer, Maker
from streaming.metrics import Metrics
from streaming.settings import AuditSettings
from trust.signing import FileSigner, make_key_file

_INSERT = (
    "INSERT INTO execution.audit_events (event_id, event_type, key, body) "
    "SELECT gen_random_uuid(), 'fill', 'C' || mod(n, 5000), convert_to(repeat('0123456789', 60), 'UTF8') "
    "FROM generate_series(1, %s) n"
)
EVENTS_A_SECOND, APART_SECONDS, PROOF_MS = 20_000, 1.0, 50.0
_BUCKET, _BUCKET_OF_TOPIC = "bench", "bench-topic"  # a log each
_SERVERS = (ServerName.POSTGRES, ServerName.S3, ServerName.VALKEY, ServerName.BROKER)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_log", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="events that the log grows by")
    parser.add_argument("--seconds", type=float, default=15, help="of load that checkpoints are measured under")
    parser.add_argument("--leaves", type=int, default=10_000_000, help="of the log that is proven from")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    with tempfile.TemporaryDirectory(prefix="execution-agent-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedStack(folder / "state", list(_SERVERS)) as stack:
            audit = _settings(stack, folder)
            console.print(f"a log grows by {options.rows:,} events …")
            figures = asyncio.run(_grown(_database(stack, "grown"), audit, options.rows))
            console.print(f"checkpoints under {options.seconds:g} s of load …")
            figures |= asyncio.run(_apart(_database(stack, "load"), audit, options.seconds))
            make_bucket(stack.endpoints, _BUCKET_OF_TOPIC)
            elsewhere = audit.model_copy(update={"bucket": _BUCKET_OF_TOPIC})
            console.print(f"checkpoints on the topic under {RATE:,} fills a second …")
            figures |= uvloop.run(told(stack.endpoints, _database(stack, "topic"), elsewhere, options.seconds))
            console.print(f"a log of {options.leaves:,} events is made, and proven from …")
            figures |= _proven(_database(stack, "large"), audit, options.leaves)
    verdicts = judged(figures)
    if options.json:
        sys.stdout.write(json.dumps({"figures": figures, "verdicts": verdicts}) + "\n")
    for label, value in figures.items():
        console.print(f"{label:34} {value:>14,.2f}")
    for label, said in verdicts.items():
        console.print(f"{label:34} {said:>14}")
    return outcome(verdicts)


def judged(figures: dict[str, float]) -> dict[str, str]:
    """Say of each promise whether it is kept, broken, or not proven: missed while others had the processors."""
    kept = {
        "grow": figures["grow_events_per_core_second"] >= EVENTS_A_SECOND,
        "apart": figures["apart_most_seconds"] <= APART_SECONDS
        and figures["apart_events_per_second"] >= EVENTS_A_SECOND,
        "topic": figures["topic_most_seconds"] <= APART_SECONDS,
        "proof": figures["proof_p95_ms"] <= PROOF_MS,
    }
    return {
        name: verdict(is_kept=well, share_of_others=figures[f"{name}_share_of_others"])
        for name, well in kept.items()
    }


async def _grown(url: str, audit: AuditSettings, rows: int) -> dict[str, float]:
    """Append and sign, with the processor time of both sides: what one core does in a second."""
    with psycopg.connect(url) as connection:
        connection.execute(_INSERT, [rows])
    others = Others()
    ledger = await asyncpg.connect(url)
    backend = await ledger.fetchval("SELECT pg_backend_pid()")
    # all in one step, however long it takes
    maker = Maker(AuditLog(ledger), audit.model_copy(update={"interval_seconds": 60}), Metrics().audit)
    await maker.begin()
    maker.signer = FileSigner(audit.origin, Path(audit.signer))
    began, used, used_there = time.perf_counter(), time.process_time(), cpu_seconds(backend)
    await maker.step()
    took = time.perf_counter() - began
    cores = time.process_time() - used + cpu_seconds(backend) - used_there
    size = (await AuditLog(ledger).tree(audit.origin)).size
    await ledger.close()
    assert size >= rows, f"{size} of {rows} events were appended in the time of one step"
    share, checked = others.share(), time.perf_counter()
    found = await asyncio.to_thread(verify, url, None, [maker.signer.key], 0, lambda *_: None)
    assert found.good, found.problems
    return {
        "grow_events_per_second": round(rows / took),
        "grow_events_per_core_second": round(rows / cores),
        "grow_share_of_others": share,
        "verify_events_per_second": round(rows / (time.perf_counter() - checked)),
    }


async def _apart(url: str, audit: AuditSettings, seconds: float) -> dict[str, float]:
    """Load the log, and watch when a newer checkpoint is in the bucket."""
    ready = asyncio.Event()
    ready.set()
    others = Others()
    made = asyncio.create_task(Checkpointer(lambda: asyncpg.connect(url), audit, Metrics().audit, ready).run())
    loading = asyncio.create_task(asyncio.to_thread(_load, url, seconds))
    watching = await asyncpg.connect(url)
    times: list[float] = []
    size = 0
    while not loading.done():
        stored = await watching.fetchval("SELECT max(stored_size) FROM execution.audit_tree") or 0
        if stored > size:
            times.append(time.perf_counter())
            size = stored
        await asyncio.sleep(0.02)
    loaded = await loading
    made.cancel()
    await asyncio.wait({made})
    await watching.close()
    apart = sorted(later - earlier for earlier, later in pairwise(times)) or [seconds]
    return {
        "apart_events_per_second": round(loaded / seconds),
        "apart_checkpoints": len(times),
        "apart_p50_seconds": round(apart[len(apart) // 2], 3),
        "apart_most_seconds": round(apart[-1], 3),
        "apart_share_of_others": others.share(),
    }


def _load(url: str, seconds: float) -> int:
    """Insert somewhat more than is promised, twenty times a second."""
    rows, each, until = 0, EVENTS_A_SECOND // 20 + 50, time.perf_counter() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        due = time.perf_counter()
        while time.perf_counter() < until:
            connection.execute(_INSERT, [each])
            rows += each
            due += 0.05
            time.sleep(max(0.0, due - time.perf_counter()))
    return rows


def _proven(url: str, audit: AuditSettings, leaves: int) -> dict[str, float]:
    ids = build(url, audit.origin, leaves, 300)
    asyncio.run(_sign(url, audit))
    key = FileSigner(audit.origin, Path(audit.signer)).key
    others, with_login, times = Others(), [], []
    for event_id in ids[::5]:
        began = time.perf_counter()
        with opened(url) as log:
            prove_event(log, log.event(event_id), None, [key])
        with_login.append((time.perf_counter() - began) * 1e3)
    with connected(url) as connection:
        for event_id in ids:
            began = time.perf_counter()
            with connection.transaction():
                log = Log(connection)  # with nothing read yet
                prove_event(log, log.event(event_id), None, [key])
            times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return {
        "proof_leaves": leaves,
        "proof_p50_ms": round(times[len(times) // 2], 1),
        "proof_p95_ms": round(times[len(times) * 95 // 100], 1),
        "proof_with_login_p50_ms": round(sorted(with_login)[len(with_login) // 2], 1),
        "proof_share_of_others": others.share(),
    }


async def _sign(url: str, audit: AuditSettings) -> None:
    ledger = await asyncpg.connect(url)
    maker = Maker(AuditLog(ledger), audit, Metrics().audit)
    await maker.begin(check_rows=False)
    maker.signer = FileSigner(audit.origin, Path(audit.signer))
    await maker.step()
    await ledger.close()


def _database(stack: EmbeddedStack, name: str) -> str:
    url = fresh_database(stack.endpoints, name)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)")
    return url


def _settings(stack: EmbeddedStack, folder: Path) -> AuditSettings:
    make_key_file(folder / "key.pem")
    there = stack.endpoints
    make_bucket(there, _BUCKET)
    return AuditSettings(
        bucket=_BUCKET, signer=str(folder / "key.pem"), s3_endpoint=there.s3_endpoint,
        s3_access_key=there.s3_access_key, s3_secret_key=SecretStr(there.s3_secret_key),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
