"""Numbers as text in JSON that ``Decimal`` reads and we do not: ``1_000``, digits of other scripts, blanks around.

msgspec hands the text of a JSON string to ``Decimal``, which is lenient. Looking at each number would cost a
burst more than reading it, so the whole message is first asked whether it may hold such a spelling at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.numbers import parse_decimal
from streaming.venues.canonical_defects import UNREADABLE, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

# An underscore in a number has a digit, a sign or a point on one side; a blank follows the opening quote or
# precedes the closing one. Both begin with the rare byte itself, so that they search at memchr's speed.
_underscore = re.compile(rb"_(?:[0-9.+-]|(?<=[0-9.+-]_))").search
_blank = re.compile(rb' (?:(?<=" )|"(?<=[0-9. ] "))').search
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


def may_be_odd(raw: bytes) -> bool:
    """Whether a JSON object may hold such a number; ``check_spelling`` finds out."""
    # an escape may stand for anything, a blank or a digit included
    if not raw.isascii() or raw.find(b"\\") >= 0 or _underscore(raw):
        return True
    return raw.find(b" ") >= 0 and _blank(raw) is not None


def check_spelling(raw: bytes, names: Iterable[str]) -> None:
    """Raise ``DefectError`` if one of these fields is a string that is no number as we write numbers."""
    fields = _fields_decoder.decode(raw)
    for name in names:
        value = fields.get(name)
        if value is not None and (found := bytes(value))[:1] == b'"':
            parse_decimal(name, text_of(name, found))


def text_of(field: str, raw: bytes) -> str:
    """Read a JSON string. Raises ``DefectError``."""
    try:
        return _text_decoder.decode(raw)
    except UNREADABLE as error:  # a lone surrogate
        raise unreadable(raw, field, error) from None
