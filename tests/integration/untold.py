"""Looking for secrets where none may be: in whatever a process says, answers, keeps or publishes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg

from streaming.topics import OUTBOUND
from tests.integration.topics import read_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streaming.settings import KafkaSettings

_SCHEMA = "execution"
_TABLES = (
    "SELECT c.relname, array_agg(a.attname) FILTER (WHERE a.atttypid = 'bytea'::regtype) "
    "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "WHERE c.relnamespace = 'execution'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
    "GROUP BY c.relname"
)


def check_untold(hidden: Mapping[str, str], places: Mapping[str, bytes]) -> None:
    """Look for every secret, by its name, in every place, in every form that it may be told in."""
    assert all(len(secret) >= 8 for secret in hidden.values()), "what is short is found anywhere"
    for name, secret in hidden.items():
        found = forms(secret)
        for place, said in places.items():
            assert not any(form in said for form in found), f"{place} tells {name}"


def forms(secret: str) -> list[bytes]:
    """A secret as it may be told: as it is, as its bytes are shown, as JSON, URLs, hex and base64 have it."""
    bare = secret.removeprefix("whsec_")
    return [
        bare.encode(),
        repr(bare.encode())[2:-1].encode(),
        json.dumps(bare)[1:-1].encode(),
        quote(bare, safe="").encode(),
        bare.encode().hex().encode(),
        base64.b64encode(bare.encode()).rstrip(b"="),
    ]


async def tables(url: str) -> dict[str, bytes]:
    """All rows of all tables of a ledger, as text and as the bytes of their bytea columns."""
    connection = await asyncpg.connect(url)
    try:
        found: dict[str, bytes] = {}
        for table, raw in await connection.fetch(_TABLES):
            kept: Iterable[str] = raw or []
            columns = ", ".join(["t::text", *kept])
            rows = await connection.fetch(f"SELECT {columns} FROM {_SCHEMA}.{table} t")  # noqa: S608  of the catalog
            found[f"table {table}"] = b"\n".join(
                value.encode() if isinstance(value, str) else value for row in rows for value in row if value
            )
    finally:
        await connection.close()
    assert len(found) > 20
    return found


def topics(kafka: KafkaSettings) -> dict[str, bytes]:
    """All that was published: keys, headers and values."""
    found = {}
    for topic in OUTBOUND:
        messages = read_topic(kafka, topic)
        found[f"topic {topic}"] = b"\n".join(
            b"\n".join((m.key.encode(), m.value, *m.headers.values())) for m in messages
        )
    return found
