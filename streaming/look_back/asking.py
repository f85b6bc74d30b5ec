"""What is asked of a venue's list of fills, and what it answers: plain records of pure request builders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import urlencode

import msgspec

from ledger.domain.records import ReportKind
from streaming.errors import StreamingError

if TYPE_CHECKING:
    from ledger.domain.delay_events import StatusRequest

TRADES = frozenset({ReportKind.FILL})
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SHOWN = 200
_WORDS = re.compile(r"[\s,=]+")
_LEAST_SECRET, _HIDDEN = 8, "…"


class LookBackError(StreamingError):
    """The venue's list cannot be had: what it answered, and what to do."""


class BusyError(LookBackError):
    """The venue says that we ask too often. ``retry_after`` is in seconds, 0 where it does not say."""

    def __init__(self, said: str, retry_after: float = 0.0) -> None:
        super().__init__(f"the venue asks for patience: {said}")
        self.retry_after = retry_after


class AskedOrder(msgspec.Struct, frozen=True):
    """The order whose fills are asked for, by the names that the venue knows it by."""

    symbol: str
    cl_ord_ids: tuple[str, ...]
    venue_order_ids: tuple[str, ...]


class Ask(msgspec.Struct, frozen=True):
    """One page: fills from ``since_ns`` (included) to ``until_ns`` (not), UTC; of one symbol, or of one order.

    ``symbol`` is as the list's API writes it. ``cursor`` is what the page before gave, None for the first.
    """

    since_ns: int
    until_ns: int
    symbol: str | None = None
    order: AskedOrder | None = None
    cursor: str | None = None


class Access(msgspec.Struct, frozen=True):
    """How we ask: our key and its secret, fills in a page, and the feed's names of symbols by the list's."""

    key: str = ""
    secret: str = ""
    page_size: int = 500
    pairs: Mapping[str, str] = msgspec.field(default_factory=dict)


class Call(msgspec.Struct, frozen=True):
    """An HTTP request: ``target`` is path and query; answers of a status of ``reads`` are read."""

    method: str
    target: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    reads: tuple[int, ...] = (200,)


class Page(msgspec.Struct, frozen=True):
    """Fills as the venue's decoder reads them, each in its own bytes, and where the list goes on (None: over)."""

    items: Sequence[bytes]
    cursor: str | None = None


class Lister(Protocol):
    """How one API lists fills. Pure: no clock, no I/O.

    ``kinds`` are the reports that it lists. ``needs_symbols``: it is asked symbol by symbol, ``needs_pairs``: it
    names symbols otherwise than the stream. ``names_account``: its reports say whose they are.
    """

    kinds: frozenset[ReportKind]
    needs_symbols: bool
    needs_pairs: bool
    names_account: bool

    def of_order(self, order: AskedOrder) -> Sequence[AskedOrder]:
        """What to ask, one after the other, for an order's fills; nothing where it is asked by time only."""

    def covers(self, symbol: str, asked: Sequence[str]) -> bool:
        """Whether a list that is asked for ``asked`` has the fills of a symbol of the stream."""

    def call(self, ask: Ask, access: Access, now_ns: int) -> Call:
        """Build the signed request of a page; ``now_ns`` is its timestamp or nonce."""

    def page(self, raw: bytes, ask: Ask, access: Access) -> Page:
        """Take an answer apart. Raises ``LookBackError``, ``BusyError`` where it asks for patience."""


@runtime_checkable
class StatesOrders(Protocol):
    """An API that can be asked for one order. Pure, too."""

    def ask_state(self, order: StatusRequest, access: Access, now_ns: int) -> Call | None:
        """Build the signed request; None where it needs a name that the order has not got."""

    def state(self, raw: bytes, order: StatusRequest) -> bytes | None:
        """Give the order's state as the venue's decoder reads it; None: there is no such order.

        Raises ``LookBackError``, ``BusyError``.
        """


def query(**parameters: Any) -> str:
    """Write a query string, without what is None, in the order given."""
    return urlencode({name: value for name, value in parameters.items() if value is not None})


def untold(text: str, calls: Iterable[Call]) -> str:
    """Give an error's text without what ``calls`` have shown in their headers: a venue may answer with it."""
    shown = {word for call in calls for value in call.headers.values() for word in _WORDS.split(value)}
    for word in sorted(shown, key=len, reverse=True):
        for length in range(len(word), _LEAST_SECRET - 1, -1):  # the text may be cut off in the middle of it
            text = text.replace(word[:length], _HIDDEN)
    return text


def unreadable(raw: bytes, wanted: str) -> LookBackError:
    """Say that an answer is none that we know."""
    shown = raw[:_SHOWN].decode("utf-8", "replace")
    return LookBackError(f"the answer {shown!r} is not {wanted}: check look_back.url and look_back.format")
