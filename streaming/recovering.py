"""What a venue's feeds may have missed is asked for of its list, until it has been: one stretch a venue.

It begins with a switch of feeds, with a gap that is not filled, or with numbers that start over. A list that
cannot be had now is asked again; a process that ends before it was read leaves that in the ledger, where such a
stretch without a look-back over it shows (``Reader.unrecovered``), and the next one takes it up. A switch that has
not landed is decided again; that numbers start over is seen once, and kept here as well until the list was read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from ledger.db.errors import LedgerUnavailableError
from ledger.domain.failover import HealthKind
from ledger.domain.times import NANOS, format_utc
from ledger.faultpoints import at
from streaming.errors import StreamingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.domain.venue_health import Stretch
    from streaming.look_back.look_back import LookBack

OVERLAP_NS = 5 * NANOS  # clocks differ, and reports of one moment come in any order
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0  # between two tries

log = structlog.get_logger()


class Recovery:
    """Reads one venue's list for what its feeds have missed.

    ``last`` says when a feed's newest report before a time was received, as the ledger has it.
    """

    def __init__(self, venue: str, look_back: LookBack, last: Callable[[str, int], Awaitable[int | None]]) -> None:
        self._venue = venue
        self._look_back = look_back
        self._last = last
        self._owed: list[Stretch] = []
        self._is_owed = asyncio.Event()

    @property
    def owes(self) -> bool:
        """Whether something is still to be asked for."""
        return bool(self._owed)

    def owe(self, *stretches: Stretch) -> None:
        """Ask for what may be missing as soon as it can be had."""
        self._owed += stretches
        if self._owed:
            self._is_owed.set()

    def forget(self) -> None:
        """Begin anew, when it does not run: the ledger says what is owed, but for what is seen only once."""
        self._owed = [stretch for stretch in self._owed if stretch.why == HealthKind.RENUMBERED]
        if not self._owed:
            self._is_owed.clear()

    async def run(self) -> None:
        """Ask until cancelled."""
        wait = FIRST_SECONDS
        while True:
            await self._is_owed.wait()
            taken = list(self._owed)
            asked = await self._joined(taken)
            at("look_back.asked")
            try:
                number = await self._look_back.recover(asked.since_ns - OVERLAP_NS, asked.until_ns, asked.why)
            except (StreamingError, LedgerUnavailableError) as error:
                log.warning(
                    "the venue's list cannot be had",
                    venue=self._venue,
                    error=str(error),
                    since=format_utc(asked.since_ns),
                    again_in=wait,
                )
                await asyncio.sleep(wait)
                wait = min(2 * wait, LAST_SECONDS)
                continue
            wait = FIRST_SECONDS
            del self._owed[: len(taken)]
            if not self._owed:
                self._is_owed.clear()
            log.info("the venue's list was read", venue=self._venue, reports=number, why=asked.why)

    async def _joined(self, stretches: list[Stretch]) -> Stretch:
        """Give one stretch that has all of them in it, each from the last that its feed has brought."""
        since_ns = min(stretch.since_ns for stretch in stretches)
        for stretch in stretches:
            heard_ns = None if stretch.feed is None else await self._last(stretch.feed, stretch.until_ns)
            since_ns = min(since_ns, since_ns if heard_ns is None else heard_ns)
        until_ns = max(stretch.until_ns for stretch in stretches)
        return msgspec.structs.replace(stretches[-1], since_ns=since_ns, until_ns=until_ns)
