"""Findings and audits of a venue's list, as comparisons make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.domain.completeness import Audited, AuditReason, Listed, Missing
from ledger.domain.identity import identify
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import Iterable

AUDIT_ID = identify("audit")


def report_id(exec_id: str) -> str:
    return identify("report", exec_id)


def listed(exec_id: str, at: int = T0) -> Listed:
    order = "C1" if exec_id == "E1" else None
    return Listed(report_id(exec_id), exec_id, "BTCUSDT", at, order)


def missing(*exec_ids: str, told: str = "m1") -> Missing:
    fills = tuple(map(listed, exec_ids))
    span = (T0, T0 + SECOND, T0 + 2 * SECOND)
    return Missing(
        identify(told), AUDIT_ID, "ALPHA", AuditReason.AUDIT, *span, "ALPHA.ws live", is_hidden=True, fills=fills
    )


def audited(
    unlisted: Iterable[str] = (), present: Iterable[str] = (), told: str = "a1", **changes: Any
) -> Audited:
    figures = {"theirs": 2, "ours": 2, "missing": 0, "handed_in": 0, "unconfirmed": 0, **changes}
    token = identify(told, *unlisted, "present", *present)
    span = (T0, T0 + SECOND, T0 + 2 * SECOND)
    return Audited(
        token, AUDIT_ID, "ALPHA", AuditReason.AUDIT, *span, **figures,
        unlisted=tuple(map(listed, unlisted)), present=tuple(map(report_id, present)),
    )  # fmt: skip
