"""Executions against the later market, in columns: ``ledger.domain.markouts`` of some thousands at once.

The arithmetic is that of whole numbers, rounded as the domain rounds; the few questions that a symbol's day in
columns cannot answer (the minutes after midnight, a symbol with too many snapshots) go to the domain one by one.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from execution_assets.whole_numbers import (
    Column,
    added,
    decimals,
    read_column,
    rounded_bps,
    texts_of,
    times,
)
from ledger.domain.digest import plain
from ledger.domain.instruments import InstrumentKind
from ledger.domain.markouts import HORIZONS, markout
from ledger.domain.numbers import STORED_PLACES, parse_decimal
from ledger.domain.records import Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from execution_assets.day_orders import Fills, Known
    from execution_assets.market import DayMarket, SymbolDay
    from ledger.domain.slippage import SlippagePolicy

_TYPES = {"execution_id": pa.string(), "side": pa.string(), "last_px": pa.string(), "transact_ns": pa.int64()}
_BUY = str(Side.BUY)
_TEXT = pa.string()

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Averages(NamedTuple):
    """An order's interval averages; None where there is none."""

    twap: Decimal | None
    vwap: Decimal | None


class Deals(NamedTuple):
    """Executions of one symbol in columns. ``fills`` has the position of each one's ``Fills``."""

    symbol: str
    names: pa.Array
    buys: Mask
    price_texts: pa.Array
    prices: Column
    times_ns: np.ndarray[Any, np.dtype[np.int64]]
    fills: np.ndarray[Any, np.dtype[np.int64]]
    inverse: Mask


def mark(
    fills: Sequence[Fills],
    averages: Mapping[str, Averages],
    market: DayMarket,
    known: Known,
    policy: SlippagePolicy,
) -> list[pa.Array]:
    """Give the columns of ``slippage_finals`` for the executions of ``fills``, as texts."""
    parts = [_columns(deals, fills, averages, market, known, policy) for deals in _by_symbol(fills, policy)]
    return [pa.concat_arrays(columns) for columns in zip(*parts, strict=True)]


def _by_symbol(fills: Sequence[Fills], policy: SlippagePolicy) -> list[Deals]:
    lines = "\n".join([part.lines for part in fills]).encode()
    table = csv.read_csv(
        BytesIO(lines),
        csv.ReadOptions(column_names=list(_TYPES), use_threads=False),
        convert_options=csv.ConvertOptions(column_types=_TYPES),
    ).combine_chunks()
    owners = np.repeat(np.arange(len(fills)), [part.number for part in fills])
    symbols = sorted({part.symbol for part in fills})
    place = {symbol: n for n, symbol in enumerate(symbols)}
    of_fills = np.array([place[part.symbol] for part in fills])
    inverse = np.array([_is_inverse(part, policy) for part in fills])
    order = np.argsort(of_fills[owners], kind="stable")
    ends = np.cumsum(np.bincount(of_fills[owners], minlength=len(symbols)))
    found = []
    for symbol, rows in zip(symbols, np.split(order, ends[:-1]), strict=True):
        names, sides, prices, at = (column.combine_chunks() for column in table.take(pa.array(rows)).columns)
        found.append(
            Deals(
                symbol, names, pc.equal(sides, _BUY).to_numpy(zero_copy_only=False), prices, read_column(prices),
                at.to_numpy(), owners[rows], inverse[owners[rows]],
            )
        )  # fmt: skip
    return found


def _is_inverse(part: Fills, policy: SlippagePolicy) -> bool:
    instrument = policy.instruments.find(part.venue, part.symbol)
    return instrument is not None and instrument.kind is InstrumentKind.INVERSE


def _columns(
    deals: Deals,
    fills: Sequence[Fills],
    averages: Mapping[str, Averages],
    market: DayMarket,
    known: Known,
    policy: SlippagePolicy,
) -> list[pa.Array]:
    names = pa.array([part.correlation_id for part in fills])
    columns = [
        deals.names,
        pa.repeat(known.day.isoformat(), len(deals.names)),
        names.take(pa.array(deals.fills)),
    ]
    day = market.symbol_day(deals.symbol)
    for ahead in HORIZONS.values():
        columns += _markouts(deals, ahead, day, market, known, policy)
    of_fills = [averages[part.correlation_id] for part in fills]
    columns += [
        _against(deals, [found.twap for found in of_fills]),
        _against(deals, [found.vwap for found in of_fills]),
    ]
    return columns


