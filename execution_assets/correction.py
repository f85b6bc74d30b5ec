"""Live rows made what the facts say: only where they differ, in the derivation's own transaction.

What is to be written waits in files, a row a line: where no live row is left that is as much as the day itself,
and memory stays flat. ``Correction`` collects, also in a process of its own; ``write_corrections`` applies.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import msgspec

from execution_assets.facts import SQL, statement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from sqlalchemy import Connection

    from ledger.domain.records import Execution, SlippageMetric

_BATCH = 5_000  # rows a statement
_EXECUTIONS, _METRICS, _GONE_METRICS, _GONE_EXECUTIONS = "executions", "metrics", "gone-metrics", "gone-executions"
_encoder = msgspec.json.Encoder()


class Correction:
    """The rows of one day to write and to remove, as files of ``folder`` whose names begin with ``name``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._files: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def put_execution(
        self, execution: Execution, chain: tuple[str, ...] | None, withheld: tuple[str, ...] | None
    ) -> None:
        """Write an execution. ``withheld`` counts only where the row is missing."""
        row = msgspec.structs.asdict(execution)
        self._put(_EXECUTIONS, {**row, "chain": chain, "withheld": withheld or None})

    def remove_execution(self, execution: Execution) -> None:
        """Remove an execution that no landed fill stands behind (its values are kept as a difference)."""
        self._put(_GONE_EXECUTIONS, execution.execution_id)

    def replace_metric(self, live: SlippageMetric | None, derived: SlippageMetric | None) -> None:
        """Write the derived slippage, or remove the live one where there is none."""
        if derived is not None:
            self._put(_METRICS, derived)
        elif live is not None:
            self._put(_GONE_METRICS, (live.execution_id, live.kind))

    def _put(self, what: str, row: object) -> None:
        file = self._files.get(what)
        if file is None:
            path = self._folder / f"{self._name}.{what}"
            file = self._files[what] = self._stack.enter_context(path.open("wb"))
        file.write(_encoder.encode(row) + b"\n")


def write_corrections(connection: Connection, day: date, folder: Path) -> None:
    """Write all that was collected in ``folder``; the caller commits."""
    for rows in _batches(folder, _EXECUTIONS):
        connection.execute(statement(connection, SQL["write_executions"]), {"rows": _array(rows)})
    for rows in _batches(folder, _METRICS):
        connection.execute(statement(connection, SQL["write_metrics"]), {"rows": _array(rows)})
    for rows in _batches(folder, _GONE_METRICS):
        gone: list[tuple[str, str]] = [msgspec.json.decode(row) for row in rows]
        parameters: dict[str, Any] = {"ids": [name for name, _ in gone], "kinds": [kind for _, kind in gone]}
        connection.execute(statement(connection, SQL["remove_metrics"]), {"day": day, **parameters})
    for rows in _batches(folder, _GONE_EXECUTIONS):
        ids = [msgspec.json.decode(row) for row in rows]
        connection.execute(statement(connection, SQL["remove_executions"]), {"day": day, "ids": ids})


def _batches(folder: Path, what: str) -> Iterator[list[bytes]]:
    for path in sorted(folder.glob(f"*.{what}")):
        with path.open("rb") as lines:
            while rows := list(islice(lines, _BATCH)):
                yield rows


def _array(rows: list[bytes]) -> str:
    return (b"[" + b",".join(rows) + b"]").decode()
