"""What two persons' verdict on a break does: four eyes, and what a rejection voids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import DomainError
from ledger.domain.identity import identify
from ledger.domain.numbers import EXACT
from ledger.domain.records import ACTIVE, BUST, Break, BreakKind, Resolution, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.order import OrderState

# a break that is about totals: there is nothing to void that would mend it
_NOTHING_TO_VOID = frozenset({BreakKind.CUM_QTY_DIFFERS, BreakKind.AVG_PX_DIFFERS, BreakKind.SPLIT_DIFFERS})


class RefusedError(DomainError):
    """A verdict cannot be carried out; the message says why and what can be done instead."""


class Vote(msgspec.Struct, frozen=True):
    """One person's verdict on a break, with the values they saw."""

    vote_id: int
    break_id: str
    correlation_id: str
    verdict: Verdict
    person: str
    reason: str
    ours: str
    theirs: str
    at_ns: int


def agreed(votes: Iterable[Vote]) -> Resolution | None:
    """Give the resolution that two different persons agree on: one break, one verdict, the same values.

    Votes count in the order in which they were cast; the first pair that agrees decides. A person who votes again
    changes their mind: only their last vote on the same values counts.
    """
    standing: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda v: v.vote_id):
        standing.pop(vote.person, None)
        for other in standing.values():
            same = (vote.break_id, vote.verdict, vote.ours, vote.theirs)
            if same == (other.break_id, other.verdict, other.ours, other.theirs):
                return Resolution(
                    identify("resolution", vote.break_id, str(other.vote_id), str(vote.vote_id)),
                    vote.break_id,
                    vote.correlation_id,
                    vote.verdict,
                    vote.ours,
                    vote.theirs,
                    other.person,
                    vote.person,
                    "; ".join(dict.fromkeys((other.reason, vote.reason))),
                    vote.at_ns,
                )
        standing[vote.person] = vote
    return None


def voids_of(order: OrderState, found: Break) -> tuple[tuple[str, str], ...]:
    """What a rejection takes out, as (report id, content).

    Of a conflicting duplicate the wording that counts, so that the other one does; of an overfill the newest
    executions, until OrderQty holds; else the execution that the break is about. Raises ``RefusedError``.
    """
    if found.kind in _NOTHING_TO_VOID:
        raise RefusedError(
            f"a {found.kind} is about totals: no execution to void. Release it, or have the venue bust or resend"
        )
    if found.kind is BreakKind.OVERFILL:
        return _newest_beyond(order)
    if found.report_id is None or found.report_id not in order.reports:
        raise RefusedError(f"a {found.kind} has no report to void: route the missing intent")
    if found.kind is BreakKind.CONFLICTING_DUPLICATE:
        return ((found.report_id, order.counted_variants(found.report_id)[0].content),)
    for execution_id in order.executions:
        chain = order.chain(order.reports[execution_id])
        if any(report.report_id == found.report_id for report in chain):
            return _wordings(order, execution_id)
    kind = order.reports[found.report_id].kind
    raise RefusedError(f"the {kind} waits for what it refers to and has no execution yet")


def _newest_beyond(order: OrderState) -> tuple[tuple[str, str], ...]:
    voids: list[tuple[str, str]] = []
    left = order.cum_qty
    active = [e for e in order.executions.values() if e.status is ACTIVE]
    for execution in sorted(active, key=lambda e: (e.transact_ns, e.exec_id, e.execution_id), reverse=True):
        if left <= order.allowed_qty:
            break
        left = EXACT.subtract(left, execution.last_qty)
        voids += _wordings(order, execution.execution_id)
    return tuple(voids)


def _wordings(order: OrderState, execution_id: str) -> tuple[tuple[str, str], ...]:
    """Every wording of the fill, and of what has corrected it so far."""
    chain = order.chain(order.reports[execution_id])
    reports = (report for report in chain if report.kind is not BUST)
    return tuple(
        (report.report_id, v.content)
        for report in reports
        for v in order.variants.get(report.report_id, (report,))
    )
