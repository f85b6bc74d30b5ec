"""How defects of canonical messages are worded, and what of a value a person and Postgres are shown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import DefectError, defect_error

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT = 256
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


def unreadable(raw: bytes, field: str, error: Exception) -> DefectError:
    """Not JSON, not UTF-8, cut off, or nested beyond reason."""
    return defect_error("malformed", field, shown(raw), f"valid JSON in UTF-8 is required ({error})", RESEND)


def shown(raw: bytes) -> str:
    """The beginning of bytes that may not be text."""
    return raw[:MAX_TEXT].decode("utf-8", "backslashreplace")


def storable(error: DefectError) -> DefectError:
    """Escape controls in the value: Postgres text has no NUL, and they garble a person's screen."""
    value = error.defect.value
    if value.isprintable():
        return error
    shown = "".join(repr(character)[1:-1] if is_control(character) else character for character in value)
    return DefectError(msgspec.structs.replace(error.defect, value=shown))


def is_control(character: str) -> bool:
    """C0, DEL and C1."""
    return character < " " or "\x7f" <= character <= "\x9f"
