"""Judges delays when a batch has made what it can of the orders: rows, and the events beside them.

A fact that came before the clock's is known when the clock is asked.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ledger.domain.delay_events import began_event, ended_event, hedge_event, status_event, trued_event
from ledger.domain.delay_rows import DelayRows, EndedDelay, EndedHedge, NewDelay, NewHedge
from ledger.domain.delays import (
    Began,
    DelayOutcome,
    DelayPolicy,
    Late,
    OpenDelay,
    PastDelay,
    Terms,
    delay_decision,
    outcome_of,
    terms_of,
)
from ledger.domain.halts import seconds
from ledger.domain.hedges import Hedge, HedgeStatus, true_up
from ledger.domain.identity import identify
from ledger.domain.numbers import EXACT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.domain.book import Book
    from ledger.domain.decision import Decision
    from ledger.domain.instruments import Instruments
    from ledger.domain.order import OrderState
    from ledger.domain.records import CapturedOrder
    from ledger.domain.slippage import SnapshotLookup


def judge_delays(
    book: Book,
    lates: Sequence[Late],
    snapshots: SnapshotLookup,
    policies: Mapping[str, DelayPolicy],
    instruments: Instruments,
    decision: Decision,
) -> None:
    """End the delays whose orders the batch has found out about, then begin those of the orders that are late."""
    rows = DelayRows()
    past: dict[str, PastDelay | None] = {}
    for correlation_id, order in decision.orders.items() if book.delays.open else ():
        delay = book.delays.open.get(correlation_id)
        outcome = None if delay is None else outcome_of(delay, order, _said(order, decision))
        if delay is not None and outcome is not None:
            ended = _end(delay, order, outcome, rows, decision)
            past[correlation_id] = PastDelay(ended.episode, ended.ended_ns, outcome)
    begun: set[str] = set()
    for late in lates:
        name = late.correlation_id
        order_now = decision.orders.get(name) or book.orders.get(name)
        policy = policies.get(late.venue)
        is_open = name in begun or (name in book.delays.open and name not in past)
        if order_now is None or policy is None or is_open:
            continue
        terms = terms_of(order_now)
        then_ns = late.at_ns - late.expected.wait_ns
        began = delay_decision(
            terms,
            past.get(name, book.delays.past.get(name)),
            late,
            snapshots.at_or_before(late.symbol, then_ns),
            snapshots.at_or_before(late.symbol, late.at_ns),
            policy,
            instruments,
        )
        if began is not None and terms is not None:
            begun.add(name)
            _begin(began, late, terms, order_now, rows, decision)
    if rows.delays or rows.delays_ended:
        decision.delays = rows


def _said(order: OrderState, decision: Decision) -> list[CapturedOrder]:
    """List the reports of the order's state that this batch brought."""
    return [c for c in decision.order_reports if c.report.report_id in order.order_reports]


def _end(
    delay: OpenDelay, order: OrderState, outcome: DelayOutcome, rows: DelayRows, decision: Decision
) -> EndedDelay:
    """End a delay, and true its hedge up. It ends when the last message of the batch came."""
    received = [c.received_ns for c in decision.fills] + [c.received_ns for c in decision.order_reports]
    ended_ns = max(delay.began_ns, *received) if received else delay.began_ns
    filled = max(Decimal(0), EXACT.subtract(order.cum_qty, delay.cum_qty))
    ended = EndedDelay(delay.delay_id, delay.correlation_id, delay.episode, outcome, filled, ended_ns)
    rows.delays_ended.append(ended)
    decision.events.append(ended_event(delay, ended, order))
    if delay.hedge_id is not None and delay.hedge_quantity is not None:
        told = true_up(delay.hedge_quantity, filled)
        rows.hedges_ended.append(EndedHedge(delay.hedge_id, told.status, told.filled, told.difference, ended_ns))
        decision.events.append(trued_event(delay, ended, told, order))
    return ended


def _begin(began: Began, late: Late, terms: Terms, order: OrderState, rows: DelayRows, decision: Decision) -> None:
    row = NewDelay(
        began.delay_id,
        late.correlation_id,
        began.episode,
        terms.venue,
        terms.symbol,
        terms.side,
        terms.order_type,
        terms.leaves_qty,
        terms.cum_qty,
        late.feed,
        late.expected.samples,
        late.expected.wait_ns,
        began.since_ns,
        late.at_ns,
    )
    rows.delays.append(row)
    decision.events += [began_event(row, began), status_event(row, order)]
    if isinstance(began.hedge, Hedge):
        hedge = _hedge_row(row, began.hedge)
        rows.hedges.append(hedge)
        decision.events.append(hedge_event(hedge, row))


def _hedge_row(row: NewDelay, hedge: Hedge) -> NewHedge:
    age = seconds(hedge.snapshot_age_ns)
    learned = f"p99 of {row.samples} past orders" if row.samples else "configured"
    basis = (
        f"a {row.order_type} order without a report for {seconds(row.began_ns - row.since_ns)} s, "
        f"{seconds(row.expected_ns)} s is expected ({learned}); snapshot {hedge.snapshot_id}, {age} s old"
    )
    return NewHedge(
        identify("provisional_hedge", row.delay_id),
        row.delay_id,
        row.correlation_id,
        row.venue,
        row.symbol,
        hedge.side,
        hedge.quantity,
        hedge.price,
        hedge.exposure.amount,
        hedge.exposure.currency,
        hedge.limit_value,
        hedge.snapshot_id,
        hedge.snapshot_age_ns,
        hedge.confidence,
        basis,
        HedgeStatus.REQUESTED,
        row.began_ns,
    )
