"""What a sensor remembers from one tick to the next, as Dagster keeps it: a text."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def read_stored(stored: str | None, fresh: T, then: str) -> tuple[T, str | None]:
    """Read what the last tick wrote; where nothing or nothing legible is there, give ``fresh``.

    With a cursor that cannot be read the second value says so, and what follows: ``then``.
    """
    if not stored:
        return fresh, None
    try:
        return msgspec.json.decode(stored, type=type(fresh)), None
    except msgspec.DecodeError as error:
        return fresh, f"the cursor is not one of this version ({error}): {then}"


def write_cursor(cursor: msgspec.Struct) -> str:
    """Write it for the next tick."""
    return msgspec.json.encode(cursor).decode()
