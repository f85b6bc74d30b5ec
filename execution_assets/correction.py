"""Live rows made what the facts say: only where they differ, in the derivation's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.facts import SQL

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy import Connection

    from ledger.domain.records import Execution, SlippageMetric

_BATCH = 5_000  # rows a statement


class Correction:
    """The rows of one day to write and to remove."""

    def __init__(self, day: date) -> None:
        self._day = day
        self._executions: list[dict[str, Any]] = []
        self._metrics: list[SlippageMetric] = []
        self._unsupported: list[str] = []
        self._gone_metrics: list[tuple[str, str]] = []

    def put_execution(
        self, execution: Execution, chain: tuple[str, ...] | None, withheld: tuple[str, ...] | None
    ) -> None:
        """Write an execution. ``withheld`` counts only where the row is missing."""
        row = msgspec.structs.asdict(execution)
        self._executions.append({**row, "chain": chain, "withheld": withheld or None})

    def remove_execution(self, execution: Execution) -> None:
        """Remove an execution that no landed fill stands behind (its values are kept as a difference)."""
        self._unsupported.append(execution.execution_id)

    def replace_metric(self, live: SlippageMetric | None, derived: SlippageMetric | None) -> None:
        """Write the derived slippage, or remove the live one where there is none."""
        if derived is not None:
            self._metrics.append(derived)
        elif live is not None:
            self._gone_metrics.append((live.execution_id, live.kind))

    def write(self, connection: Connection) -> None:
        """Write it all; the caller commits."""
        for start in range(0, len(self._executions), _BATCH):
            rows = msgspec.json.encode(self._executions[start : start + _BATCH]).decode()
            connection.execute(SQL["write_executions"], {"rows": rows})
        for start in range(0, len(self._metrics), _BATCH):
            rows = msgspec.json.encode(self._metrics[start : start + _BATCH]).decode()
            connection.execute(SQL["write_metrics"], {"rows": rows})
        if self._gone_metrics:
            connection.execute(
                SQL["remove_metrics"],
                {
                    "day": self._day,
                    "ids": [execution_id for execution_id, _ in self._gone_metrics],
                    "kinds": [kind for _, kind in self._gone_metrics],
                },
            )
        if self._unsupported:
            connection.execute(SQL["remove_executions"], {"day": self._day, "ids": self._unsupported})