def _markouts(
    deals: Deals, ahead: int, day: SymbolDay | None, market: DayMarket, known: Known, policy: SlippagePolicy
) -> list[pa.Array]:
    """Give bps, mid, snapshot id and reason of one horizon."""
    wanted = deals.times_ns + ahead
    is_known = wanted <= known.known_until_ns
    positions = np.full(len(wanted), -1)
    if day is not None and len(day):
        positions = np.searchsorted(day.times, wanted, side="right") - 1
    told = is_known & (positions >= 0) & (wanted >= known.start_ns) & (wanted < known.end_ns)
    columns = [pa.nulls(len(wanted), _TEXT)] * 3 + [
        pc.if_else(pa.array(is_known), pa.scalar(None, _TEXT), "not_known_yet")
    ]
    if day is not None and told.any():
        at = positions[told]
        twice = day.twice()
        bps = _bps(deals, told, Column(twice.values[at], twice.places), halves=True)
        is_stale = wanted[told] - day.times[at] > policy.stale_after_ns
        stale = pc.if_else(pa.array(is_stale), "stale_snapshot", pa.scalar(None, _TEXT))
        columns = _put(columns, told, [texts_of(bps, STORED_PLACES), day.mids(at), day.ids(at), stale])
    asked = is_known & ~told
    if asked.any():
        columns = _put(columns, asked, _one_by_one(deals, asked, wanted, market, known, policy))
    return columns


def _put(columns: list[pa.Array], where: Mask, texts: list[pa.Array]) -> list[pa.Array]:
    if where.all():
        return texts
    mask = pa.array(where)
    return [pc.replace_with_mask(column, mask, text) for column, text in zip(columns, texts, strict=True)]


def _bps(deals: Deals, where: Mask, benchmark: Column, *, halves: bool) -> Any:
    """Measure the deals ``where`` against a benchmark; ``halves``: it is given doubled."""
    prices = Column(deals.prices.values[where], deals.prices.places)
    places = max(prices.places, benchmark.places)
    price = times(prices.at(places), 2 if halves else 1)
    against = benchmark.at(places)
    difference = added(price, -against)
    inverse = deals.inverse[where]
    below = np.where(inverse, price, against) if inverse.any() else against
    return rounded_bps(np.where(deals.buys[where], difference, -difference), below)


def _one_by_one(
    deals: Deals, where: Mask, wanted: Any, market: DayMarket, known: Known, policy: SlippagePolicy
) -> list[pa.Array]:
    times_ns = wanted[where].tolist()
    answers = market.answers({(deals.symbol, at_ns) for at_ns in times_ns})
    prices = deals.price_texts.filter(pa.array(where)).to_pylist()
    buys, inverse = deals.buys[where].tolist(), deals.inverse[where].tolist()
    figures = [
        markout(
            Side.BUY if buy else Side.SELL,
            parse_decimal("last_px", price),
            at_ns,
            answers[deals.symbol, at_ns],
            known_until_ns=known.known_until_ns,
            stale_after_ns=policy.stale_after_ns,
            inverse=divides,
        )
        for at_ns, price, buy, divides in zip(times_ns, prices, buys, inverse, strict=True)
    ]
    return [
        pa.array([None if f.bps is None else plain(f.bps) for f in figures], _TEXT),
        pa.array([None if f.benchmark is None else plain(f.benchmark) for f in figures], _TEXT),
        pa.array([f.snapshot_id for f in figures], _TEXT),
        pa.array([f.reason for f in figures], _TEXT),
    ]


def _against(deals: Deals, averages: Sequence[Decimal | None]) -> pa.Array:
    """Measure against the averages of the orders; null where there is none."""
    nothing = pa.nulls(len(deals.names), _TEXT)
    told = np.array([average is not None for average in averages], bool)[deals.fills]
    if not told.any():
        return nothing
    known = decimals([average for average in averages if average is not None])
    places = np.cumsum([average is not None for average in averages]) - 1
    benchmark = Column(known.values[places[deals.fills[told]]], known.places)
    return _put([nothing], told, [texts_of(_bps(deals, told, benchmark, halves=False), STORED_PLACES)])[0]
