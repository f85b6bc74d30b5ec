"""Numbers, times and names as the report writes them. Rounding is for the eye only: half to even, and said."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from datetime import date

_NONE = "–"  # noqa: RUF001  an en dash reads as "nothing" in a column of numbers
_SPACE = "\N{NARROW NO-BREAK SPACE}"
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_KILO = 1000

REASONS = {
    "no_snapshot": "no market snapshot at or before that time",
    "stale_snapshot": "the last market snapshot was too old",
    "feed_outage": "the market data feed was down",
    "not_known_yet": "the market after the fill is not known that far yet",
    "no_sizes": "the snapshot has no sizes for a microprice",
    "too_fine": "the figure needs more digits than can be kept",
    "no_instrument": "the instrument is not in the reference data",
    "no_rate": "no exchange rate for the fee's currency",
    "no_decision_price": "the order names no decision price; its arrival mid stands for it",
    "no_arrival": "no market snapshot when the order was routed",
    "no_close": "no market snapshot when the order ended",
    "no_fee": "an execution names no fee",
    "stale_arrival": "the snapshot at arrival was too old",
    "stale_close": "the snapshot at the end was too old",
    "order_open": "the order still works; valued at the end of the day",
    "overfill": "more was filled than ordered",
    "inverse_contract": "an inverse contract has no money of one currency",
    "not_executed": "nothing was executed",
    "no_market_trades": "snapshots have no traded volume",
}
_SPELT = {"slo": "SLO", "qty": "quantity", "px": "price"}
KINDS = {
    "arrival_mid": "arrival mid",
    "decision_price": "decision price",
    "fill_mid": "mid at the fill",
    "interval_twap": "TWAP from arrival to the last execution",
    "interval_vwap": "VWAP from arrival to the last execution",
    "fee": "fee in a third currency",
    "markout_1s": "markout 1 s",
    "markout_10s": "markout 10 s",
    "markout_60s": "markout 60 s",
    "markout_5min": "markout 5 min",
    "shortfall": "implementation shortfall",
}


def bps(value: Decimal | None) -> str:
    """Write basis points with two decimals and a sign."""
    return _NONE if value is None else _signed(f"{value:+,.2f}")


def money(value: Decimal) -> str:
    """Write an amount: whole above a thousand, else with two decimals, small ones with four digits."""
    if abs(value) >= _KILO:
        return _signed(f"{value:,.0f}")
    if value == 0:
        return "0"
    return _signed(f"{value:,.2f}") if abs(value) >= 1 else _signed(f"{value:.4g}")


def count(value: int) -> str:
    """Write a number of things."""
    return f"{value:,}"


def things(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """Write a part in percent; never 100 % where something is missing, nor 0 % where something is there."""
    if not whole:
        return _NONE
    percent = Decimal(100 * part) / Decimal(whole)
    if part in {0, whole}:
        return f"{percent:.0f}{_SPACE}%"
    return f"{min(max(percent, Decimal('0.01')), Decimal('99.99')):.2f}{_SPACE}%"


def ms(microseconds: int | None) -> str:
    """Write milliseconds, with as many decimals as can be told apart."""
    if microseconds is None:
        return _NONE
    value = Decimal(microseconds) / _KILO
    return _signed(f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}")  # noqa: PLR2004  three digits


def lasting(seconds: int) -> str:
    """Write how long something took, in its two largest units."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    shown = [f"{number}{_SPACE}{unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or f"0{_SPACE}s"


def long_date(day: date) -> str:
    """Write a date in full; not by the machine's locale."""
    return f"{_WEEKDAYS[day.weekday()]}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


def instant(nanos: int) -> str:
    """Write a time to the millisecond."""
    return format_utc(nanos).replace("T", " ")[:23] + " UTC"


def words(name: str) -> str:
    """Write a name of a table or a kind as words."""
    return KINDS.get(name, " ".join(_SPELT.get(word, word) for word in name.split("_")))


def reasons(names: str) -> str:
    """Explain reasons that are joined by commas; one without an explanation stays as it is."""
    return "; ".join(REASONS.get(name, name.replace("_", " ")) for name in names.split(",") if name)


def currency(name: str) -> str:
    """Write a currency."""
    return name or "no currency named"


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
