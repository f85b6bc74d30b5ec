"""One report that came in more than one wording: what they say together, and whether they disagree.

A fast feed leaves the fee out, a look-back the ClOrdID; a drop copy has nanoseconds where a WebSocket has
milliseconds. What one wording leaves out another fills in; only two different values of one field are a
disagreement. The result is a function of the set of wordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.records import FillReport, ReportKind

if TYPE_CHECKING:
    from collections.abc import Sequence

# what two wordings may not say differently; a bust's figures move nothing, and venues zero them or repeat them
_MONEY = ("last_qty", "last_px")
_OPTIONAL = (
    "exec_ref_id",
    "cl_ord_id",
    "venue_order_id",
    "correlation_id",
    "currency",
    "fee",
    "fee_currency",
    "liquidity",
    "part_of",
    "trade_report_id",
)


def in_order(variants: Sequence[FillReport]) -> list[FillReport]:
    """Sort wordings: the first one counts where they disagree, until a person decides."""
    return sorted(variants, key=lambda report: report.content)


def disagreement(variants: Sequence[FillReport]) -> tuple[str, str, str] | None:
    """Give the first field on which two wordings differ, with both values; None where they agree."""
    first, *others = in_order(variants)
    figures = () if first.kind is ReportKind.BUST else _MONEY
    for field in ("side", *figures, *_OPTIONAL):
        given = [value for report in (first, *others) if (value := getattr(report, field)) is not None]
        for value in given[1:]:
            if value != given[0]:
                return field, str(given[0]), str(value)
    return None


def merged(variants: Sequence[FillReport]) -> FillReport:
    """Give the one report that counts: the first wording, with what it leaves out taken from the next ones.

    The time is the finest given (a time cut to milliseconds ends in zeros); the claims are those of the first
    wording that has any, since CumQty and AvgPx belong together.
    """
    first, *others = ordered = in_order(variants)
    if not others:
        return first
    filled = {
        field: next((v for report in ordered if (v := getattr(report, field)) is not None), None)
        for field in _OPTIONAL
    }
    claiming = next((report for report in ordered if report.cum_qty is not None), first)
    return msgspec.structs.replace(
        first,
        **filled,
        transact_ns=min((_zeros(report.transact_ns), report.transact_ns) for report in ordered)[1],
        cum_qty=claiming.cum_qty,
        leaves_qty=claiming.leaves_qty,
        avg_px=claiming.avg_px,
    )


def _zeros(nanos: int) -> int:
    """How many decimal zeros a time ends with: the fewer, the finer the clock."""
    digits = str(nanos)
    return len(digits) - len(digits.rstrip("0"))
