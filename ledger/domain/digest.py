"""One hash for a set of executions and their slippages: equal sets, equal bytes, whatever their history."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.numbers import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.records import Execution, SlippageMetric

_encoder = msgspec.json.Encoder()


def canonical_execution(execution: Execution) -> Execution:
    """Write equal numbers alike: Postgres keeps the scale a number was written with, a digest must not."""
    return msgspec.structs.replace(
        execution,
        last_qty=canonical(execution.last_qty),
        last_px=canonical(execution.last_px),
        fee=None if execution.fee is None else canonical(execution.fee),
    )


def canonical_metric(metric: SlippageMetric) -> SlippageMetric:
    """Write equal numbers alike."""
    return msgspec.structs.replace(
        metric,
        bps=None if metric.bps is None else canonical(metric.bps),
        benchmark=None if metric.benchmark is None else canonical(metric.benchmark),
    )


def execution_line(execution: Execution) -> bytes:
    """Give the canonical bytes of an execution."""
    return _encoder.encode(canonical_execution(execution))


def metric_line(metric: SlippageMetric) -> bytes:
    """Give the canonical bytes of a slippage."""
    return _encoder.encode(canonical_metric(metric))


def digest_of(executions: Iterable[Execution], metrics: Iterable[SlippageMetric]) -> str:
    """SHA-256 in hex over the canonical lines, sorted: executions, then slippages."""
    hasher = sha256()
    for line in sorted(execution_line(e) for e in executions):
        hasher.update(line + b"\n")
    for line in sorted(metric_line(m) for m in metrics):
        hasher.update(line + b"\n")
    return hasher.hexdigest()
