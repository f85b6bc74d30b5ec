"""Writes what is to be kept of a day: read in one moment, encrypted row group by row group, locked, listed."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.archives.digest import RowsDigest
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.holds import orders
from execution_assets.archives.keeping import hold, note_held
from execution_assets.archives.ledger import connect
from execution_assets.archives.manifest import (
    ArchivedObject,
    Listed,
    Manifest,
    PassedOver,
    manifest_key,
    object_key,
    write_manifest,
)
from execution_assets.archives.reading import Reader, reading
from execution_assets.archives.records import SCHEMA_VERSION, SQL, Part, day_before, parts_of, prepare
from trust.envelope import seal
from trust.errors import AlreadyStoredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    import psycopg
    import pyarrow as pa

    from execution_assets.archives.library import Library, Manifests
    from execution_assets.archives.settings import ArchiveSettings

_AT_ONCE = 2  # venues: one is read while another is compressed; each costs the memory of its row groups
# texts that repeat; a dictionary of the others would be their whole column again
_REPEATED = {
    "venue", "account", "symbol", "side", "kind", "currency", "fee_currency", "liquidity", "feed", "status",
    "quality", "quality_reason", "match_rule", "action", "exec_type", "ord_status", "event_type",
    "recorded_by", "reason",
}  # fmt: skip


class Archived(msgspec.Struct, frozen=True):
    """What became of a part: its newest manifest, whether it was written now, whether a legal hold keeps it.

    ``doubts``: what lies below the holds or the day's manifests, whatever the venue, and is none of ours, a line
    each.
    """

    listed: Listed
    is_new: bool
    seconds: float
    is_held: bool = False
    doubts: tuple[str, ...] = ()


class _Calendar(msgspec.Struct, frozen=True):
    """What else there is to archive: the day's venues, and the last day before it."""

    venues: tuple[str, ...]
    before: Any  # a date, or None


def archive_day(
    url: str,
    library: Library,
    settings: ArchiveSettings,
    record_class: str,
    day: date,
    log: Callable[[str], None] = lambda _: None,
    fault: Callable[[str], None] = lambda _: None,
) -> list[Archived]:
    """Archive all that Postgres has of a day. What did not change since the last revision is left alone.

    ``fault`` hears of what stops nothing and somebody should look at: holds and manifests that are none of ours.
    Raises ``ArchiveError``, ``TrustError``, ``psycopg.Error``; what is done before it stays done.
    """
    library.store.check()
    library.publish_key(settings.retain_until(record_class, day, datetime.now(UTC)))
    with connect(url) as connection:
        with connection.transaction():
            prepare(connection)
            asked = {"record_class": record_class, "day": day}
            dropped = connection.execute(SQL["was_dropped"].encode(), asked).fetchone()
            if dropped is not None and dropped[0]:
                raise ArchiveError(
                    f"{record_class} of {day}: its partitions were dropped after it was archived; what is left in "
                    "Postgres is not that day"
                )
            parts = parts_of(connection, record_class, day)
            calendar = _Calendar(tuple(part.venue for part in parts), day_before(connection, record_class, day))

            found = library.manifests(record_class, day, day)
            for doubt in found.doubts():
                fault(doubt)

            def one(part: Part) -> Archived:
                with reading(connection, url) as rows:
                    return _archive(rows, library, settings, part, calendar, found)

            done = []
            with ThreadPoolExecutor(_AT_ONCE, "archive") as pool:
                for archived in pool.map(one, parts):
                    done.append(archived)
                    log(shown(archived))
        with connection.transaction():
            for archived in done:
                record(connection, archived.listed)
    for doubt in sorted({*doubts_of(done)} - {*found.doubts()}):
        fault(doubt)
    for archived in done:
        if archived.is_held:
            note_held(url, [archived.listed], on=True)
    return done


def doubts_of(done: Iterable[Archived]) -> list[str]:
    """Give what was doubtful, each once."""
    return sorted({doubt for archived in done for doubt in archived.doubts})


def shown(archived: Archived) -> str:
    """Say in a line what became of a part."""
    manifest = archived.listed.manifest
    verb = "archived" if archived.is_new else "is as archived:"
    return f"{manifest.name} {verb} {manifest.rows:,} rows, {manifest.size:,} bytes, {archived.seconds:.1f} s"


