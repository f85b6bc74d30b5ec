"""What an order waits for: the report that a bust or correct refers to, the fill that the venue's CumQty counts.

Each is a row of ``fills_pending``. When its grace time is over it is a dead letter, a gap is a break as well, and
it goes on waiting: what was missing ends both whenever it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.book import reference_of
from ledger.domain.decision import Decision, Pending
from ledger.domain.errors import Defect
from ledger.domain.events import letter_ended_event, pending_event
from ledger.domain.identity import identify, out_of_order_id
from ledger.domain.records import Captured, DeadLetter, FillReport, PendingReason, Waiting
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.domain.order import OrderState


def settle_unresolved(
    order: OrderState, before: OrderState | None, new: Mapping[str, Captured], decision: Decision
) -> None:
    """Write down which reports wait for what they refer to, and which no longer; ``new``: the batch's reports."""
    waited = before.unresolved if before is not None else frozenset()
    gone = sorted(waited - order.unresolved)
    decision.pending_gone += gone
    for report_id in gone:
        _end_letter(order, report_id, out_of_order_id(report_id), decision)
    for report_id in sorted(order.unresolved - waited):
        captured = new.get(report_id)
        if captured is not None:
            report = captured.report
            decision.pending.append(
                Pending(
                    report_id,
                    report.content,
                    report.trade_date,
                    reference_of(report),
                    PendingReason.REFERENCE,
                    order.correlation_id,
                    captured.received_ns,
                )
            )
            decision.events.append(pending_event(captured, PendingReason.REFERENCE, order.correlation_id))


def wait_for_gap(order: OrderState, before: OrderState | None, received_ns: int, decision: Decision) -> None:
    """Keep one row while the venue's totals are not ours: it ends by itself, or with its grace time."""
    root = order.root
    assert root is not None, "an order that is settled has an intent"
    row_id = identify("gap", order.correlation_id)
    had = before is not None and before.waits_since is not None
    if order.suspects and not had:
        order.waits_since = received_ns or root.routed_ns
        decision.pending.append(
            Pending(
                row_id,
                order.claim.source,
                utc_date(root.routed_ns),
                (root.venue, "c", root.msg_id),
                PendingReason.GAP,
                order.correlation_id,
                order.waits_since,
            )
        )
    elif had and not order.suspects:
        decision.pending_gone.append(row_id)
        _end_letter(order, row_id, _gap_letter_id(row_id, order.waits_since), decision)
        order.waits_since = None


def end_grace(order: OrderState, waiting: Waiting, decision: Decision) -> DeadLetter | None:
    """End the grace time of something that still waits, and give its dead letter."""
    if waiting.reason is PendingReason.GAP:
        return _end_gap(order, waiting, decision)
    if waiting.row_id not in order.unresolved or waiting.row_id in order.lettered:
        return None
    order.lettered |= {waiting.row_id}
    decision.pending_overdue.append(waiting.row_id)
    report = waiting.captured.report
    assert isinstance(report, FillReport), "what refers to a report is a report of a trade"
    rule = f"what a {report.kind} refers to comes in time"
    return _letter(out_of_order_id(waiting.row_id), waiting, "exec_ref_id", report.exec_ref_id or "", rule)


def _end_gap(order: OrderState, waiting: Waiting, decision: Decision) -> DeadLetter | None:
    if not order.suspects:
        decision.pending_gone.append(waiting.row_id)
        return None
    if waiting.row_id in order.lettered:
        return None
    order.is_overdue = True
    order.lettered |= {waiting.row_id}
    decision.pending_overdue.append(waiting.row_id)
    suspect = next(iter(order.suspects.values()))
    rule = f"the fills that make up the venue's total come in time (ours: {suspect.ours})"
    letter_id = _gap_letter_id(waiting.row_id, order.waits_since)
    return _letter(letter_id, waiting, suspect.kind.removesuffix("_differs"), suspect.theirs, rule)


def _end_letter(order: OrderState, row_id: str, letter_id: str, decision: Decision) -> None:
    """Mark the dead letter of something that waited too long: what was missing has come."""
    if row_id in order.lettered:
        order.lettered -= {row_id}
        decision.letters_ended.append((letter_id, "landed: what was missing has come"))
        decision.events.append(letter_ended_event(letter_id, order.correlation_id, "landed"))


def _gap_letter_id(row_id: str, since_ns: int | None) -> str:
    """Id of a gap's dead letter: an order may wait more than once."""
    return out_of_order_id(f"{row_id} {since_ns}")


def _letter(letter_id: str, waiting: Waiting, field: str, value: str, rule: str) -> DeadLetter:
    captured = waiting.captured
    remedy = "Ask the venue to resend what is missing: when it comes this is replayed by itself."
    return DeadLetter(
        letter_id,
        captured.report.venue,
        captured.feed,
        Defect("out_of_order", field, value, rule, remedy),
        captured.raw,
        captured.received_ns,
    )
