"""Decrypts chosen rows to files that people can open, with a receipt."""

from __future__ import annotations

import base64
import csv
import json
import os
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from execution_assets.archives.access import PULLED, Receipt, complete, record_access
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.library import objects_of
from operations.archive.choosing import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject
    from operations.archive.choosing import Choice

FORMATS = ("parquet", "csv", "json")


class Pulled(msgspec.Struct, frozen=True):
    """The files that were written, and where the receipt is."""

    receipt: Receipt
    outputs: tuple[dict[str, str], ...]
    receipt_path: Path


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


def pull(
    library: Library,
    choice: Choice,
    tables: tuple[str, ...],
    folder: Path,
    kind: str,
    reason: str,
    *,
    url: str | None,
    claimed: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Pulled:
    """Write the chosen rows of each table to ``folder``, a file a table, and the receipt beside them.

    It is recorded before anything is decrypted. Raises ``ArchiveError``, ``TrustError``.
    """
    if kind not in FORMATS:
        raise ArchiveError(f"--format {kind!r}: one of {', '.join(FORMATS)} is required")
    listed = choose(library, choice)
    named = choice.tables(tables)
    wanted = {table: choice.wanted(table) for table in named}
    files = {table: objects_of(listed, table) for table in named}
    paths = {table: folder / f"{table}.{kind}" for table in named}
    _room(folder, [*paths.values(), folder / "receipt.note"])
    asked = {**choice.asked, "tables": ",".join(named), "format": kind, **library.left_out()}
    given = [held for table in named for held in files[table]]
    receipt = record_access(library, url, PULLED, reason, asked, given, claimed)
    outputs = []
    for table in named:
        log(f"{table}: {len(files[table])} files, {sum(held.rows for held in files[table]):,} rows")
        outputs.append(_write(library, files[table], wanted[table], paths[table], kind))
    path = folder / "receipt.note"
    with _private(path) as file:
        file.write(complete(library, receipt, outputs))
    return Pulled(receipt, tuple(outputs), path)


def _room(folder: Path, paths: list[Path]) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"--output {folder}: {error.strerror}") from error
    there = [path.name for path in paths if path.exists()]
    if there:
        raise ArchiveError(f"--output {folder}: {', '.join(there)} is there already: name another folder")


def _private(path: Path, mode: str = "wb", **text: str) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), mode, **text)  # type: ignore[call-overload]


def _write(
    library: Library, files: list[ArchivedObject], wanted: dict[str, str], path: Path, kind: str
) -> dict[str, str]:
    writer: _Writer | None = None
    rows = 0
    for held in files:
        sha256, size = library.store.digest(held.key, held.version)
        if (sha256, size) != (held.sha256, held.size):
            raise ArchiveError(
                f"{held.key}: SHA-256 {held.sha256} is required, was {sha256}: nothing of it is given"
            )
        for whole in library.tables(held):
            table = matching(whole, wanted)
            if writer is None:
                writer = _writer(kind, path, table.schema)
            writer.write(table)
            rows += table.num_rows
    if writer is None:
        _private(path).close()
    else:
        writer.close()
    with path.open("rb") as file:
        return {"file": path.name, "rows": str(rows), "sha256": file_digest(file, "sha256").hexdigest()}


def matching(table: pa.Table, wanted: dict[str, str]) -> pa.Table:
    """Give the rows whose columns say what is wanted."""
    import pyarrow.compute as pc  # noqa: PLC0415

    for name, value in wanted.items():
        table = table.filter(pc.fill_null(pc.equal(table[name], value), fill_value=False))
    return table


def _writer(kind: str, path: Path, schema: pa.Schema) -> _Writer:
    if kind == "parquet":
        return _Parquet(path, schema)
    return _Csv(path, schema) if kind == "csv" else _Json(path)


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._file = _private(path)
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()
        self._file.close()


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = _private(path, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(schema.names)

    def write(self, table: pa.Table) -> None:
        columns = [column.to_pylist() for column in table.columns]
        self._writer.writerows([_shown(value) for value in row] for row in zip(*columns, strict=True))

    def close(self) -> None:
        self._file.close()


class _Json:
    def __init__(self, path: Path) -> None:
        self._file = _private(path, "w", encoding="utf-8")

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._file.write(json.dumps({name: _shown(value) for name, value in row.items()}) + "\n")

    def close(self) -> None:
        self._file.close()


def _shown(value: object) -> object:
    """Bytes as base64, which gives them back exactly; a date as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int) else str(value)
