"""Asks a venue's REST API for late orders, one after the other and at its pace, and hands the answers in."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

from streaming.look_back.asking import LookBackError

if TYPE_CHECKING:
    from ledger.domain.delay_events import StatusRequest
    from streaming.look_back.look_back import LookBack

_WAITING = 1_000

log = structlog.get_logger()


class OrderAsker:
    """Carries questions while it runs; an answer is a report of the order's state, of ``VENUE.look_back``."""

    def __init__(self, look_back: LookBack) -> None:
        self._look_back = look_back
        self._questions: deque[StatusRequest] = deque(maxlen=_WAITING)
        self._asked = asyncio.Event()

    def ask_order(self, request: StatusRequest) -> None:
        """Ask when it is its turn. It may be lost, or asked twice."""
        self._questions.append(request)
        self._asked.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._questions:
                await self._ask(self._questions.popleft())

    async def _ask(self, request: StatusRequest) -> None:
        about = {"venue": request.venue, "order": request.cl_ord_id, "request": request.request_id}
        try:
            found = await self._look_back.state_of(request)
        except LookBackError as error:
            log.warning("the venue was asked for an order in vain", **about, error=str(error))
            return
        if found is None:
            log.warning("the venue does not know the order, or not by the names that we know", **about)
            return
        await self._look_back.hand_in([found])
