"""Drops a day's partitions from Postgres, and only what the archive has given back equal."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from execution_assets.archives.access import DROPPED, keep, receipt_of, tell
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.leaves import note_dropped, proven_pieces
from execution_assets.archives.ledger import connect
from execution_assets.archives.library import newest
from execution_assets.archives.reading import reading
from execution_assets.archives.records import AUDIT, FILLS, SQL, parts_of, prepare
from execution_assets.archives.verifying import verify_object
from execution_assets.archives.writing import digest_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    import psycopg
    import pyarrow as pa

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject, Manifest
    from trust.bucket_log import BucketLog

# what goes; orders and dead letters have no partitions, and later days refer to them
_PARTITIONED = {FILLS: ("fills", "order_reports", "executions", "slippage_metrics"), AUDIT: ("audit_events",)}


class DroppedDay(msgspec.Struct, frozen=True):
    """The partitions that went, and the rows that the archive gave back."""

    tables: tuple[str, ...]
    rows: int


def drop_day(
    url: str,
    library: Library,
    record_class: str,
    day: date,
    reason: str,
    *,
    auditor: str | None = None,
    logged: BucketLog | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> DroppedDay:
    """Drop a day's partitions once each row is read back from the locked store, decrypted and found equal.

    The partitions are locked against writing meanwhile, so nothing can land that is not archived. Who drops is
    the login of ``url``, the schema's owner; ``auditor``: the person who has it dropped, as their own login has
    shown. ``logged`` is the bucket of the audit log: audit events go only when it has a leaf of each that was read
    back. Raises ``ArchiveError`` saying what is missing; then nothing was dropped.
    """
    if day >= datetime.now(UTC).date():
        raise ArchiveError(f"{record_class} of {day}: the day is not over")
    with connect(url) as before:
        children = _children(before, record_class, day)
    with connect(url) as connection, connection.transaction():
        prepare(connection)
        for child in children:  # before any query: what commits while the lock is waited for must be seen
            connection.execute(sql.SQL("LOCK TABLE execution.{} IN EXCLUSIVE MODE").format(sql.Identifier(child)))
        _finished(connection, record_class, day)
        rows, objects = _read_back(connection, url, library, record_class, day, log)
        for child in children:
            table = child.rpartition("_")[0]
            _covered(connection, child, table, rows[table])
        pieces = proven_pieces(connection, library, logged, day) if record_class == AUDIT else []
        if pieces:
            log(f"{sum(rows.values()):,} leaves worked out from the archive are those of the audit log")
        asked = {
            "record_class": record_class, "trade_date": day.isoformat(), "partitions": " ".join(children),
            **({"leaves": " ".join(f"{first}-{last}" for first, last in pieces)} if pieces else {}),
            **({"auditor": auditor} if auditor else {}),
            **library.left_out(),
        }  # fmt: skip
        receipt = tell(connection, receipt_of(DROPPED, reason, asked, objects))
        for child in children:
            connection.execute(sql.SQL("DROP TABLE execution.{}").format(sql.Identifier(child)))
        note_dropped(connection, pieces, day)
        connection.execute(SQL["dropped"].encode(), {"record_class": record_class, "day": day})
        keep(library, receipt)
    return DroppedDay(tuple(children), rows.total())


def _read_back(
    connection: psycopg.Connection[Any],
    url: str,
    library: Library,
    record_class: str,
    day: date,
    log: Callable[[str], None],
) -> tuple[Counter[str], list[ArchivedObject]]:
    """Read each file of a day back and compare it with the rows; give their number by table, and the files."""
    archived = {o.manifest.venue: o for o in newest(library.listed(record_class, day, day))}
    rows: Counter[str] = Counter()
    objects = []
    with reading(connection, url) as reader:  # ended before the partitions go, which it would lock
        for part in parts_of(connection, record_class, day):
            if part.venue not in archived:
                raise ArchiveError(f"{record_class} of {day}, {part.venue}: there is no archive of it")
            manifest = archived[part.venue].manifest
            for table, blocks in reader.tables(part):
                held = _equal(library, manifest, table, blocks)
                rows[table] += held.rows
                objects.append(held)
                log(f"{manifest.name}, {table}: read back, decrypted, equal")
    return rows, objects


def _equal(library: Library, manifest: Manifest, table: str, blocks: Iterable[pa.Table]) -> ArchivedObject:
    """Give a table's file once it was read back and has the rows of Postgres."""
    held = next((held for held in manifest.objects if held.table == table), None)
    if held is None:
        raise ArchiveError(f"{manifest.name}: there is no archive of {table}")
    wrong = verify_object(library, manifest, held).wrong
    if wrong:
        raise ArchiveError(f"{manifest.name}, {table}: {'; '.join(wrong)}")
    if held.digest != digest_rows(blocks):
        raise ArchiveError(
            f"{manifest.name}, {table}: Postgres has other rows since it was archived: archive the day again"
        )
    return held


def _children(connection: psycopg.Connection[Any], record_class: str, day: date) -> list[str]:
    named = [f"{table}_{day:%Y%m%d}" for table in _PARTITIONED[record_class]]
    there = [
        name
        for name in named
        if (row := connection.execute("SELECT to_regclass(%s)", [f"execution.{name}"]).fetchone()) and row[0]
    ]
    if not there:
        raise ArchiveError(f"{record_class} of {day}: it has no partitions of its own ({', '.join(named)})")
    return there


def _finished(connection: psycopg.Connection[Any], record_class: str, day: date) -> None:
    """Refuse a day on which something still waits."""
    query = "unfinished" if record_class == FILLS else "unpublished"
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(SQL[query].encode(), {"day": day}).fetchone() or {}
    waiting = [f"{count} {name}" for name, count in found.items() if count]
    if waiting:
        raise ArchiveError(f"{record_class} of {day}: still open: {', '.join(waiting)}")


def _covered(connection: psycopg.Connection[Any], child: str, table: str, counted: int) -> None:
    """Refuse where a partition holds rows that no part of the archive has."""
    statement = sql.SQL("SELECT count(*) FROM execution.{}").format(sql.Identifier(child))
    row = connection.execute(statement).fetchone()
    there = row[0] if row is not None else 0
    if there != counted:
        raise ArchiveError(
            f"{table}: its partition {child} has {there} rows, the archive {counted}: archive it again"
        )
