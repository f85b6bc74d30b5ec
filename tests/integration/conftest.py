"""Fixtures of the desk: a ledger that is landed to, and two persons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.database import connected
from tests.integration.floor import Floor
from tests.integration.people import Person, person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def floor(ledger_url: str) -> AsyncIterator[Floor]:
    async with connected(ledger_url) as watching:
        yield Floor(ledger_url, watching)


@pytest.fixture
def alice(ledger_url: str) -> Iterator[Person]:
    with person(ledger_url, "alice") as who:
        yield who


@pytest.fixture
def bob(ledger_url: str) -> Iterator[Person]:
    with person(ledger_url, "bob") as who:
        yield who
