"""A derived table's rows of one day made what was derived: only rows that differ are written.

A row is a list of texts, as ``COPY`` takes them: numbers in plain notation without trailing zeros, a null is None.
Postgres makes the same text of the live rows and hands out its hash only (as ``ledger.domain.digest`` does for
executions), so a day that is as derived is neither fetched nor written.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Date, Numeric, Uuid

from ledger.db import tables
from ledger.domain.digest import FIELD, NULL, digest_of_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date
    from pathlib import Path
    from typing import BinaryIO

    from sqlalchemy import Connection

Row = list[str | None]
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_FETCHED = 5_000


class Changes(msgspec.Struct):
    """What a day's derivation of one table changes; ``sample`` has keys, at most twenty of a kind."""

    asset: str
    day: str
    digest: str = ""
    rows: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    sample: dict[str, list[str]] = msgspec.field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows are not as derived."""
        return self.added + self.changed + self.removed

    def note(self, what: str, key: str) -> None:
        """Keep a key as an example."""
        known = self.sample.setdefault(what, [])
        if len(known) < 20:  # noqa: PLR2004  enough to look at
            known.append(key)


class Sheet:
    """A table of ``ledger.db.tables`` with a row a key and day. ``key`` names the column beside ``trade_date``."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        table = tables.metadata.tables[f"{tables.SCHEMA}.{name}"]
        columns = [c for c in table.columns if c.computed is None]
        self.columns = [c.name for c in columns]
        self.key = key
        self._at = self.columns.index(key)
        texts = []
        for column in columns:
            shown = f"trim_scale({column.name})" if isinstance(column.type, Numeric) else column.name
            if isinstance(column.type, Uuid):
                shown = f"replace(CAST({column.name} AS text), '-', '')"
            elif isinstance(column.type, Date):
                shown = f"to_char({column.name}, 'YYYY-MM-DD')"
            texts.append(f"coalesce(CAST({shown} AS text), E'\\x1e')")
        self._is_uuid = isinstance(table.columns[key].type, Uuid)
        keys = "CAST(%(keys)s AS text[])"
        if self._is_uuid:
            keys = "CAST(string_to_array(%(keys)s, ',') AS uuid[])"
        kind = "uuid" if self._is_uuid else "text"
        self._entries = (
            f"SELECT {texts[self._at]} AS key, "  # noqa: S608  names of declared columns
            f"sha256(convert_to(concat_ws(E'\\x1f', {', '.join(texts)}), 'UTF8')) AS entry "
            f"FROM execution.{name} WHERE trade_date = %(day)s"
        )
        self._entries_by_key = f"{self._entries} AND {key} = ANY({keys})"
        self._remove = (
            f"DELETE FROM execution.{name} "  # noqa: S608
            f"WHERE trade_date = %(day)s AND {key} = ANY(CAST(%(keys)s AS {kind}[]))"
        )
        self._count = f"SELECT count(*) FROM execution.{name} WHERE trade_date = %(day)s"  # noqa: S608

    def entry(self, row: Row) -> bytes:
        """Give the hash of a row."""
        return sha256(FIELD.join([NULL if v is None else v for v in row]).encode()).digest()

    def key_of(self, row: Row) -> str:
        """Give the key of a row."""
        key = row[self._at]
        assert key is not None, "a key is not null"
        return key

    def live(self, connection: Connection, day: date, keys: Sequence[str] | None = None) -> dict[str, bytes]:
        """Ask for the hashes of live rows, of these keys or of all."""
        query, parameters = self._entries, {"day": day, "keys": list(keys or ())}
        if keys is not None:
            query = self._entries_by_key
            if self._is_uuid:
                parameters["keys"] = ",".join(keys)  # a list of texts takes ten times as long to pass
        cursor: Any = _driver(connection).execute(query, parameters, binary=True)
        return dict(cursor.fetchall())

    def count(self, connection: Connection, day: date) -> int:
        """Count the live rows of a day."""
        return int(_driver(connection).execute(self._count, {"day": day}).fetchone()[0])

    def write(self, connection: Connection, day: date, files: Iterable[Path]) -> None:
        """Insert the rows of ``files`` (lines of ``COPY``), or replace those that are there."""
        driver = _driver(connection)
        columns = ", ".join(self.columns)
        if not self.count(connection, day):
            self._copy(connection, f"execution.{self.name} ({columns})", files)
            return
        driver.execute(
            f"CREATE TEMP TABLE fresh_{self.name} ON COMMIT DROP AS "  # noqa: S608
            f"SELECT {columns} FROM execution.{self.name} WITH NO DATA"
        )
        self._copy(connection, f"fresh_{self.name} ({columns})", files)
        others = ", ".join(f"{c} = excluded.{c}" for c in self.columns if c not in {self.key, "trade_date"})
        driver.execute(
            f"INSERT INTO execution.{self.name} ({columns}) SELECT {columns} FROM fresh_{self.name} "  # noqa: S608
            f"ON CONFLICT ({self.key}, trade_date) DO UPDATE SET {others}"
        )
        driver.execute(f"DROP TABLE fresh_{self.name}")

    def remove(self, connection: Connection, day: date, keys: Sequence[str]) -> None:
        """Remove rows."""
        for start in range(0, len(keys), _FETCHED):
            _driver(connection).execute(self._remove, {"day": day, "keys": list(keys[start : start + _FETCHED])})

    @staticmethod
    def _copy(connection: Connection, into: str, files: Iterable[Path]) -> None:
        with _driver(connection).cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
            for path in files:
                with path.open("rb") as lines:
                    while data := lines.read(1 << 20):
                        copy.write(data)


