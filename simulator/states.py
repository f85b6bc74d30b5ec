"""What each venue last said of an order: what it answers to who asks for it. Bounded: old orders are forgotten."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from simulator.orders import Intent, Report, order_status

if TYPE_CHECKING:
    from simulator.orders import Event

KEPT = 20_000


class OrderStates:
    """By venue and ClOrdID."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], Intent | Report] = OrderedDict()

    def note(self, event: Event) -> None:
        """Take up an intent or a report that is on its way; an older one, that was held back, says nothing."""
        if not isinstance(event, Intent | Report):
            return
        intent = event if isinstance(event, Intent) else event.intent
        key = intent.venue, intent.msg_id
        known = self._said.get(key)
        if known is not None and known.at > event.at:
            return
        self._said[key] = event
        self._said.move_to_end(key)
        if len(self._said) > KEPT:
            self._said.popitem(last=False)

    def answer(self, venue: str, cl_ord_id: str, at: int, exec_id: str, request_id: str) -> Report | None:
        """Give the order's state as its venue has it; None where there is no such order."""
        known = self._said.get((venue, cl_ord_id))
        return None if known is None else order_status(known, at, exec_id, request_id)
