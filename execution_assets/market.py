"""A day's snapshots in columns: many benchmark questions answered without a query each.

A symbol's day is read once, as one text, when it is first asked for, and kept while there is room. What a day's
columns cannot answer (another day, a symbol with too many snapshots) is asked of Postgres question by question.
"""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from pyarrow import csv

from execution_assets.facts import driver_sql, rows_of
from execution_assets.whole_numbers import Column, added, read_column, texts_of, times
from ledger.db.rows import read_snapshot
from ledger.domain.interval import vwap
from ledger.domain.numbers import EXACT, exact_ratio
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
    "bid_size": pa.string(), "ask_size": pa.string(), "traded_qty": pa.string(), "traded_notional": pa.string(),
}  # fmt: skip
_ROWS = driver_sql("snapshot_columns")

Question = tuple[str, int]  # symbol, time


class Traded(NamedTuple):
    """Running sums over a symbol's snapshots of what the market traded, in units of 10^-places."""

    qty: list[int]
    qty_places: int
    notional: list[int]
    notional_places: int


class SymbolDay:
    """One symbol's snapshots of a day by (time, id)."""

    def __init__(self, symbol: str, table: pa.Table) -> None:
        self.symbol = symbol
        self.times = table.column("at_ns").to_numpy()
        self._table = table
        self._found: dict[int, Snapshot] = {}
        self._twice: Column | None = None
        self._stood: list[int] | None = None
        self._traded: Traded | None = None

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
        twice, places = self.twice()
        scale = 10**places
        if until_ns == from_ns:
            return exact_ratio(Decimal(int(twice[last])), Decimal(2 * scale))
        sums = self._standing()
        before, after = from_ns - int(self.times[first]), until_ns - int(self.times[last])
        weighted = sums[last] - sums[first] + int(twice[last]) * after - int(twice[first]) * before
        return exact_ratio(Decimal(weighted), Decimal(2 * scale * (until_ns - from_ns)))

    def traded_average(self, from_ns: int, until_ns: int) -> Decimal | None:
        """Give ``ledger.domain.interval.interval_vwap`` of a time within the day."""
        first, last = self.last_at([from_ns, until_ns])
        sums = self._volumes()
        qty = sums.qty[last + 1] - sums.qty[first + 1]
        notional = sums.notional[last + 1] - sums.notional[first + 1]
        return vwap(
            EXACT.scaleb(Decimal(qty), -sums.qty_places), EXACT.scaleb(Decimal(notional), -sums.notional_places)
        )

    def twice(self) -> Column:
        """Give bid + ask of every snapshot: twice the mid."""
        if self._twice is None:
            bids, asks = (read_column(self._table.column(name).combine_chunks()) for name in ("bid", "ask"))
            places = max(bids.places, asks.places)
            self._twice = Column(added(bids.at(places), asks.at(places)), places)
        return self._twice

    def mids(self, positions: np.ndarray[Any, Any]) -> pa.Array:
        """Write the mids at these positions."""
        twice, places = self.twice()
        return texts_of(times(twice[positions], 5), places + 1)

    def ids(self, positions: np.ndarray[Any, Any]) -> pa.Array:
        """Give the ids of the snapshots at these positions."""
        return self._table.column("snapshot_id").take(pa.array(positions)).combine_chunks()

    def _standing(self) -> list[int]:
        """Give the running sums of bid + ask times how long each stood."""
        if self._stood is None:
            twice = self.twice().values.tolist()
            self._stood = list(accumulate(map(mul, twice, np.diff(self.times).tolist()), initial=0))
        return self._stood

    def _volumes(self) -> Traded:
        if self._traded is None:
            qty, notional = (
                read_column(self._table.column(name).fill_null("0").combine_chunks())
                for name in ("traded_qty", "traded_notional")
            )
            self._traded = Traded(
                list(accumulate(qty.values.tolist(), initial=0)),
                qty.places,
                list(accumulate(notional.values.tolist(), initial=0)),
                notional.places,
            )
        return self._traded

    def load(self, positions: Iterable[int]) -> dict[int, Snapshot]:
        """Give the snapshots at these positions, and what else was given of late."""
        wanted = sorted(set(positions).difference(self._found, (-1,)))
        if len(self._found) > SYMBOL_ROWS // 8:
            self._found = {}
        quotes = self._table.select(["at_ns", "snapshot_id", "bid", "ask", "bid_size", "ask_size"])
        columns = [c.to_pylist() for c in quotes.take(pa.array(wanted, pa.int64())).columns]
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
        for symbol, asked in by_symbol.items():
            market = self.symbol_day(symbol)
            within = [t for t in asked if market is not None and self._start <= t < self._start + _DAY_NS]
            left += [(symbol, t) for t in asked if market is None or not self._start <= t < self._start + _DAY_NS]
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

    def traded_average(self, symbol: str, from_ns: int, until_ns: int) -> Decimal | None:
        """Give a symbol's VWAP between two times of the day; None where nothing traded, or no columns tell it."""
        market = self.symbol_day(symbol)
        return None if market is None else market.traded_average(from_ns, until_ns)

    def _read(self, symbol: str) -> SymbolDay | None:
        bounds = {"day": self._day, "symbol": symbol, "row_limit": SYMBOL_ROWS + 1}
        counted = next(rows_of(self._connection, "snapshot_count", bounds))["snapshot_count"]
        if counted > SYMBOL_ROWS:
            return None
        driver: Any = self._connection.connection.driver_connection
        told = driver.execute(_ROWS, {"day": self._day, "symbol": symbol}, binary=True).fetchone()[0]
        if told is None:
            return SymbolDay(symbol, pa.table({n: pa.array([], t) for n, t in _TYPES.items()}))
        table = csv.read_csv(
            BytesIO(told),
            csv.ReadOptions(column_names=list(_TYPES), use_threads=False),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(column_types=_TYPES, strings_can_be_null=True, quoted_strings_can_be_null=False),
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
