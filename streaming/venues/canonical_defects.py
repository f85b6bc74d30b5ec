"""How defects of JSON messages are worded, their limits, and what of a value is shown to a person. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT = 256
MAX_DEFECTS = 1000  # a body of `1,1,1,…` would make half a million dead letters: the rest becomes one
_EARLIEST_NS = 946_684_800 * NANOS  # 2000-01-01: an older time is a clock that was never set
_LATEST_NS = 9_214_646_400 * NANOS  # 2262-01-01: nanoseconds in 64 bits end that April
RESEND = "Ask the venue to send it again as docs/formats.md says."
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def missing(field: str) -> DefectError:
    """The field is not there, or says nothing."""
    return defect_error("missing_field", field, "", "it is required", RESEND)


def unknown_value(field: str, value: str, known: Iterable[str]) -> DefectError:
    """A word that is none of the known ones."""
    return defect_error("unknown_value", field, value, f"one of {', '.join(known)} is required", RESEND)


def wrong_type(field: str, raw: bytes, wanted: str) -> DefectError:
    """Another JSON type than the contract's."""
    return defect_error("wrong_type", field, shown(raw), f"{wanted} is required", RESEND)


def in_age(field: str, nanos: int, value: object) -> int:
    """Give a time back that a clock in order gives. Raises ``DefectError``."""
    if not _EARLIEST_NS <= nanos < _LATEST_NS:
        rule = "a time from 2000 to 2261 is required"
        raise defect_error("not_a_time", field, value, rule, "Check the venue's clock.")
    return nanos


def unreadable(raw: bytes, field: str, error: Exception) -> DefectError:
    """Not JSON, not UTF-8, cut off, or nested beyond reason."""
    return defect_error("malformed", field, shown(raw), f"valid JSON in UTF-8 is required ({error})", RESEND)


def shown(raw: bytes) -> str:
    """The beginning of bytes that may not be text."""
    return raw[:MAX_TEXT].decode("utf-8", "backslashreplace")


def storable(error: DefectError) -> DefectError:
    """Escape controls in what was sent: Postgres text has no NUL, and they garble a person's screen.

    A rule may quote what was sent, too: a decoder's own words do.
    """
    defect = error.defect
    if defect.value.isprintable() and defect.rule.isprintable():
        return error
    return DefectError(msgspec.structs.replace(defect, value=_escaped(defect.value), rule=_escaped(defect.rule)))


def _escaped(text: str) -> str:
    return "".join(repr(character)[1:-1] if is_control(character) else character for character in text)


def is_control(character: str) -> bool:
    """C0, DEL and C1."""
    return character < " " or "\x7f" <= character <= "\x9f"
