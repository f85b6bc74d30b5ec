"""``execution-agent replay``: messages through the rules in memory, and where their order stands after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import Defect, DefectError
from ledger.domain.records import Captured, CapturedOrder, FillReport, OrderIntent, PendingReason, Snapshot
from operations.desk.engine import Engine, naming
from operations.desk.intents import accounts_of, is_request, request_intent, with_account
from operations.desk.messages import Message
from operations.desk.shown import (
    Shown,
    breaks_shown,
    defect_shown,
    exec_type,
    executions_shown,
    pending_shown,
    state_shown,
)
from operations.desk.unrouted import Unrouted
from operations.desk.venues import Format
from streaming.venues.decoded import Decoded
from streaming.venues.fix_fields import split
from streaming.venues.fix_values import read_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ledger.domain.order import OrderState
    from ledger.domain.records import Report

_NOTHING: Shown = dict.fromkeys(
    ("correlation_id", "msg_id", "exec_id", "ord_status", "cum_qty", "leaves_qty", "avg_px")
)
_LISTS = ("executions", "breaks", "pending")


class Plan(msgspec.Struct, frozen=True):
    """What is replayed, and by what: ``intents`` is None for those in the messages; ``in_order``: by time."""

    format: Format
    venue: str
    account: str = ""
    intents: tuple[OrderIntent, ...] | None = None
    snapshots: tuple[Snapshot, ...] = ()
    in_order: bool = False


class _Item(msgspec.Struct):
    """One message: its reports, or the intent it is."""

    message: Message
    decoded: Decoded | None
    is_request: bool


class Replay:
    """One run of messages. ``complain`` is told of every intent that is refused: its place, and why."""

    def __init__(self, plan: Plan, complain: Callable[[str, Defect], None]) -> None:
        self._plan = plan
        self._complain = complain
        self._engine = Engine()
        self._unrouted = Unrouted()
        self._known: dict[str, OrderIntent] = {}
        self._later: list[OrderIntent] = []

    def lines(self, messages: Iterable[Message]) -> Iterator[Shown]:
        """Give one object a message, in order."""
        items = [self._item(message) for message in messages]
        accounts = accounts_of(r for item in items if item.decoded for r, _ in item.decoded.reports)
        self._engine.take(self._plan.snapshots)
        given = [self._completed(intent, accounts) for intent in self._plan.intents or ()]
        if self._plan.in_order:
            self._later = sorted(given, key=lambda intent: intent.routed_ns, reverse=True)
        else:
            self._route(given)
        count = 0
        for item in items:
            if item.is_request:
                self._request(item.message, accounts)
            elif item.decoded is not None:
                count += 1
                yield {"message": count, **self._line(item.message, item.decoded)}

    def _item(self, message: Message) -> _Item:
        if self._plan.intents is None and self._plan.format.is_fix:
            try:
                if is_request(split(message.raw)):
                    return _Item(message, None, is_request=True)
            except DefectError:
                pass  # the decoder says what is wrong
        decoded = self._plan.format.decode(self._plan.venue, message.raw, self._plan.account)
        return _Item(message, decoded, is_request=False)

    def _completed(self, intent: OrderIntent, accounts: dict[str, str]) -> OrderIntent:
        found = intent if intent.venue else msgspec.structs.replace(intent, venue=self._plan.venue)
        return with_account(found, accounts)

    def _request(self, message: Message, accounts: dict[str, str]) -> None:
        try:
            intent = request_intent(self._plan.venue, message.raw, self._known)
        except DefectError as error:
            self._complain(message.place, error.defect)
            return
        fields = split(message.raw)
        if intent.msg_id in self._known and "Y" in {fields.get("43"), fields.get("97")}:
            return  # PossDup, PossResend: the order is known
        intent = with_account(intent, accounts)
        if intent.msg_id not in self._known:
            self._known[intent.msg_id] = intent
        self._route([intent], message.place)

    def _route(self, intents: Sequence[OrderIntent], place: str = "intents") -> None:
        for letter in self._engine.take(intents).dead_letters:
            self._complain(place, letter.defect)

    def _line(self, message: Message, decoded: Decoded) -> Shown:
        facts = [_fact(report, raw, message.place) for report, raw in decoded.reports]
        if self._later and facts:
            until = max(fact.report.transact_ns for fact in facts)
            while self._later and self._later[-1].routed_ns <= until:
                self._route([self._later.pop()])
        duplicates = sum(self._engine.take(facts).duplicates.values())
        parts = [self._part(fact) for fact in facts]
        line: Shown = {**_NOTHING, **{name: [] for name in _LISTS}}
        if parts:
            line.update(parts[-1])
        elif decoded.defects and (order := self._named(decoded.defects[-1][1])) is not None:
            line.update(self._order_part(order))
        line["dead_letters"] = [defect_shown(defect) for defect, _ in decoded.defects]
        if len(parts) > 1:
            line["reports"] = parts
        if duplicates:
            line["duplicates"] = duplicates
        if decoded.others:
            line["others"] = dict(decoded.others)
        return line

    def _part(self, fact: Captured | CapturedOrder) -> Shown:
        """What one report was, and its order's state after the whole message."""
        report = fact.report
        order = self._engine.order_of(report)
        named: Shown = {
            "correlation_id": None,
            "msg_id": report.cl_ord_id,
            "exec_id": report.exec_id,
            "kind": report.kind.value if isinstance(report, FillReport) else "order",
            "exec_type": exec_type(report),
        }
        if order is not None:
            if named["msg_id"] is None:
                execution = order.executions.get(report.report_id)
                named["msg_id"] = execution.msg_id if execution is not None else _root_msg_id(order)
            return {**named, **self._order_part(order)}
        waiting = self._engine.pending(naming(report))
        return {
            **named,
            **self._unrouted.take(fact),
            "executions": [],
            "breaks": [],
            "pending": [pending_shown(held.report, PendingReason.INTENT) for held in waiting],
        }

    def _order_part(self, order: OrderState) -> Shown:
        unresolved = [order.reports[report_id] for report_id in sorted(order.unresolved)]
        held = sorted(unresolved, key=lambda report: (report.transact_ns, report.exec_id))
        return {
            "correlation_id": order.correlation_id,
            **state_shown(order),
            "executions": executions_shown(order, measured=bool(self._plan.snapshots)),
            "breaks": breaks_shown(order),
            "pending": [pending_shown(report, PendingReason.REFERENCE) for report in held],
        }

    def _named(self, raw: bytes) -> OrderState | None:
        """Find the order that a defective FIX message names: it stands as before."""
        if not self._plan.format.is_fix:
            return None
        try:
            fields = split(raw)
            names = [("c", read_id(fields, "11")), ("c", read_id(fields, "41")), ("v", read_id(fields, "37"))]
        except DefectError:
            return None
        return self._engine.owner((self._plan.venue, kind, name) for kind, name in names if name is not None)


def _fact(report: Report, raw: bytes, place: str) -> Captured | CapturedOrder:
    if isinstance(report, FillReport):
        return Captured(report, place, raw, report.transact_ns)
    return CapturedOrder(report, place, raw, report.transact_ns)


def _root_msg_id(order: OrderState) -> str | None:
    return order.root.msg_id if order.root is not None else None