class Compared:
    """Derived rows of a share of a day, compared as they come; those that differ go to a file."""

    def __init__(self, sheet: Sheet, connection: Connection, day: date, path: Path) -> None:
        self.sheet = sheet
        self.changes = Changes(sheet.name, day.isoformat())
        self.entries = bytearray()  # 64 bytes a row: the hash of its key, its own
        self.matched = 0
        self._connection = connection
        self._day = day
        self._path = path
        self._file: BinaryIO | None = None
        self._is_new = not sheet.count(connection, day)  # of the transaction's moment, so it stays so

    def put(self, rows: Sequence[Row]) -> None:
        """Take derived rows up."""
        sheet, changes = self.sheet, self.changes
        keys = [sheet.key_of(row) for row in rows]
        live = self._live(keys)
        changes.rows += len(rows)
        for key, row in zip(keys, rows, strict=True):
            entry = sheet.entry(row)
            self.entries += sha256(key.encode()).digest() + entry
            known = live.get(key)
            if known == entry:
                continue
            if known is None:
                changes.added += 1
                changes.note("added", key)
            else:
                changes.changed += 1
                changes.note("changed", key)
            self._write(row)

    def put_columns(self, columns: Sequence[pa.Array]) -> None:
        """Take derived rows up that are columns of texts, in the order of the sheet's."""
        changes = self.changes
        keys: list[str] = columns[self.sheet.columns.index(self.sheet.key)].to_pylist()
        live = self._live(keys)
        changes.rows += len(keys)
        texts = pc.binary_join_element_wise(*columns, FIELD, null_handling="replace", null_replacement=NULL)
        entries = [sha256(text).digest() for text in texts.cast(pa.binary()).to_pylist()]
        for key, entry in zip(keys, entries, strict=True):
            self.entries += sha256(key.encode()).digest() + entry
        unequal = [n for n, key in enumerate(keys) if live.get(key) != entries[n]]
        for n in unequal:
            what = "changed" if keys[n] in live else "added"
            changes.note(what, keys[n])
        changed = sum(keys[n] in live for n in unequal)
        changes.changed += changed
        changes.added += len(unequal) - changed
        if unequal:
            chosen = (
                columns if len(unequal) == len(keys) else [column.take(pa.array(unequal)) for column in columns]
            )
            self._write_columns(chosen)

    def _live(self, keys: Sequence[str]) -> dict[str, bytes]:
        live = {} if self._is_new or not keys else self.sheet.live(self._connection, self._day, keys)
        self.matched += len(live)
        return live

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, row: Row) -> None:
        line = "\t".join(["\\N" if v is None else v.translate(_ESCAPES) if _is_special(v) else v for v in row])
        self._opened().write(line.encode() + b"\n")

    def _write_columns(self, columns: Sequence[pa.Array]) -> None:
        lines = pc.binary_join_element_wise(
            *map(_escaped, columns), "\t", null_handling="replace", null_replacement="\\N"
        )
        self._opened().write("\n".join(lines.to_pylist()).encode() + b"\n")

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("wb")
        return self._file


def _is_special(value: str) -> bool:
    return "\\" in value or "\t" in value or "\n" in value or "\r" in value


def _escaped(column: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(column, r"[\\\t\n\r]")).as_py():
        return column
    return pa.array([None if v is None else v.translate(_ESCAPES) for v in column.to_pylist()], pa.string())


def settle(
    sheet: Sheet,
    connection: Connection,
    day: date,
    changes: Changes,
    entries: bytes,
    matched: int,
    folder: Path,
    *,
    write: bool = True,
) -> Changes:
    """Finish a day: write what differs, remove what is not derived any more, give the changes with the digest.

    ``folder`` has the files of the shares; ``matched`` counts the live rows whose keys were derived. Without
    ``write`` the changes are told only.
    """
    whole = [entries[start : start + 64] for start in range(0, len(entries), 64)]
    if sheet.count(connection, day) != matched:
        derived = {entry[:32] for entry in whole}
        gone = [k for k in sheet.live(connection, day) if sha256(k.encode()).digest() not in derived]
        changes.removed = len(gone)
        for key in gone:
            changes.note("removed", key)
        if write:
            sheet.remove(connection, day, gone)
    files = sorted(folder.glob(f"*.{sheet.name}"))
    if files and write:
        sheet.write(connection, day, files)
    changes.digest = digest_of_entries(whole)
    return changes


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def batched(rows: Iterable[Row], count: int = _FETCHED) -> Iterator[list[Row]]:
    """Give rows in lists."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= count:
            yield batch
            batch = []
    if batch:
        yield batch
