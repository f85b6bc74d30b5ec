"""The digest of an archive's rows: the same from Postgres, from the file, and whatever the row groups."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION = "rows-v1"


class RowsDigest:
    """Takes tables of one schema one after the other.

    A column has two hashes: over its values' lengths (int32 little-endian, -1 for null; of fixed-size values 1
    or -1) and over its values' bytes without nulls (texts as UTF-8, integers and dates as int64 little-endian).
    The digest is SHA-256 over a JSON of version, number of rows, and each column's name with its hashes.
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[Any, Any]] = {}
        self.rows = 0

    def update(self, table: pa.Table) -> None:
        """Take a table's rows."""
        for name in table.column_names:
            lengths, values = self._columns.setdefault(name, (sha256(), sha256()))
            for chunk in table.column(name).chunks:
                _take(chunk, lengths, values)
        self.rows += table.num_rows

    def hexdigest(self) -> str:
        """Give the digest of all rows taken so far."""
        columns = [[name, a.hexdigest(), b.hexdigest()] for name, (a, b) in self._columns.items()]
        return sha256(msgspec.json.encode([_VERSION, self.rows, columns])).hexdigest()


def _take(chunk: pa.Array, lengths: Any, values: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_date32(chunk.type):
        chunk = chunk.cast(pa.int32()).cast(pa.int64())
    if pa.types.is_int64(chunk.type):
        said = pc.if_else(pc.is_valid(chunk), pa.scalar(1, pa.int32()), pa.scalar(-1, pa.int32()))
        lengths.update(_bytes_of(said))
        values.update(_bytes_of(chunk.drop_null()))
        return
    if not (pa.types.is_string(chunk.type) or pa.types.is_binary(chunk.type)):
        raise TypeError(f"no digest is defined for values of {chunk.type}")
    lengths.update(_bytes_of(pc.fill_null(pc.binary_length(chunk), -1).cast(pa.int32())))
    held = chunk.drop_null()
    if len(held):
        _, offsets, data = held.buffers()
        ends = memoryview(offsets).cast("i")
        values.update(memoryview(data)[ends[held.offset] : ends[held.offset + len(held)]])


def _bytes_of(array: pa.Array) -> bytes:
    data: bytes = array.to_numpy(zero_copy_only=False).tobytes()
    return data
