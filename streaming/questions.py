"""Whom to ask for a late order: the feeds of its venue that can carry the question."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import structlog

if TYPE_CHECKING:
    from collections.abc import Container

    from ledger.domain.delay_events import StatusRequest

_WAITING = 1_000  # questions of a venue that no feed has taken yet

log = structlog.get_logger()


@runtime_checkable
class Asker(Protocol):
    """A feed, or what else reaches a venue."""

    def ask_order(self, request: StatusRequest) -> None:
        """Take the question and return at once. The answer comes like whatever the venue says."""


class Questions:
    """Carries questions to ``venues``, those that may be asked. A question may be lost or asked twice."""

    def __init__(self, venues: Container[str]) -> None:
        self._venues = venues
        self._askers: dict[str, dict[str, Asker]] = defaultdict(dict)
        self._waiting: dict[str, deque[StatusRequest]] = defaultdict(lambda: deque(maxlen=_WAITING))

    def join(self, venue: str, feed: str, asker: object) -> None:
        """Have a feed that is started carry the venue's questions, if it can, in the place of one of its name."""
        if not isinstance(asker, Asker):
            return
        self._askers[venue][feed] = asker
        while self._waiting[venue]:
            asker.ask_order(self._waiting[venue].popleft())

    def clear(self) -> None:
        """Forget the feeds: they are stopped."""
        self._askers.clear()

    def ask(self, request: StatusRequest) -> None:
        """Ask by every way that there is, or when there is one."""
        if request.venue not in self._venues:
            return
        log.info("asking for an order", venue=request.venue, order=request.cl_ord_id, request=request.request_id)
        askers = self._askers[request.venue]
        for asker in askers.values():
            asker.ask_order(request)
        if not askers:
            self._waiting[request.venue].append(request)
