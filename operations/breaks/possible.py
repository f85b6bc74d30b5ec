"""Verdicts that can never be carried out, told with the first vote: the rules that the second one would meet."""

from __future__ import annotations

from ledger.domain.breaks import make_break
from ledger.domain.order import OrderState
from ledger.domain.records import BreakKind, Verdict
from ledger.domain.verdicts import RefusedError, voids_of

_ABOUT_TOTALS = frozenset({BreakKind.CUM_QTY_DIFFERS, BreakKind.AVG_PX_DIFFERS, BreakKind.SPLIT_DIFFERS})


def never_applies(kind: BreakKind, verdict: Verdict) -> str | None:
    """Why such a verdict is refused whatever the order is, and the remedy; None where it depends on the order."""
    if kind is BreakKind.UNKNOWN_ORDER:
        way = "release" if verdict is Verdict.RELEASE else "void"
        return f"an {kind} has no order to {way} it of: route the missing intent, or have the venue bust the fill"
    if verdict is Verdict.RELEASE or kind not in _ABOUT_TOTALS:
        return None
    try:  # the rule itself, which asks nothing of the order for these kinds
        voids_of(OrderState(""), make_break("", kind, None, "", ""))
    except RefusedError as error:
        return str(error)
    return None
