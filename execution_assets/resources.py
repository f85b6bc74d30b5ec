"""What the assets, checks and sensors share: the ledger's database. Nothing connects before it is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Literal

import dagster as dg
from sqlalchemy import Connection, Engine, NullPool, create_engine

from ledger.db.urls import psycopg_url
from ledger.domain.decide import Policy
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.times import NANOS

POSTGRES_VARIABLE = "EXECUTION_AGENT_POSTGRES_URL"
STALE_VARIABLE = "EXECUTION_AGENT_STALE_SNAPSHOT_SECONDS"
PRICE_VARIABLE = "EXECUTION_AGENT_BENCHMARK_PRICE"


class LedgerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The ledger's Postgres, and the rules that the live process applies (they must be the same here)."""

    url: str
    stale_snapshot_seconds: str = "5"
    benchmark_price: str = "mid"

    def engine(self) -> Engine:
        """Make an engine. No pool: a run is short, and an idle connection is one the venues could use."""
        return create_engine(psycopg_url(self.url), poolclass=NullPool)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the ledger: the live process lands facts and results together."""
        engine = self.engine().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with engine.connect() as connection:
            yield connection

    def policy(self) -> Policy:
        """Give the rules' settings."""
        try:
            seconds = Decimal(self.stale_snapshot_seconds)
        except InvalidOperation:
            raise ValueError(
                f"{STALE_VARIABLE}={self.stale_snapshot_seconds!r}: a number of seconds is required"
            ) from None
        if self.benchmark_price not in {"mid", "microprice"}:
            raise ValueError(f"{PRICE_VARIABLE}={self.benchmark_price!r}: mid or microprice is required")
        price: Literal["mid", "microprice"] = "microprice" if self.benchmark_price == "microprice" else "mid"
        return Policy(SlippagePolicy(int(seconds * NANOS), price))
