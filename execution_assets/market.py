"""A day's snapshots in columns: many benchmark questions answered without a query each.

A symbol's day is read once, by ``COPY``, when it is first asked for, and kept while there is room. What a day's
columns cannot answer (another day, a symbol with too many snapshots) is asked of Postgres question by question.
"""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from pyarrow import csv

from execution_assets.facts import driver_sql, rows_of
from ledger.db.rows import read_snapshot
from ledger.domain.numbers import exact_ratio
from ledger.domain.records import Snapshot
from ledger.domain.times import NANOS, day_start, utc_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from sqlalchemy import Connection

SYMBOL_ROWS = 1_000_000  # of a symbol's day that is kept in columns: about 100 MB
KEPT_ROWS = 2_000_000
_DAY_NS = 86_400 * NANOS
_TYPES = {
    "at_ns": pa.int64(), "snapshot_id": pa.string(), "bid": pa.string(), "ask": pa.string(),
    "bid_size": pa.string(), "ask_size": pa.string(),
}  # fmt: skip
_COPY = f"COPY ({driver_sql('snapshot_columns')}) TO STDOUT (FORMAT csv)"

Question = tuple[str, int]  # symbol, time


def _whole(number: str, places: int) -> int:
    whole, _, fraction = number.partition(".")
    return int(whole + fraction.ljust(places, "0"))


class SymbolDay:
    """One symbol's snapshots of a day by (time, id)."""

    def __init__(self, symbol: str, table: pa.Table) -> None:
        self.symbol = symbol
        self.times = table.column("at_ns").to_numpy()
        self._table = table
        self._found: dict[int, Snapshot] = {}
        self._sums: tuple[list[int], int, list[int]] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def last_at(self, times: list[int]) -> list[int]:
        """Give the position of the last snapshot at or before each time, -1 where the day has none."""
        found = np.searchsorted(self.times, np.array(times, dtype=np.int64), side="right") - 1
        return cast("list[int]", found.tolist())

    def average(self, from_ns: int, until_ns: int) -> Decimal | None:
        """Give ``ledger.domain.interval.twap`` of a time within the day; None where its beginning is not known.

        By running sums, so that an order that works all day costs as little as one of a second.
        """
        first, last = self.last_at([from_ns, until_ns])
        if first < 0:
            return None
        twice, scale, sums = self._running()
        if until_ns == from_ns:
            return exact_ratio(Decimal(twice[last]), Decimal(2 * scale))
        before, after = from_ns - int(self.times[first]), until_ns - int(self.times[last])
        weighted = sums[last] - sums[first] + twice[last] * after - twice[first] * before
        return exact_ratio(Decimal(weighted), Decimal(2 * scale * (until_ns - from_ns)))

    def _running(self) -> tuple[list[int], int, list[int]]:
        """Give bid + ask as whole numbers, their scale, and the sums of them times how long each stood."""
        if self._sums is None:
            bids, asks = (self._table.column(name).to_pylist() for name in ("bid", "ask"))
            places = max((len(t.partition(".")[2]) for t in (*bids, *asks)), default=0)
            twice = [_whole(b, places) + _whole(a, places) for b, a in zip(bids, asks, strict=True)]
            stood = np.diff(self.times).tolist()
            sums = list(accumulate(map(mul, twice, stood), initial=0))
            self._sums = twice, 10**places, sums
        return self._sums

    def load(self, positions: Iterable[int]) -> dict[int, Snapshot]:
        """Give the snapshots at these positions, and what else was given of late."""
        wanted = sorted(set(positions).difference(self._found, (-1,)))
        if len(self._found) > SYMBOL_ROWS // 8:
            self._found = {}
        columns = [c.to_pylist() for c in self._table.take(pa.array(wanted, pa.int64())).columns]
        for position, at_ns, name, *texts in zip(wanted, *columns, strict=True):
            bid, ask, bid_size, ask_size = (None if t is None else Decimal(t) for t in texts)
            assert bid is not None
            assert ask is not None
            self._found[position] = Snapshot(name, self.symbol, bid, ask, bid_size, ask_size, at_ns)
        return self._found


