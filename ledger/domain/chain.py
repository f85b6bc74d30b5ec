"""A fill and what was said of it afterwards: busts (trade cancel) and corrects (trade correct).

FIX 4.4 vol. 4, ExecutionReport: a bust or correct names the ExecID it acts on (ExecRefID); a second correct
names the *last* correct, though venues are seen to name the first fill again, so any report of the chain may
be named. A busted trade cannot be corrected and a cancel cannot be canceled: one bust ends the chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.fees import fee_bps
from ledger.domain.records import ACTIVE, BUST, BUSTED, CORRECT, Execution, FillReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ledger.domain.instruments import Instruments


def follow(fill: FillReport, naming: Callable[[FillReport], Sequence[FillReport]]) -> tuple[FillReport, ...]:
    """The chain of a fill: itself, its corrects from first to last, then its bust if there is one.

    ``naming`` gives the busts and corrects whose ExecRefID means the given report. The order is a function of
    the set: by distance from the fill, then TransactTime, then ExecID; but the last is the newest correct that no
    other one corrects, however far from the fill it stands.
    """
    corrects: list[FillReport] = []
    busts: list[FillReport] = []
    seen = {fill.report_id}
    level: list[FillReport] = [fill]
    while level:
        found = {r.report_id: r for parent in level for r in naming(parent)}
        level = sorted(
            (r for r in found.values() if r.report_id not in seen),
            key=lambda r: (r.transact_ns, r.exec_id, r.report_id),
        )
        seen.update(r.report_id for r in level)
        corrects += [r for r in level if r.kind is CORRECT]
        busts += [r for r in level if r.kind is BUST]
    if len(corrects) > 1:
        ends = [n for n, c in enumerate(corrects) if not any(r.kind is CORRECT for r in naming(c))]
        corrects.append(corrects.pop(max(ends, key=lambda n: (corrects[n].transact_ns, n), default=-1)))
    return (fill, *corrects, *busts[:1])


def execute(chain: Sequence[FillReport], correlation_id: str, msg_id: str, instruments: Instruments) -> Execution:
    """The execution that a chain amounts to: identity of the fill, money of the last correct."""
    fill, last = chain[0], chain[-1]
    busted = last.kind is BUST
    money = chain[-2] if busted else last
    status = BUSTED if busted else ACTIVE
    execution = Execution(
        fill.report_id,
        correlation_id,
        msg_id,
        fill.venue,
        fill.account,
        fill.symbol,
        fill.side,
        fill.trade_date,
        fill.exec_id,
        last.exec_id,
        status,
        money.last_qty,
        money.last_px,
        fill.currency,
        money.fee,
        money.fee_currency,
        fill.liquidity,
        fill.transact_ns,
    )
    if execution.fee is None:
        return execution
    return msgspec.structs.replace(execution, fee_bps=fee_bps(execution, instruments))
