"""What a decoder may do with any bytes: give facts or defects that can be stored, soon, with bounded memory."""

from __future__ import annotations

import time
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.domain.records import DeadLetter
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_arrival
from streaming.venues import DECODERS
from tests.fuzz.corpus import CONTROL, INTENT, SNAPSHOT, VERDICT

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = {
    INTENT: ArrivalKind.INTENT,
    SNAPSHOT: ArrivalKind.SNAPSHOT,
    VERDICT: ArrivalKind.VERDICT,
    CONTROL: ArrivalKind.CONTROL,
}
# CPU time: a busy machine does not count. Measured: 3-6 us a field of FIX, 2-4 us a field of JSON.
SECONDS, SECONDS_PER_BYTE = 0.05, 10e-6
MEMORY, MEMORY_PER_BYTE = 4 << 20, 120
_AGAIN = 3  # garbage collection may fall into one reading
_DIGITS = 200
_INT64 = 1 << 63
_RECEIVED_NS = 1_793_700_000 * 10**9


class FindingError(AssertionError):
    """What a decoder did that it must not do."""


def judge(target: str, raw: bytes, *, weigh: bool = False) -> int:
    """Read a message; give how many facts it is. Raises ``FindingError``."""
    kind = _KINDS.get(target, ArrivalKind.REPORT)
    arrival = Arrival("V.feed", "V" if kind is ArrivalKind.REPORT else None, kind, raw, _RECEIVED_NS)
    decoders = {"V": DECODERS.get(target, DECODERS["canonical"])}
    seconds = []
    allowed = SECONDS + SECONDS_PER_BYTE * len(raw)
    for _ in range(_AGAIN):
        before = time.process_time()
        try:
            decoding = decode_arrival(arrival, decoders)
        except (Exception, RecursionError) as error:
            raise FindingError(f"{target} raised {type(error).__name__}: {str(error)[:200]}") from error
        seconds.append(time.process_time() - before)
        if seconds[-1] <= allowed:
            break
    if min(seconds) > allowed:
        raise FindingError(
            f"{target} took {min(seconds):.3f} s of CPU for {len(raw)} bytes, {allowed:.3f} s are allowed"
        )
    for fact in decoding.facts:
        if isinstance(fact, DeadLetter) and fact.raw not in raw:
            raise FindingError(f"{target}: the dead letter's bytes are not those that came")
        for what in _values(fact):
            _check(target, what)
    if weigh:
        _weigh(target, arrival, decoders)
    return len(decoding.facts)


def _values(fact: object) -> Iterator[Any]:
    """Every plain value of a record."""
    if isinstance(fact, msgspec.Struct):
        for name in fact.__struct_fields__:
            yield from _values(getattr(fact, name))
    elif isinstance(fact, tuple | list | frozenset | set):
        for part in fact:
            yield from _values(part)
    else:
        yield fact


def _check(target: str, value: object) -> None:
    """Refuse what Postgres or JSON could not hold."""
    if isinstance(value, str):
        if "\x00" in value:
            raise FindingError(f"{target} gave a text with NUL, which Postgres does not store: {value[:60]!r}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FindingError(f"{target} gave a text that is no Unicode: {value[:60]!r}") from error
    elif isinstance(value, Decimal):
        if not value.is_finite() or len(value.as_tuple().digits) > _DIGITS or abs(value.adjusted()) > _DIGITS:
            raise FindingError(f"{target} gave the number {str(value)[:60]}")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise FindingError(f"{target} gave an integer beyond 64 bits: {str(value)[:60]}")


def _weigh(target: str, arrival: Arrival, decoders: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        decode_arrival(arrival, decoders)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    allowed = MEMORY + MEMORY_PER_BYTE * len(arrival.raw)
    if peak > allowed:
        raise FindingError(
            f"{target} held {peak >> 10} KiB for {len(arrival.raw)} bytes, {allowed >> 10} KiB are allowed"
        )
