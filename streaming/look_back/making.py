"""Looking back as the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.db.completeness import Holdings
from ledger.db.errors import LedgerUnavailableError
from ledger.domain.times import NANOS
from streaming.feeds.names import look_back_feed
from streaming.look_back.auditing import Auditing
from streaming.look_back.look_back import LookBack
from streaming.look_back.telling import Teller
from streaming.policy import audit_policies_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from datetime import date

    import asyncpg

    from streaming.arrivals import Inbox
    from streaming.credentials import Credentials
    from streaming.metrics import Metrics
    from streaming.settings import Settings
    from streaming.venues.decoded import Decoder

    Connect = Callable[[], Awaitable[asyncpg.Connection[Any]]]

GAP_SHARE = 3  # of the grace time: the rest is for the venue to answer


def look_backs_of(
    settings: Settings,
    inbox: Inbox,
    decoders: Mapping[str, Decoder],
    metrics: Metrics | None = None,
    connect: Connect | None = None,
    credentials: Credentials | None = None,
) -> dict[str, LookBack]:
    """Give the venues whose lists can be asked for; with ``connect`` what has landed is not handed in again."""
    known = None if connect is None else _known(connect)
    return {
        name: LookBack(
            name,
            venue.look_back,
            inbox,
            format_name=venue.format,
            decoder=decoders[look_back_feed(name)],
            account=venue.account,
            known=known,
            metrics=metrics,
            credentials=credentials,
        )
        for name, venue in settings.venues.items()
        if venue.look_back is not None
    }


def auditing_of(
    settings: Settings,
    inbox: Inbox,
    metrics: Metrics,
    look_backs: Mapping[str, LookBack],
    connect: Connect,
    may_decide: asyncio.Event,
) -> Auditing:
    """Give the watch over completeness."""
    return Auditing(
        connect,
        Teller(inbox),
        metrics,
        look_backs,
        audit_policies_of(settings),
        tuple(settings.venues),
        gap_ns=int(settings.grace.gap_seconds * NANOS) // GAP_SHARE,
        may_decide=may_decide,
    )


def _known(connect: Connect) -> Callable[[Collection[str], Collection[date]], Awaitable[set[str]]]:
    async def known(report_ids: Collection[str], trade_dates: Collection[date]) -> set[str]:
        try:
            connection = await connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            return await Holdings(connection).known(report_ids, trade_dates)
        finally:
            connection.terminate()

    return known