class DayMarket:
    """Answers questions about the market of a day, over one connection."""

    def __init__(self, connection: Connection, day: date) -> None:
        self._connection = connection
        self._day = day
        self._start = day_start(day.year, day.month, day.day)
        self._symbols: dict[str, SymbolDay | None] = {}  # None: too many to keep

    def symbol_day(self, symbol: str) -> SymbolDay | None:
        """Give a symbol's day in columns; None where there are too many snapshots to keep them."""
        if symbol not in self._symbols:
            loaded = self._read(symbol)
            kept = sum(len(s) for s in self._symbols.values() if s is not None)
            while loaded is not None and kept + len(loaded) > KEPT_ROWS:
                oldest = next(name for name, s in self._symbols.items() if s is not None)
                gone = self._symbols.pop(oldest)
                kept -= 0 if gone is None else len(gone)
            self._symbols[symbol] = loaded
        return self._symbols[symbol]

    def answers(self, questions: Iterable[Question]) -> dict[Question, Snapshot | None]:
        """Give to each question the last snapshot of the symbol at or before the time."""
        by_symbol: dict[str, list[int]] = {}
        for symbol, at_ns in questions:
            by_symbol.setdefault(symbol, []).append(at_ns)
        found: dict[Question, Snapshot | None] = {}
        left: list[Question] = []
        for symbol, times in by_symbol.items():
            market = self.symbol_day(symbol)
            within = [t for t in times if market is not None and self._start <= t < self._start + _DAY_NS]
            left += [(symbol, t) for t in times if market is None or not self._start <= t < self._start + _DAY_NS]
            if market is None or not within:
                continue
            positions = market.last_at(within)
            loaded = market.load(positions)
            for at_ns, position in zip(within, positions, strict=True):
                if position < 0:
                    left.append((symbol, at_ns))
                else:
                    found[symbol, at_ns] = loaded[position]
        found.update(self._ask(left))
        return found

    def average(self, symbol: str, from_ns: int, until_ns: int) -> Decimal | None:
        """Give a symbol's TWAP between two times of the day; None where its columns do not tell it."""
        market = self.symbol_day(symbol)
        return None if market is None else market.average(from_ns, until_ns)

    def _read(self, symbol: str) -> SymbolDay | None:
        bounds = {"day": self._day, "symbol": symbol, "row_limit": SYMBOL_ROWS + 1}
        counted = next(rows_of(self._connection, "snapshot_count", bounds))["snapshot_count"]
        if counted > SYMBOL_ROWS:
            return None
        driver: Any = self._connection.connection.driver_connection
        buffer = BytesIO()
        with driver.cursor() as cursor, cursor.copy(_COPY, {"day": self._day, "symbol": symbol}) as copy:
            for data in copy:
                buffer.write(data)
        if not buffer.tell():
            return SymbolDay(symbol, pa.table({n: pa.array([], t) for n, t in _TYPES.items()}))
        buffer.seek(0)
        table = csv.read_csv(
            buffer,
            csv.ReadOptions(column_names=list(_TYPES), use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=_TYPES, strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
        return SymbolDay(symbol, table.combine_chunks())

    def _ask(self, questions: Iterable[Question]) -> dict[Question, Snapshot | None]:
        answers = dict(self._probe("snapshots_of_day", sorted(set(questions))))
        answers.update(self._probe("snapshots_before", [q for q, snapshot in answers.items() if snapshot is None]))
        return answers

    def _probe(self, query: str, asked: list[Question]) -> Iterator[tuple[Question, Snapshot | None]]:
        if not asked:
            return
        parameters = {
            "symbols": [symbol for symbol, _ in asked],
            "days": [utc_date(at_ns) for _, at_ns in asked],
            "times": [at_ns for _, at_ns in asked],
        }
        for row in rows_of(self._connection, query, parameters):
            known = None if row["snapshot_id"] is None else read_snapshot(row)
            yield (row["wanted_symbol"], row["wanted_ns"]), known
