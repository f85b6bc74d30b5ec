"""Numbers as the landing writes them, against what Postgres makes of their text."""

from __future__ import annotations

import random
from decimal import Decimal

import asyncpg
import pytest

from ledger.db.numerics import encode_numeric, use_numerics
from tests.integration.database import connected

_EDGES = (
    "0", "0.00", "-0.0", "1", "-1", "10", "9999", "10000", "10001", "99999999", "100000000", "0.1", "0.0001",
    "0.00001", "0.000000000000000001", "-0.00010001", "1.50", "1.500000000000", "60000.25", "-8.126689764451",
    "1234567890123456.000000000001", "999999999999999999.999999999999999999", "-999999999999999999",
    "1E+3", "1E-9",
)  # fmt: skip


def _numbers() -> list[Decimal]:
    drawn = random.Random(7)
    made = [
        Decimal(drawn.randrange(-(10**digits), 10**digits)).scaleb(-drawn.randrange(19))
        for digits in range(1, 37)
        for _ in range(40)
    ]
    return [*map(Decimal, _EDGES), *made]


async def test_a_number_is_stored_and_read_back_as_its_text_says(database_url: str) -> None:
    wanted = _numbers()
    async with connected(database_url) as connection:
        await connection.execute("CREATE TABLE public.numbers (n bigint, was text, became numeric)")
        await use_numerics(connection)
        await connection.copy_records_to_table(
            "numbers",
            schema_name="public",
            records=[(n, f"{value:f}", value) for n, value in enumerate(wanted)],
        )
        differing = await connection.fetch(
            "SELECT was, became::text FROM public.numbers WHERE became::text <> was::numeric::text"
        )
        read = await connection.fetch("SELECT n, became FROM public.numbers ORDER BY n")
    assert differing == []
    assert [f"{row['became']:f}" for row in read] == [
        f"{value:f}".removeprefix("-" * (not value)) for value in wanted
    ]


async def test_what_is_not_finite_is_refused(database_url: str) -> None:
    for text in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match="finite"):
            encode_numeric(Decimal(text))
        async with connected(database_url) as connection:
            await use_numerics(connection)
            with pytest.raises((ValueError, asyncpg.DataError)):
                await connection.fetchval(f"SELECT '{text}'::numeric")
