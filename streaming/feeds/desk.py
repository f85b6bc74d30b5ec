"""The desk as a feed: what people asked for in the ledger goes through the same inbox as what venues say.

Two persons' agreeing votes on an open break are one arrival, a dead letter to be handed in again is one, and so
is a person's wish to halt or resume a venue, which goes before all that waits. They are asked for by rows and
answered by rows in the landing transaction, so nothing is lost or done twice by a crash in between: what is not
answered is found again by the next look.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks
from ledger.db.desk import Desk, ReplayAnswer, ReplayRequest
from ledger.db.errors import LedgerUnavailableError
from ledger.domain.controls import Answered
from ledger.domain.decide import MARKET_DATA, ORDER_INTENTS
from ledger.domain.verdicts import Vote, agreed
from ledger.faultpoints import at
from streaming.answers import is_settled
from streaming.arrivals import Arrival, ArrivalKind, Replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    import asyncpg

    from ledger.domain.controls import Control
    from streaming.arrivals import Inbox

DESK = "desk"
CONTROLS = "controls"
LOOK_SECONDS = 0.5
_RETRY_SECONDS = 0.5
_NOT_KEPT = "unknown_version"  # its ce_type is not kept with the bytes: they cannot be read as what they are not

log = structlog.get_logger()


class DeskFeed:
    """Runs while the lease is held; ``venues`` are those whose dead letters can be read here."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        inbox: Inbox,
        venues: Collection[str],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._connect = connect
        self._inbox = inbox
        self._venues = venues
        self._look_seconds = look_seconds
        self._handed: set[str] = set()  # what is on its way: with the session it goes, and this object with it

    async def run(self) -> None:
        """Look for requests until cancelled."""
        while True:
            try:
                await self._session()
            except (LedgerUnavailableError, OSError) as error:
                log.warning("ledger unavailable", feed=DESK, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _session(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            desk = Desk(connection)
            while True:
                await self._look(desk)
                await asyncio.sleep(self._look_seconds)
        finally:
            connection.terminate()

    async def _look(self, desk: Desk) -> None:
        """Hand over what is asked for and not on its way; what is answered is not asked for again."""
        arrivals: list[Arrival] = []
        on_their_way: set[str] = set()
        for votes in (await desk.open_votes()).values():
            found = verdict_of(votes)
            if found is not None:
                key, arrival = found
                on_their_way.add(key)
                if key not in self._handed:
                    arrivals.append(arrival)
        await self._look_for_halts(desk, on_their_way)
        letters: dict[str, list[ReplayRequest]] = defaultdict(list)
        for request in await desk.open_requests():
            letters[request.dead_letter_id].append(request)
        skipped: list[ReplayAnswer] = []
        for requests in letters.values():
            handed = {str(r.request_id) for r in requests} & self._handed
            if handed:  # one replay of a letter at a time
                on_their_way |= handed
                continue
            replayed = self._replay(requests, skipped)
            if replayed is not None:
                arrivals.append(replayed)
                on_their_way.update(str(r.request_id) for r in requests)
        self._handed = on_their_way
        if arrivals:
            at("desk.read")
            await self._inbox.put(arrivals)
        if skipped:
            at("desk.skipped")
            await desk.skip(skipped)

    async def _look_for_halts(self, desk: Desk, on_their_way: set[str]) -> None:
        """Hand over halts and resumes, in the order in which they were asked for."""
        refused: list[Answered] = []
        for control in await desk.open_halt_requests():
            assert control.request_id is not None
            key = f"halt {control.request_id}"
            if control.venue not in self._venues:
                known = ", ".join(sorted(self._venues))
                outcome = f"refused: {control.venue} is no venue of the settings, they have {known}"
                refused.append(Answered(control.request_id, outcome))
                continue
            on_their_way.add(key)
            if key not in self._handed:
                at("desk.halts")
                self._inbox.put_first(control_arrival(control))
        if refused:
            at("desk.refused")
            await desk.refuse_halts(refused)

    def _replay(self, requests: Sequence[ReplayRequest], skipped: list[ReplayAnswer]) -> Arrival | None:
        """Give the arrival that answers all requests for one letter; None where they are answered at once."""
        first = requests[0]
        kind = kind_of(first.source, self._venues)
        settled = first.replay_outcome if first.replayed else None
        again = any(request.again for request in requests)
        refusal = refusal_of(first.source, first.reason, settled, self._venues, again=again)
        if kind is None or refusal is not None:
            skipped += [ReplayAnswer(request.request_id, refusal or "") for request in requests]
            return None
        ids = tuple(request.request_id for request in requests)
        persons = ", ".join(dict.fromkeys(request.person for request in requests))
        venue = first.source if kind is ArrivalKind.REPORT else None
        replay = Replay(first.dead_letter_id, ids, persons)
        return Arrival(first.feed, venue, kind, first.raw, clocks.time_ns(), replay=replay)


def control_arrival(control: Control) -> Arrival:
    """Give the arrival of a halt, a resume or a clock's change."""
    return Arrival(CONTROLS, None, ArrivalKind.CONTROL, msgspec.json.encode(control), clocks.time_ns())


def verdict_of(votes: Sequence[Vote]) -> tuple[str, Arrival] | None:
    """Give the arrival of the first votes on a break that agree, with its key; None while none do."""
    for end in range(2, len(votes) + 1):
        resolution = agreed(votes[:end])
        if resolution is not None:
            raw = msgspec.json.encode(votes[:end])
            return resolution.resolution_id, Arrival(DESK, None, ArrivalKind.VERDICT, raw, clocks.time_ns())
    return None


def kind_of(source: str, venues: Collection[str]) -> ArrivalKind | None:
    """Say what the bytes of a dead letter were meant to be; None where nothing here reads them."""
    if source in venues:
        return ArrivalKind.REPORT
    return {ORDER_INTENTS: ArrivalKind.INTENT, MARKET_DATA: ArrivalKind.SNAPSHOT}.get(source)


def refusal_of(
    source: str, reason: str, replayed: str | None, venues: Collection[str], *, again: bool
) -> str | None:
    """Say why a dead letter is not handed in; None where it is. ``replayed`` is its last replay's outcome."""
    if kind_of(source, venues) is None:
        return f"refused: {source} is no venue of the settings: nothing here reads its messages"
    if reason == _NOT_KEPT:
        return "refused: the event type of the message is not kept with its bytes: have it sent again"
    if replayed is not None and is_settled(replayed) and not again:
        return f"skipped: it was replayed before: {replayed}"
    return None
