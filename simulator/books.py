"""The books: what was put out and delivered, for whoever checks the other side, over HTTP on 127.0.0.1."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from simulator.records import Total

if TYPE_CHECKING:
    from simulator.journal import Journal
    from simulator.venue import Venue

REPORTS = ("fill", "bust", "correct")
FILLS_AT_MOST = 10_000
ORDERS_AT_MOST = 10_000.0
HEAD_WITHIN = 10.0


class Run(Protocol):
    """The part of the simulation that the books ask and that can be told to stop."""

    state: str
    venues: list[Venue]
    journal: Journal

    def stop_orders(self) -> None:
        """No new orders from now on."""

    def set_rate(self, orders_per_second: float) -> bool:
        """Make so many orders a second from now on; False where that cannot be changed."""

    def unpublished(self) -> int:
        """Intents and snapshots that no broker has acknowledged."""


def of_venue(venue: Venue, totals: dict[tuple[str, str], Total], journal: Journal) -> dict[str, Any]:
    """One venue's figures, over all runs of the state directory."""
    kinds = {kind: totals.get((venue.name, kind), Total()) for kind in (*REPORTS, "status", "malformed")}
    return {
        "kind": venue.kind,
        "address": venue.address,
        "connected": venue.connected,
        "fills": kinds["fill"].made,
        "busts": kinds["bust"].made,
        "corrects": kinds["correct"].made,
        "statuses": kinds["status"].made,
        "reports_sent": sum(kinds[kind].delivered for kind in REPORTS),
        "malformed_sent": kinds["malformed"].delivered,
        "duplicates_sent": sum(kinds[kind].extra for kind in REPORTS),
        "session_resends": journal.counts[f"session_resends/{venue.name}"],
        "outstanding": venue.outstanding,
        "withheld": journal.counts[f"withheld/{venue.name}"],
        "look_back_requests": journal.counts[f"look_back_requests/{venue.name}"],
        "look_back_refused": journal.counts[f"look_back_refused/{venue.name}"],
    }


def books(run: Run) -> dict[str, Any]:
    """The whole page."""
    journal = run.journal
    totals = journal.totals()
    faults = {
        name.removeprefix("fault/"): count for name, count in journal.counts.items() if name.startswith("fault/")
    }
    return {
        "run": journal.run,
        "state": run.state,
        "venues": {venue.name: of_venue(venue, totals, journal) for venue in run.venues},
        "intents": journal.intents(),
        "snapshots": journal.counts["snapshots"],
        "unpublished": run.unpublished(),
        "faults": dict(sorted(faults.items())),
    }


class Control:
    """GET /books, GET /fills?after=&limit=, POST /stop-orders, POST /rate?orders=."""

    def __init__(self, run: Run, port: int) -> None:
        self._run = run
        self._port = port
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; gives the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
            status, kind, body = self._answer(method, rest.partition(" ")[0])
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _answer(self, method: str, target: str) -> tuple[str, str, bytes]:
        parts = urlsplit(target)
        match method, parts.path:
            case "GET", "/books":
                return "200 OK", "application/json", msgspec.json.encode(books(self._run))
            case "GET", "/fills":
                asked = parse_qs(parts.query)
                after, limit = asked.get("after", ["0"])[0], asked.get("limit", ["1000"])[0]
                if not (after.isdigit() and limit.isdigit()):
                    return _problem("400 Bad Request", "after and limit must be whole numbers")
                rows = self._run.journal.fills(int(after), min(int(limit), FILLS_AT_MOST))
                return (
                    "200 OK",
                    "application/x-ndjson",
                    b"".join(msgspec.json.encode(row) + b"\n" for row in rows),
                )
            case "POST", "/stop-orders":
                self._run.stop_orders()
                return "202 Accepted", "application/json", b'{"state":"draining"}'
            case "POST", "/rate":
                return self._set_rate(parse_qs(parts.query).get("orders", [""])[0])
            case _:
                known = "GET /books, GET /fills?after=&limit=, POST /stop-orders, POST /rate?orders="
                return _problem("404 Not Found", known)

    def _set_rate(self, said: str) -> tuple[str, str, bytes]:
        rate = float(said) if said.replace(".", "", 1).isdecimal() else 0.0
        if not 0 < rate <= ORDERS_AT_MOST:
            rule = f"orders is {said!r}: a number of orders a second, over 0 and up to {ORDERS_AT_MOST:g}"
            return _problem("400 Bad Request", rule)
        if not self._run.set_rate(rate):
            return _problem("409 Conflict", "a captured market has the orders that were captured")
        return "202 Accepted", "application/json", msgspec.json.encode({"orders_per_second": rate})


def _problem(status: str, detail: str) -> tuple[str, str, bytes]:
    return status, "application/problem+json", msgspec.json.encode({"title": status, "detail": detail})
