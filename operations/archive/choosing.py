"""Which archives, and which of their rows, a command is about."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.library import newest
from execution_assets.archives.records import AUDIT, CLASS_OF, TABLES

if TYPE_CHECKING:
    import pyarrow.dataset as pad

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject, Listed

# the column that names a row's order; the key of an order's event is its correlation id
_ORDER = {"fills": "tied_to", "order_reports": "tied_to", "audit_events": "key"}
_LACKS = {
    "dead_letters": frozenset({"symbol", "account", "correlation_id"}),
    "audit_events": frozenset({"symbol", "account"}),
}


class Choice(msgspec.Struct, frozen=True):
    """Days [first, last], and what rows must say; None and () leave it open."""

    first: Any  # a date: msgspec would check it again
    last: Any
    record_class: str
    venues: tuple[str, ...] = ()
    symbol: str | None = None
    account: str | None = None
    correlation_id: str | None = None

    @property
    def asked(self) -> dict[str, str]:
        """What receipts and audit events say of it."""
        said = {
            "record_class": self.record_class, "from": str(self.first), "to": str(self.last),
            "venues": ",".join(self.venues), "symbol": self.symbol, "account": self.account,
            "correlation_id": self.correlation_id,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value}

    def wanted(self, table: str) -> dict[str, str]:
        """Give what columns of a table must say. Raises ``ArchiveError`` where it lacks one."""
        named = {"symbol": self.symbol, "account": self.account}
        asked = {name: value for name, value in named.items() if value is not None}
        if self.correlation_id is not None:
            asked[_ORDER.get(table, "correlation_id")] = self.correlation_id
        if lacks := asked.keys() & _LACKS.get(table, frozenset()):
            raise ArchiveError(
                f"{table} has no column of {', '.join(sorted(lacks))}: name --table, or leave that out"
            )
        return asked

    def tables(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Give the tables to open: those named, else all that have what is asked for."""
        for table in named:
            if CLASS_OF.get(table) != self.record_class:
                there = ", ".join(TABLES[self.record_class])
                raise ArchiveError(f"--table {table!r}: class {self.record_class} has {there}")
        if named:
            return named
        narrowed = self.symbol or self.account or self.correlation_id
        return tuple(t for t in TABLES[self.record_class] if not (narrowed and t == "dead_letters"))


def day_of(option: str, text: str) -> date:
    """Read a date. Raises ``ArchiveError`` naming the option."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=None).date()  # noqa: DTZ007  a date, no time
    except ValueError:
        raise ArchiveError(f"{option} {text!r}: a date such as 2026-11-20 is required") from None


def choose(library: Library, choice: Choice, *, all_revisions: bool = False) -> list[Listed]:
    """Give the newest revision of each day and venue. Raises ``ArchiveError`` where there is none."""
    venues = () if choice.record_class == AUDIT else choice.venues
    listed = library.listed(choice.record_class, choice.first, choice.last, venues)
    if not listed:
        place = ", ".join(venues) or "any venue"
        raise ArchiveError("; ".join((
            f"there is no archive of {choice.record_class} from {choice.first} to {choice.last} of {place}",
            *library.doubts,
        )))  # fmt: skip
    return listed if all_revisions else newest(listed)


def dataset_of(library: Library, files: list[ArchivedObject]) -> pad.Dataset:
    """Give files of one table as one dataset, decrypted as it is read; older files lack newer columns."""
    import pyarrow.dataset as pad  # noqa: PLC0415  --help stays fast

    return pad.dataset([library.dataset(held) for held in files])
