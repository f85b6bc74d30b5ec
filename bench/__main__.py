"""``make bench``: landing rate, latency and memory, with yardsticks of the same run.

Exit codes: 0 every target is reached; 1 one is missed; 3 one is missed while other programs had more than a tenth
of the processors, which proves nothing: run it again on a quiet machine.

Example: ``python -m bench --backlog 50000 --rates 500 2000 --memory 0 --json``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from bench.backlog import land_backlog, plain_copy, single_commits
from bench.databases import fresh_database
from bench.latency import Stream, orders_for
from bench.machine import Others, outcome, verdict
from bench.outage import Outage
from operations.embedded import EmbeddedStack, Endpoints, ServerName

_TARGETS = {  # the part in which each is measured, and what it is to be on two processors
    "backlog_fills_per_second": ("backlog", ">=", 12_000),
    "backlog_share_of_plain_copy": ("backlog", ">=", 0.4),
    "p50_ms_at_2000": ("latency", "<=", 5),
    "p99_ms_at_2000": ("latency", "<=", 25),
    "memory_mb": ("latency", "<=", 300),
    "outage_seconds_for_a_million": ("outage", "<=", 90),
    "outage_memory_mb": ("outage", "<=", 700),  # with its children, and 100,000 orders open
}
_YARDSTICK_ROWS = 200_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--backlog", type=int, default=200_000, help="reports of the backlog")
    parser.add_argument("--rates", type=int, nargs="*", default=[500, 2_000, 5_000], help="fills a second")
    parser.add_argument("--seconds", type=int, default=15, help="for each rate")
    parser.add_argument("--memory", type=int, default=1_000_000, help="fills before memory is read; 0 = skip")
    parser.add_argument(
        "--reports", type=int, default=1_000_000, help="that wait while Postgres is away; 0 = no outage"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    return parser.parse_args()


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text("utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def _percentile(timings: list[float], share: float) -> float:
    ordered = sorted(timings)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def _stream(arguments: argparse.Namespace, endpoints: Endpoints, console: Console) -> dict[str, float]:
    figures: dict[str, float] = {}
    others = Others()
    counts = {rate: rate * arguments.seconds for rate in arguments.rates}
    total = sum(counts.values()) + 2_000 + arguments.memory
    url = fresh_database(endpoints, "bench_stream")
    stream = Stream(endpoints, url, 19_871)
    async with stream.running(orders_for(total), url):
        await stream.send(0, 2_000, 1_000)  # warm: connections, caches, partitions
        first = 2_000
        for rate, count in counts.items():
            await stream.send(first, count, rate)
            first += count
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)):
                figures[f"{name}_ms_at_{rate}"] = round(_percentile(stream.latencies, share), 2)
            console.print(f"  {rate}/s: p50 {figures[f'p50_ms_at_{rate}']} ms")
        if arguments.memory:
            began = time.monotonic()
            for _ in range(max(1, arguments.memory // 50_000)):
                await stream.send(first, 50_000, 0)
                first += 50_000
            figures["sustained_fills_per_second"] = round(arguments.memory / (time.monotonic() - began))
            figures["memory_mb"] = round(_resident_mb(), 1)
    figures["latency_share_of_others"] = others.share()
    return figures


async def _land(arguments: argparse.Namespace, endpoints: Endpoints) -> dict[str, float]:
    url, copy = fresh_database(endpoints, "bench_land"), fresh_database(endpoints, "bench_copy")
    others = Others()
    seconds = await land_backlog(url, arguments.backlog)
    plain = await plain_copy(url, copy)
    commits = await single_commits(copy)
    return {
        "backlog_share_of_others": others.share(),
        "backlog_fills_per_second": round(arguments.backlog / seconds),
        "plain_copy_fills_per_second": round(arguments.backlog / plain),
        "backlog_share_of_plain_copy": round(plain / seconds, 3),
        "single_commit_p50_ms": round(_percentile(commits, 0.5) * 1000, 2),
        "single_commit_p99_ms": round(_percentile(commits, 0.99) * 1000, 2),
    }


async def _outage(arguments: argparse.Namespace, stack: EmbeddedStack, folder: Path) -> dict[str, float]:
    url, copy = (
        fresh_database(stack.endpoints, "bench_outage"),
        fresh_database(stack.endpoints, "bench_outage_copy"),
    )
    figures = await Outage(stack, stack.endpoints, url, folder).run(arguments.reports)
    rows = min(arguments.reports, _YARDSTICK_ROWS)
    plain = rows / await plain_copy(url, copy, rows)
    figures["outage_plain_copy_fills_per_second"] = round(plain)
    figures["outage_share_of_plain_copy"] = round(figures["outage_fills_per_second"] / plain, 3)
    figures["outage_seconds_for_a_million"] = round(1_000_000 / figures["outage_fills_per_second"], 1)
    return figures


def _verdicts(figures: dict[str, float]) -> dict[str, str]:
    """Judge each target by the share of the processors that others had while it was measured."""
    return {
        name: verdict(
            is_kept=_reached(figures[name], sign, target), share_of_others=figures[f"{part}_share_of_others"]
        )
        for name, (part, sign, target) in _TARGETS.items()
        if name in figures
    }


def _print(figures: dict[str, float], verdicts: dict[str, str], console: Console) -> None:
    table = Table(title="bench", title_justify="left")
    for name in ("figure", "measured", "to reach", ""):
        table.add_column(name, justify="right" if name == "measured" else "left")
    for name, value in figures.items():
        _, sign, target = _TARGETS.get(name, ("", "", 0))
        table.add_row(name, f"{value:,}", f"{sign} {target:,}" if sign else "", verdicts.get(name, ""))
    console.print(table)


def _reached(value: float, sign: str, target: float) -> bool:
    return value >= target if sign == ">=" else value <= target


def main() -> int:
    """Run all parts and judge them against the targets of this machine class (2 cores)."""
    arguments = _arguments()
    console = Console(stderr=arguments.json)
    figures: dict[str, Any] = {}
    servers = [ServerName.POSTGRES, ServerName.VALKEY, ServerName.BROKER]
    with tempfile.TemporaryDirectory(prefix="execution-agent-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        stack = EmbeddedStack(Path(folder) / "state", servers)
        endpoints = stack.start()
        try:
            if arguments.rates or arguments.memory:
                console.print("latency of the whole streaming process, open loop …")
                figures |= uvloop.run(_stream(arguments, endpoints, console))
            if arguments.backlog:
                console.print(f"a backlog of {arguments.backlog:,} reports …")
                figures |= uvloop.run(_land(arguments, endpoints))
            if arguments.reports:
                console.print(f"an outage of Postgres with {arguments.reports:,} reports waiting …")
                figures |= uvloop.run(_outage(arguments, stack, Path(folder)))
        finally:
            stack.stop()
    verdicts = _verdicts(figures)
    if arguments.json:
        sys.stdout.write(json.dumps({"figures": figures, "verdicts": verdicts}) + "\n")
    _print(figures, verdicts, console)
    return outcome(verdicts)


if __name__ == "__main__":
    sys.exit(main())
