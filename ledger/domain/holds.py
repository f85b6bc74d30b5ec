"""Breaks that open, change and end on an order, and what is told of them to audit and compliance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.decision import Decision, Ended
from ledger.domain.events import break_event, flag_event, verdict_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.domain.order import OrderState
    from ledger.domain.records import AuditEvent, Break, Resolution


def settle_breaks(
    order: OrderState,
    before: OrderState | None,
    cause: str,
    resolved: Mapping[str, Resolution],
    decision: Decision,
) -> None:
    """Write down which breaks opened, changed or ended; ``resolved``: by verdicts; ``cause``: one of the facts."""
    old = before.breaks if before is not None else {}
    if old == order.breaks:
        return
    for break_id, found in order.breaks.items():
        if break_id not in old:
            decision.breaks.append(found)
            _tell(order, "opened", found, cause, decision)
        elif old[break_id] != found:
            decision.breaks_changed.append(found)
            if break_id in resolved:  # it was decided, and something else is left of it
                _tell_verdict(order, old[break_id], resolved[break_id], decision)
            _tell(order, "changed", found, cause, decision)
    for break_id, found in old.items():
        if break_id in order.breaks:
            continue
        resolution = resolved.get(break_id)
        if resolution is None:
            decision.breaks_ended.append(Ended(break_id, "facts"))
            _tell(order, "ended", found, cause, decision)
        else:
            decision.breaks_ended.append(Ended(break_id, resolution.verdict))
            _tell_verdict(order, found, resolution, decision)


def _tell_verdict(order: OrderState, found: Break, resolution: Resolution, decision: Decision) -> None:
    told = verdict_event(found, resolution)
    decision.events += [told, _flag(order, told.event_type.removeprefix("break_"), found, told.event_id)]


def _tell(order: OrderState, state: str, found: Break, cause: str, decision: Decision) -> None:
    told = break_event(f"break_{state}", found, cause)
    decision.events += [told, _flag(order, state, found, told.event_id)]


def _flag(order: OrderState, state: str, found: Break, told_id: str) -> AuditEvent:
    report = order.reports.get(found.report_id or "")
    return flag_event(state, found, report or order.root, told_id)
