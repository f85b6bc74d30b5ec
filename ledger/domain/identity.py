"""Identity: which two messages are the same report. A key in the database, never a time window.

An id is BLAKE2b-128 over the parts, framed so that no choice of texts lets two different tuples meet. Two
reports with one id are compared by ``content_digest`` anyway.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from ledger.domain.numbers import text

if TYPE_CHECKING:
    from decimal import Decimal

    from ledger.domain.records import ReportKind, Side

_ID_BYTES = 16
_SEPARATOR = "\x1f"  # unit separator: no venue's id holds it, and one that did would still be unambiguous


def identify(*parts: str) -> str:
    """32 hex digits for a tuple of texts."""
    framed = _SEPARATOR.join(parts)
    if framed.count(_SEPARATOR) >= len(parts):  # a part holds the separator: say where each ends
        framed = _SEPARATOR.join(f"{len(part)}:{part}" for part in ("", *parts))
    return blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=_ID_BYTES).hexdigest()


def content_digest(
    kind: ReportKind, exec_ref_id: str | None, symbol: str, side: Side, last_qty: Decimal, last_px: Decimal
) -> str:
    """Digest of what a report says about money: two feeds may word the rest differently."""
    return identify(kind, exec_ref_id or "", symbol, side, text(last_qty), text(last_px))


def dead_letter_id(source: str, raw: bytes) -> str:
    """Id of bytes that are no fact: the same bytes from the same source are the same dead letter."""
    return blake2b(raw, digest_size=_ID_BYTES, key=source.encode()[:64]).hexdigest()
