"""One hash for a set of executions and their slippages: equal sets, equal bytes, whatever their history.

The digest of a set is the SHA-256 over its entries, sorted. An entry is an execution with its slippages: the 16
bytes of its id and the SHA-256 of its text. The text is the values in the order of the record's fields, joined by
``FIELD``; a null is ``NULL``; numbers in plain notation without trailing zeros; then, each after a ``METRIC``, its
slippages by kind. Postgres makes the same text (``live_entries`` in ledger/db/sql/derivation.sql), so a day's rows
are compared without being fetched; a test holds both to each other.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from ledger.domain.numbers import canonical, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from ledger.domain.records import Execution, SlippageMetric

FIELD, NULL, METRIC = "\x1f", "\x1e", "\x1d"
ENTRY_BYTES = 48


def plain(value: Decimal | None) -> str:
    """Write equal numbers alike: Postgres keeps the scale a number was written with, a digest must not."""
    if value is None:
        return NULL
    shown = str(value)
    if "E" in shown or shown[0] == "-":
        return text(canonical(value))
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def execution_text(e: Execution) -> str:
    """Give the text of an execution without its id."""
    return FIELD.join(
        (
            e.correlation_id, e.msg_id, e.venue, e.account, e.symbol, e.side, e.trade_date.isoformat(), e.exec_id,
            e.last_exec_id, e.status, plain(e.last_qty), plain(e.last_px),
            NULL if e.currency is None else e.currency, plain(e.fee),
            NULL if e.fee_currency is None else e.fee_currency, NULL if e.liquidity is None else e.liquidity,
            str(e.transact_ns), NULL if e.match_rule is None else e.match_rule, plain(e.fee_bps),
        )
    )  # fmt: skip


def metric_text(m: SlippageMetric) -> str:
    """Give the text of a slippage without its execution."""
    return FIELD.join(
        (
            METRIC + m.kind, plain(m.bps), plain(m.benchmark),
            NULL if m.benchmark_ns is None else str(m.benchmark_ns),
            NULL if m.snapshot_id is None else m.snapshot_id, m.quality,
            NULL if m.quality_reason is None else m.quality_reason,
        )
    )  # fmt: skip


def entry_of(execution_id: str, execution: Execution | None, metrics: Iterable[SlippageMetric]) -> bytes:
    """Give the entry of an execution; ``metrics`` must be in the order of their kinds' names."""
    told = ("" if execution is None else execution_text(execution)) + "".join(map(metric_text, metrics))
    return bytes.fromhex(execution_id) + sha256(told.encode()).digest()


def digest_of_entries(entries: Iterable[bytes]) -> str:
    """SHA-256 in hex over the entries, sorted."""
    hasher = sha256()
    for entry in sorted(entries):
        hasher.update(entry)
    return hasher.hexdigest()


def digest_of(executions: Iterable[Execution], metrics: Iterable[SlippageMetric]) -> str:
    """Give the digest of a set of executions and their slippages."""
    known = {e.execution_id: e for e in executions}
    measured: dict[str, list[SlippageMetric]] = {}
    for metric in metrics:
        measured.setdefault(metric.execution_id, []).append(metric)
    return digest_of_entries(
        entry_of(name, known.get(name), _by_kind(measured.get(name, ())))
        for name in known.keys() | measured.keys()
    )


def _by_kind(metrics: Sequence[SlippageMetric]) -> list[SlippageMetric]:
    return sorted(metrics, key=lambda metric: metric.kind)
