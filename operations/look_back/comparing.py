"""A span of time compared with what a venue lists of it: shown only, or asked of the process that lands."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import psycopg
from psycopg.rows import dict_row

from ledger.db.completeness import Holdings
from ledger.db.sql import load_queries
from ledger.db.urls import plain_url
from ledger.domain.completeness import AuditReason
from ledger.domain.errors import DefectError
from ledger.domain.times import NANOS, format_utc, parse_utc
from operations.applying import wait_until
from operations.main_job.plan import parse_duration
from streaming.arrivals import Inbox
from streaming.look_back.comparing import Comparison
from streaming.look_back.making import look_backs_of
from streaming.look_back.telling import Teller
from streaming.metrics import Metrics
from streaming.policy import decoders_of

if TYPE_CHECKING:
    from ledger.domain.completeness import Listed
    from streaming.settings import Settings

_SQL = load_queries("completeness")
_CONNECT_SECONDS = 5
_FIGURES = ("theirs", "ours", "missing", "handed_in", "unconfirmed")


class Compared(msgspec.Struct, frozen=True):
    """What a comparison came to. ``outcome`` is None while nobody has answered; the fills are named when dry."""

    venue: str
    since: str
    until: str
    outcome: str | None
    figures: dict[str, int]
    missing: tuple[dict[str, str], ...] = ()
    unconfirmed: tuple[dict[str, str], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether what was missing is here now."""
        return self.figures.get("missing", 0) == self.figures.get("handed_in", 0)


def time_of(text: str, now_ns: int) -> int:
    """Read a time in UTC (RFC 3339, Z may be left out) or how long ago (90s, 2h; now). Raises ``ValueError``."""
    if text == "now":
        return now_ns
    try:
        return now_ns - int(parse_duration(text) * NANOS)
    except ValueError:
        pass
    try:
        written = text.upper().replace(" ", "T")
        return parse_utc("time", written if written.endswith("Z") else written + "Z")
    except DefectError:
        raise ValueError(f"{text!r} is no time: write 2026-11-23T09:30:00Z, or how long ago: 2h") from None


def shown(settings: Settings, venue: str, window: tuple[int, int], url: str) -> Compared:
    """Compare and change nothing. Raises ``LookBackError``, ``LedgerError``."""
    return asyncio.run(_shown(settings, venue, window, url))


async def _shown(settings: Settings, venue: str, window: tuple[int, int], url: str) -> Compared:
    inbox, metrics = Inbox(), Metrics()
    look_back = look_backs_of(settings, inbox, decoders_of(settings))[venue]
    connection: asyncpg.Connection[Any] = await asyncpg.connect(plain_url(url), timeout=_CONNECT_SECONDS)
    try:
        comparison = Comparison(
            look_back, Holdings(connection), Teller(inbox), metrics, AuditReason.REQUEST, window
        )
        audit = await comparison.run(dry=True)
    finally:
        connection.terminate()
        await look_back.aclose()
    return Compared(
        venue,
        format_utc(window[0]),
        format_utc(window[1]),
        "compared",
        {name: getattr(audit, name) for name in _FIGURES},
        tuple(_named(fill) for fill in comparison.absent),
        tuple(_named(fill) for fill in audit.unlisted),
    )


def asked(settings: Settings | None, venue: str, window: tuple[int, int], url: str, seconds: float) -> Compared:
    """Have it compared and what is missing handed in, by the process that lands or, where none does, here.

    Raises ``LedgerError``, ``StreamingError``, ``psycopg.Error``.
    """
    with psycopg.connect(
        url, connect_timeout=_CONNECT_SECONDS, autocommit=True, row_factory=dict_row
    ) as connection:
        values = {"venue": venue, "from_ns": window[0], "until_ns": window[1]}
        request = connection.execute(_SQL["ask"].encode(), values).fetchone()
        assert request is not None, "INSERT … RETURNING gives a row"

        def answer() -> dict[str, Any] | None:
            return connection.execute(_SQL["outcome"].encode(), {"request_id": request["request_id"]}).fetchone()

        wait_until(lambda: answer() is not None, settings, seconds, looks_back=True)
        found = answer()
    figures = {} if found is None else {name: found[name] for name in _FIGURES if found[name] is not None}
    outcome = None if found is None else found["outcome"]
    return Compared(venue, format_utc(window[0]), format_utc(window[1]), outcome, figures)


def as_page(compared: Compared) -> str:
    """Say it to a person."""
    lines = [f"{compared.venue} from {compared.since} to {compared.until}"]
    if compared.figures:
        f = compared.figures
        lines.append(
            f"the venue lists {f['theirs']}, we have {f['ours']}: {f['missing']} missing here, "
            f"{f['handed_in']} of them handed in and landed, {f['unconfirmed']} of ours not listed"
        )
    for what, fills in (("missing here", compared.missing), ("not listed by the venue", compared.unconfirmed)):
        lines += [f"  {what}: {fill['exec_id']} {fill['symbol']} {fill['transact_time']}" for fill in fills]
    return "\n".join(lines)


def now_ns() -> int:
    """Tell the time."""
    return time.time_ns()


def _named(fill: Listed) -> dict[str, str]:
    return {"exec_id": fill.exec_id, "symbol": fill.symbol, "transact_time": format_utc(fill.transact_ns)}
