"""``execution-agent dlq``: what came in and is no fact, why, and what mends it."""

from __future__ import annotations

import base64
import os
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.exc import ArgumentError

from ledger.db.sql import load_queries
from ledger.db.urls import plain_url
from ledger.domain.times import format_utc
from trust.errors import TrustError
from trust.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

_SQL = load_queries("dead_letters")
ADMINISTRATOR = "secrets/administrator-url"  # in the state folder, readable by its owner alone
_URL, _CONFIG = "EXECUTION_AGENT_POSTGRES_URL", "EXECUTION_AGENT_CONFIG"
_CONNECT_SECONDS = 5
_LISTED = ("id", "received", "source", "reason", "field", "value", "replay_outcome")
_WIDEST = 60
_SHOWN = ("id", "source", "feed", "received", "reason", "field", "value", "rule", "remedy")
_AGAIN = "once what was wrong is mended here: execution-agent dlq replay {0}; else have it sent again"

Letter = dict[str, Any]


class NoLedgerError(Exception):
    """Nothing says where the ledger is, or what says so cannot be read."""


def ledger_url(url: str | None, state: Path) -> str:
    """Give the URL of the ledger: as named, of the settings file, or of the embedded stack in ``state``."""
    if url is not None:
        return _plain("--url", url)
    config = os.environ.get(_CONFIG)
    path = Path(config) if config is not None else state / "stream" / "stream.toml"
    if not path.is_file():
        raise NoLedgerError(f"which ledger? {path} is not there: give --url, --state, or set {_URL} or {_CONFIG}")
    try:
        found = tomllib.loads(path.read_text("utf-8")).get("postgres_url")
    except (OSError, ValueError) as error:
        raise NoLedgerError(f"{path}: {error}") from error
    if not isinstance(found, str):
        raise NoLedgerError(f"{path} names no postgres_url: give --url, or set {_URL}")
    return _plain(str(path), found, path)


def administrator_url(url: str | None, state: Path) -> str:
    """Give the URL as named, else that of the embedded database's administrator, else as ``ledger_url`` does."""
    path = state / ADMINISTRATOR
    return ledger_url(url if url is not None or not path.is_file() else path.read_text("utf-8"), state)


def _secret(text: str, settings: Path | None) -> str:
    if not is_reference(text):
        return text
    from trust.clients import secret_of, settings_environment  # noqa: PLC0415  --help stays fast

    return secret_of(text, os.environ if settings is None else settings_environment(settings, os.environ))


def _plain(place: str, url: str, settings: Path | None = None) -> str:
    """Give the URL as libpq reads it; a reference is of the Vault that the environment or ``settings`` names."""
    try:
        return plain_url(_secret(url, settings))
    except TrustError as error:
        raise NoLedgerError(f"{place}: {error}") from error
    except ArgumentError:  # the text may hold a password: it is not shown
        raise NoLedgerError(f"{place}: postgresql://user:password@host:port/database is required") from None


def find(
    url: str, *, venue: str | None = None, reason: str | None = None, seconds: float | None = None, limit: int
) -> list[Letter]:
    """Give the newest dead letters first. Raises ``psycopg.Error``."""
    since_ns = None if seconds is None else time.time_ns() - int(seconds * 1e9)
    return _read(url, "listed", {"venue": venue, "reason": reason, "since_ns": since_ns, "limit": limit})


def find_beginning(url: str, beginning: str) -> list[Letter]:
    """Give the dead letters whose id begins so, with or without dashes: at most six. Raises ``psycopg.Error``."""
    return _read(url, "beginning", {"prefix": beginning.lower().replace("-", "")})


def _read(url: str, query: str, arguments: dict[str, object]) -> list[Letter]:
    with (
        psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        rows = cursor.execute(_SQL[query].encode(), arguments).fetchall()
    return [_letter(row) for row in rows]


def _letter(row: dict[str, Any]) -> Letter:
    received = format_utc(row.pop("received_ns"))
    replayed = row.pop("replayed_at")
    when = None if replayed is None else replayed.isoformat()
    return {"id": row.pop("dead_letter_id"), "received": received, **row, "replayed_at": when}


def as_table(letters: Sequence[Letter]) -> str:
    """One line a dead letter, under a line of names."""
    lines = [_LISTED, *(tuple(_short(escaped(letter[name] or "-")) for name in _LISTED) for letter in letters)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_LISTED))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_page(letter: Letter) -> str:
    """Everything about one dead letter, its bytes as text with escapes."""
    parts = [(name, escaped(letter[name])) for name in _SHOWN]
    if letter["replay_outcome"] is not None:
        parts.append(("replayed", f"{letter['replayed_at']} {escaped(letter['replay_outcome'])}"))
    parts += [
        ("again", _AGAIN.format(letter["id"])),
        ("raw", f"{len(letter['raw'])} bytes"),
        ("", readable(letter["raw"])),
    ]
    return "\n".join(f"{name:<9} {value}".rstrip() if name else value for name, value in parts)


def as_data(letter: Letter) -> dict[str, str]:
    """The same for programs: the bytes as text with escapes, and exactly."""
    raw: bytes = letter["raw"]
    return {**letter, "raw": readable(raw), "raw_base64": base64.b64encode(raw).decode()}


def readable(raw: bytes) -> str:
    """Bytes as text that no terminal acts on; what is not UTF-8 is escaped, too."""
    return escaped(raw.decode("utf-8", "backslashreplace"))


def escaped(text: str) -> str:
    """Text with everything that does not print written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
