"""Tables in memory, as ledger.db.tables declares them: columns, primary and unique keys, defaults."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, BigInteger, Date, DateTime, Integer, LargeBinary, Numeric, PrimaryKeyConstraint, Uuid

from ledger.db.tables import SCHEMA, Xid8, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Column

Row = dict[str, Any]
Undo = list["Callable[[], None]"]

# What queries look rows up by; other columns are searched.
_LOOK_UPS = {
    "orders": ("correlation_id",),
    "order_references": ("correlation_id",),
    "executions": ("correlation_id", "execution_id"),
    "slippage_metrics": ("execution_id",),
    "fills": ("report_id",),
    "fills_pending": ("report_id", "correlation_id"),
    "benchmark_snapshots": ("snapshot_id", "symbol"),
}


class Shape:
    """One table's declaration, ready for use."""

    def __init__(self, name: str) -> None:
        table = metadata.tables[f"{SCHEMA}.{name}"]
        self.name = name
        columns = [column for column in table.columns if column.computed is None]
        self.casts = {column.name: _cast_of(column) for column in columns}
        self.required = [c.name for c in columns if not c.nullable and c.server_default is None and not c.identity]
        self.defaults = {c.name: _default_of(c) for c in columns if c.server_default is not None or c.identity}
        self.empty = dict.fromkeys(self.casts)
        self.key = tuple(column.name for column in table.primary_key.columns)
        assert isinstance(table.primary_key, PrimaryKeyConstraint)
        self.look_ups = _LOOK_UPS.get(name, ())


class Stamp:
    """A transaction: what it fills in by itself (id, time, day, next positions), and what it did."""

    def __init__(self, xid: int, now_ns: int, today: date, next_position: Callable[[], int]) -> None:
        self.xid = xid
        self.now_ns = now_ns
        self.today = today
        self.next_position = next_position
        self.inserted: dict[str, list[Row]] = {}
        self.moved: list[Row] = []


class MemoryTable:
    """Rows by primary key, in the order of their insertion. Changes note how to take them back."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.version = 0
        self._by: dict[str, dict[Any, dict[tuple[Any, ...], Row]]] = {
            column: defaultdict(dict) for column in shape.look_ups
        }

    def insert(self, given: Row, stamp: Stamp, undo: Undo) -> Row:
        """Insert a row; of columns that the table does not have, or misses, Postgres would say the same."""
        shape = self.shape
        row = dict(shape.empty)
        for name, value in given.items():
            if value is not None:
                row[name] = shape.casts[name](value)
        for name, default in shape.defaults.items():
            if row[name] is None:
                row[name] = default(stamp)
        for name in shape.required:
            if row[name] is None:
                raise asyncpg.NotNullViolationError(f'null value in column "{name}" of "{shape.name}"')
        key = self.key_of(row)
        if key in self.rows:
            raise asyncpg.UniqueViolationError(f"duplicate key in {shape.name}: {shape.key}={key}")
        self._put(key, row)
        undo.append(lambda: self._drop(key))
        stamp.inserted.setdefault(shape.name, []).append(row)
        return row

    def change(self, row: Row, changes: Row, undo: Undo) -> None:
        """Update a row; its key and what it is looked up by stay."""
        casts = self.shape.casts
        before = dict(row)
        undo.append(lambda: row.update(before))
        for name, value in changes.items():
            row[name] = None if value is None else casts[name](value)

    def delete(self, row: Row, undo: Undo) -> None:
        """Delete a row."""
        key = self.key_of(row)
        self._drop(key)
        undo.append(lambda: self._put(key, row))

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Give a row's primary key."""
        return tuple([row[name] for name in self.shape.key])

    def where(self, column: str, values: Iterable[Any]) -> list[Row]:
        """List the rows with one of these values in a column that rows are looked up by."""
        by = self._by[column]
        return [row for value in dict.fromkeys(values) if value in by for row in by[value].values()]

    def __iter__(self) -> Any:
        return iter(self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    def _put(self, key: tuple[Any, ...], row: Row) -> None:
        self.rows[key] = row
        self.version += 1
        for column, by in self._by.items():
            by[row[column]][key] = row

    def _drop(self, key: tuple[Any, ...]) -> None:
        row = self.rows.pop(key)
        self.version += 1
        for column, by in self._by.items():
            del by[row[column]][key]


@cache
def shapes() -> dict[str, Shape]:
    """Give every table of the schema."""
    return {table.name: Shape(table.name) for table in metadata.tables.values()}


def make_tables() -> dict[str, MemoryTable]:
    """Make a ledger with no rows."""
    return {name: MemoryTable(shape) for name, shape in shapes().items()}


def uuid_of(value: Any) -> UUID:
    """Read an id."""
    return value if isinstance(value, UUID) else UUID(value)


def _cast_of(column: Column[Any]) -> Callable[[Any], Any]:
    kind = column.type
    if isinstance(kind, ARRAY):
        item = uuid_of if isinstance(kind.item_type, Uuid) else int
        return lambda values: [item(value) for value in values]
    for known, cast in _CASTS:
        if isinstance(kind, known):
            return cast
    return lambda value: value if type(value) is str else _text(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # an enumeration's member is its text


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else value


_CASTS: Sequence[tuple[Any, Callable[[Any], Any]]] = (
    (Uuid, uuid_of),
    (Date, lambda value: date.fromisoformat(value) if isinstance(value, str) else value),
    (Numeric, Decimal),
    ((BigInteger, Integer, Xid8), int),
    (LargeBinary, _bytes),
    (DateTime, lambda value: value),
)


def _default_of(column: Column[Any]) -> Callable[[Stamp], Any]:
    if column.identity is not None:
        return lambda stamp: stamp.next_position()
    if isinstance(column.type, Xid8):
        return lambda stamp: stamp.xid
    if isinstance(column.type, DateTime):
        return lambda stamp: stamp.now_ns
    if isinstance(column.type, Date):
        return lambda stamp: stamp.today
    assert column.server_default is not None
    literal = str(getattr(column.server_default, "arg", ""))
    if "SESSION_USER" in literal:
        return lambda _: "simulation"
    if literal == "false":
        return lambda _: False
    return lambda _: int(literal) if literal.isdigit() else literal
