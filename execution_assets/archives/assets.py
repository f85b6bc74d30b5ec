"""The assets ``fill_archive`` and ``audit_archive``: what must open in years, written once a day is checked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import dagster as dg
import psycopg
from pydantic import Field

from execution_assets.archives.access import hand_in
from execution_assets.archives.errors import ArchiveError, ArchiveSettingsError
from execution_assets.archives.library import Library, open_library
from execution_assets.archives.records import AUDIT, FILLS
from execution_assets.archives.settings import VARIABLES, ArchiveSettings, settings_from
from execution_assets.archives.writing import Archived, archive_day, doubts_of
from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.executions import RETRY, executions
from execution_assets.resources import LedgerResource
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import DERIVED, OWNER
from ledger.db.urls import plain_url
from trust.errors import KeyUnavailableError, TrustError

CODE_VERSION = "1"


class ArchiveResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The bucket, keys and retention of the archives; all of the environment, but for what is named here."""

    environment: dict[str, str] = Field(default_factory=dict)

    def settings(self) -> ArchiveSettings:
        """Give what is configured. Raises ``ArchiveSettingsError``."""
        named = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        return settings_from({**named, **self.environment})

    def library(self, settings: ArchiveSettings) -> Library:
        """Connect to the store and the keys. Raises ``TrustError``."""
        return open_library(settings, {**os.environ, **self.environment})


@dg.asset(
    deps=[executions, slippage_metrics, "fills", "orders"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"parquet", "s3"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.fill_archive",
    description=(
        "For compliance: all records of a trading date, by venue, as they must be kept for years. Every report "
        "with the bytes that the venue sent, the orders they belong to, the executions and slippages derived from "
        "them, and what could not be read. Encrypted, and locked in the object store (Object Lock, COMPLIANCE "
        "mode): nobody can change or delete it before its retention is over. Written when the day is over and its "
        "blocking checks have passed; if a fill comes later, another revision is written beside the first. "
        "To find, verify or open one: execution-agent archive."
    ),
)
def fill_archive(context: dg.AssetExecutionContext, ledger: LedgerResource, archive: ArchiveResource) -> None:
    """Archive the records of the run's trading dates."""
    _archive(context, ledger, archive, FILLS)


@dg.asset(
    deps=[executions, "audit_events_topic"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"parquet", "s3"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.audit_archive",
    description=(
        "For compliance: every decision that was recorded on a day (UTC), as the bytes that were published, in "
        "the order of the audit log's leaves, so that the signed checkpoints can be worked out from the archives. "
        "Encrypted and locked like fill_archive. Also hands in what was opened from the archives while Postgres "
        "was away."
    ),
)
def audit_archive(context: dg.AssetExecutionContext, ledger: LedgerResource, archive: ArchiveResource) -> None:
    """Archive the audit events of the run's days."""
    _archive(context, ledger, archive, AUDIT)


def _archive(
    context: dg.AssetExecutionContext, ledger: LedgerResource, archive: ArchiveResource, record_class: str
) -> None:
    with _told():
        settings = archive.settings()
        library = archive.library(settings)
        url = plain_url(ledger.url)
        if record_class == AUDIT and (handed := hand_in(library, url, log=context.log.error)):
            context.log.info("%d accesses to archives, made while Postgres was away, are audit events now", handed)

        def keep(day: date) -> dict[str, Any]:
            told = {"log": context.log.info, "fault": context.log.error}
            return metadata(archive_day(url, library, settings, record_class, day, **told), day)

        each_day(context, keep)


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong, and try again only what may pass by itself."""
    try:
        yield
    except (ArchiveSettingsError, KeyUnavailableError) as error:
        raise dg.Failure(str(error), allow_retries=isinstance(error, KeyUnavailableError)) from error
    except (ArchiveError, TrustError, psycopg.Error) as error:
        raise dg.Failure(str(error)) from error


def metadata(done: list[Archived], day: date) -> dict[str, Any]:
    """Show what became of a day."""
    manifests = [archived.listed.manifest for archived in done]
    lines = ["| venue | revision | table | rows | bytes | object |", "| --- | ---: | --- | ---: | ---: | --- |"]
    lines += [
        f"| {m.venue} | {m.revision} | {o.table} | {o.rows:,} | {o.size:,} | `{o.key}` |"
        for m in manifests
        for o in m.objects
    ]
    until = sorted(f"{m.retain_until:%Y-%m-%d}" for m in manifests)
    return {
        "dagster/row_count": sum(m.rows for m in manifests),
        "objects": sum(len(m.objects) for m in manifests),
        "bytes": sum(m.size for m in manifests),
        "seconds": round(sum(archived.seconds for archived in done), 3),
        "new_revisions": sum(archived.is_new for archived in done),
        "held": sum(archived.is_held for archived in done),
        "doubtful": doubts_of(done),
        "retain_until": until[0] if until else "-",
        "manifests": [m.key for m in manifests],
        "archived": dg.MetadataValue.md("\n".join(lines) if manifests else f"nothing was recorded on {day}"),
    }
