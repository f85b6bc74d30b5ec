"""Random fills of all magnitudes, with everything that their slippage and fee depend on, for the oracle."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.records import Action, Execution, ExecutionStatus, OrderIntent, Side, Snapshot
from ledger.domain.slippage import SlippagePolicy

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

DIGITS, BOUND = 18, 10**18
STALE_NS = 5_000_000_000
NOW = 1_795_000_000_000_000_000
VENUE, SYMBOL = "V", "S"
PAIRS = {"THIRD": "DIRECT", "INVERTED": "FLIPPED"}  # fee currency -> the pair that is its rate, by prefix
FEE_CURRENCIES = (None, "QUOTE", "BASE", "UNKNOWN", *PAIRS)
REFERENCE_DATA_CHANGES = 100  # fills


class Case(msgspec.Struct):
    """One random fill with all that its figures depend on."""

    execution: Execution
    root: OrderIntent
    policy: SlippagePolicy
    instrument: Instrument | None
    snapshots: dict[tuple[str, int], Snapshot]

    def at_or_before(self, symbol: str, at_ns: int) -> Snapshot | None:
        """Answer the ledger's questions."""
        return self.snapshots.get((symbol, at_ns))


def one_in(rng: random.Random, n: int) -> bool:
    """Say yes one time in ``n``."""
    return rng.randrange(n) == 0


def number(rng: random.Random) -> Decimal:
    """Give a positive number with at most 18 digits on either side of the point, of any magnitude."""
    digits = rng.randint(1, 2 * DIGITS)
    places = rng.randint(max(0, digits - DIGITS), DIGITS)
    return Decimal(f"{rng.randrange(10 ** (digits - 1), 10**digits)}E-{places}")


def quote(rng: random.Random, symbol: str, at_ns: int) -> Snapshot:
    """Give a snapshot, stale one time in eight, its sizes sometimes missing or zero."""
    bid, ask = sorted((number(rng), number(rng))) if one_in(rng, 3) else _touching(rng)
    sizes = [None if one_in(rng, 20) else Decimal(0) if one_in(rng, 10) else number(rng) for _ in range(2)]
    age = rng.choice((0, 1, STALE_NS, STALE_NS + 1)) if one_in(rng, 2) else rng.randrange(STALE_NS)
    return Snapshot(f"{symbol}-{at_ns}", symbol, bid, ask, sizes[0], sizes[1], at_ns - age)


def _touching(rng: random.Random) -> tuple[Decimal, Decimal]:
    bid = number(rng)
    shown = f"{bid:f}"
    places = len(shown.partition(".")[2])
    ask = Decimal(f"{int(shown.replace('.', '')) + rng.randrange(20)}E-{places}")
    return (bid, ask) if ask < BOUND else (bid, bid)


def cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Make random fills; reference data changes every ``REFERENCE_DATA_CHANGES`` of them."""
    instrument, policy = None, SlippagePolicy(STALE_NS)
    for n in range(count):
        if n % REFERENCE_DATA_CHANGES == 0:
            instrument = _instrument(rng)
            price: Literal["mid", "microprice"] = rng.choice(("mid", "microprice"))
            known = [*_pairs(), *([instrument] if instrument is not None else [])]
            policy = SlippagePolicy(STALE_NS, price, Instruments(known))
        yield _case(rng, instrument, policy)


def _pairs() -> Iterator[Instrument]:
    for notional in ("BASE", "QUOTE"):
        yield Instrument("*", f"DIRECT-{notional}", InstrumentKind.SPOT, "THIRD", notional, notional)
        yield Instrument("*", f"FLIPPED-{notional}", InstrumentKind.SPOT, notional, "INVERTED", "INVERTED")


def _instrument(rng: random.Random) -> Instrument | None:
    kind = rng.choice((None, *InstrumentKind))
    if kind is None:
        return None
    size, multiplier = (Decimal(rng.randrange(1, 10**9)).scaleb(-rng.randrange(10)) for _ in range(2))
    settlement = "BASE" if kind is InstrumentKind.INVERSE else "QUOTE"
    return Instrument(VENUE, SYMBOL, kind, "BASE", "QUOTE", settlement, size, multiplier)


def _case(rng: random.Random, instrument: Instrument | None, policy: SlippagePolicy) -> Case:
    side = rng.choice(tuple(Side))
    routed, transact = NOW, NOW + rng.randrange(1, 10**10)
    rates = [f"{pair}-{notional}" for pair in PAIRS.values() for notional in ("BASE", "QUOTE")]
    questions = [(SYMBOL, routed), (SYMBOL, transact), *((rate, transact) for rate in rates)]
    snapshots = {(symbol, at): quote(rng, symbol, at) for symbol, at in questions if not one_in(rng, 20)}
    at_fill = snapshots.get((SYMBOL, transact))
    price = number(rng) if at_fill is None or one_in(rng, 2) else rng.choice((at_fill.bid, at_fill.ask))
    decision: Decimal | None = None if one_in(rng, 5) else number(rng)
    if decision is not None and one_in(rng, 4):
        price, decision = _between(rng)
    fee = rng.choice((None, Decimal(0), number(rng), number(rng), number(rng).copy_negate()))
    currency = rng.choice((None, "QUOTE", "QUOTE", "BASE"))
    execution = Execution(
        "0" * 32, "C", "M", VENUE, "A", SYMBOL, side, date(2026, 11, 23), "E", "E", ExecutionStatus.ACTIVE,
        number(rng), price, currency, fee, rng.choice(FEE_CURRENCIES), None, transact,
    )  # fmt: skip
    root = OrderIntent(
        "C", "M", Action.NEW, None, VENUE, "A", SYMBOL, side, Decimal(1), None, decision, None, routed, None
    )
    return Case(execution, root, policy, instrument, snapshots)


def _between(rng: random.Random) -> tuple[Decimal, Decimal]:
    """A price and a benchmark of 2^17 steps, an odd number of steps apart: the 13th place is a 5 and the last."""
    places, away = rng.randrange(19), 2 * rng.randrange(60_000) + 1
    return Decimal(f"{2**17 + rng.choice((1, -1)) * away}E-{places}"), Decimal(f"{2**17}E-{places}")
