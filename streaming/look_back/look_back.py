"""Asks a venue for its list of fills, and hands in what is missing here: the same path as everything it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streaming.arrivals import Inbox
    from streaming.settings import LookBackSettings


class LookBack:
    """One venue's list. Its arrivals are of the feed ``VENUE.look_back``."""

    def __init__(self, venue: str, settings: LookBackSettings, inbox: Inbox) -> None:
        self.venue = venue
        self.feed = f"{venue}.look_back"
        self._settings = settings
        self._inbox = inbox
        self._turn = asyncio.Lock()

    async def recover(self, since_ns: int, until_ns: int, reason: str) -> int:
        """Hand in what the venue lists from ``since_ns`` to ``until_ns``, once it has landed; how many reports.

        ``reason`` is for the log. Raises ``LookBackError`` when the list cannot be had.
        """
        raise NotImplementedError