def _archive(
    rows: Reader,
    library: Library,
    settings: ArchiveSettings,
    part: Part,
    calendar: _Calendar,
    found: Manifests,
) -> Archived:
    """Archive one part. A legal hold is looked for once its manifest is there, see ``holds``."""
    archived = _newest(rows, library, settings, part, calendar, found)
    ordered = orders(library, part.record_class)
    archived = msgspec.structs.replace(archived, doubts=(*found.doubts(), *ordered.doubts()))
    if not ordered.is_held(part.day, part.venue):
        return archived
    known = library.manifests(part.record_class, part.day, part.day, part.venue)
    loose = [o for o in known.listed if not library.store.lock(o.stored.key, o.stored.version).legal_hold]
    hold(library, loose, on=True)
    return msgspec.structs.replace(archived, is_held=True)


def _newest(
    rows: Reader,
    library: Library,
    settings: ArchiveSettings,
    part: Part,
    calendar: _Calendar,
    found: Manifests,
) -> Archived:
    began = time.monotonic()
    known = [o for o in found.listed if o.manifest.venue == part.venue]
    if known:
        now = {table: digest_rows(blocks) for table, blocks in rows.tables(part)}
        if now == known[-1].manifest.digests:
            return Archived(known[-1], is_new=False, seconds=time.monotonic() - began)
    passed = _passed_over(found, part, known[-1].manifest.revision if known else 0)
    revision = (known[-1].manifest.revision if known else 0) + len(passed) + 1
    moment = datetime.now(UTC)
    until = settings.retain_until(part.record_class, part.day, moment)
    attempt = secrets.token_hex(4)
    objects = tuple(
        _write(library, blocks, table, object_key(part, revision, attempt, table), until)
        for table, blocks in rows.tables(part)
    )
    manifest = Manifest(
        part.record_class, part.day, part.venue, revision, moment, until,
        known[-1].stored.sha256 if known else None, objects, calendar.venues, calendar.before,
        passed,
    )  # fmt: skip
    try:
        stored = library.store.put(manifest.key, write_manifest(manifest, library.signer), until)
    except AlreadyStoredError as error:
        raise ArchiveError(
            f"{manifest.name}: another process has archived it meanwhile; run it again to compare"
        ) from error
    listed = Listed(manifest, stored, str(library.signer.key))
    return Archived(listed, is_new=True, seconds=time.monotonic() - began)


def _passed_over(found: Manifests, part: Part, revision: int) -> tuple[PassedOver, ...]:
    """Give what lies under the numbers after a revision and is none of ours, as far as we know, up to a free one.

    If it is ours and its key is named later, the chain says that it was passed over.
    """
    passed: list[PassedOver] = []
    while True:
        key = manifest_key(part.record_class, part.day, part.venue, revision + len(passed) + 1)
        if key not in found.doubtful:
            return tuple(passed)
        stored = found.doubtful[key].stored
        passed.append(PassedOver(key, stored.version, stored.sha256))


def _write(library: Library, blocks: Iterable[pa.Table], table: str, key: str, until: datetime) -> ArchivedObject:
    """Write one file: encrypted on this machine, its key material first, so that no file is without it."""
    import pyarrow.parquet as pq  # noqa: PLC0415  0.3 s that loading the definitions must not cost

    material, properties = seal(library.keys, key)
    digest = RowsDigest()
    with TemporaryDirectory(prefix="execution-agent-") as folder:
        path = Path(folder) / "encrypted.parquet"
        writer: Any = None
        for block in blocks:
            if writer is None:
                writer = pq.ParquetWriter(
                    path,
                    block.schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=[name for name in block.column_names if name in _REPEATED],
                    encryption_properties=properties,
                )
            writer.write_table(block, row_group_size=block.num_rows or None)
            digest.update(block)
        assert writer is not None, "a table without rows has a header"
        writer.close()
        held = ArchivedObject(
            table, key, "", "", 0, digest.rows, digest.hexdigest(), library.keys.key_id, SCHEMA_VERSION
        )
        library.store.put_unlocked(held.material_key, material.json())
        stored = library.store.put_file(key, path, until)
    return msgspec.structs.replace(held, version=stored.version, sha256=stored.sha256, size=stored.size)


def digest_rows(blocks: Iterable[pa.Table]) -> str:
    """Give the digest of rows without keeping them."""
    digest = RowsDigest()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def record(connection: psycopg.Connection[Any], listed: Listed) -> None:
    """Write the manifest's rows; those that are there stay."""
    manifest = listed.manifest
    for held in manifest.objects:
        row = {
            "object_key": held.key, "object_version": held.version, "record_class": manifest.record_class,
            "table_name": held.table, "trade_date": manifest.trade_date, "venue": manifest.venue,
            "revision": manifest.revision, "digest": held.digest, "sha256": held.sha256, "size_bytes": held.size,
            "row_count": held.rows, "key_id": held.key_id, "retain_until": manifest.retain_until,
            "schema_version": held.schema_version, "manifest_key": manifest.key,
        }  # fmt: skip
        connection.execute(SQL["record"].encode(), row)
