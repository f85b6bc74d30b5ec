"""Every row of a log edited, deleted and moved, one at a time: the verification that the command runs names each.

The log is a real one. Each change is made to what was read of it, which takes milliseconds where Postgres would
take hours; ``test_audit_command`` has a sample of the same changes in Postgres, through the command.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from ledger.db.audit_entries import AuditRow
from operations.audit.outside import Outside, look
from operations.audit.reading import Log, Row, connected
from operations.audit.verifying import Verdict, compare
from tests.integration.audit_stage import ORIGIN, AuditStage
from trust.bucket_log import BucketLog
from trust.locked_store import LockedStore
from trust.merkle import leaf_hash
from trust.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import psycopg
    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

EVENTS = WIDTH + 10  # a full tile, and one that is not


class Changed(Log):
    """The log of a ledger with other rows in place of its own; what was read is kept."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        super().__init__(connection)
        self._kept: dict[str, list[Row]] = {}
        self.stored = list(super().rows(self.grown().last))
        self.now: Sequence[AuditRow] = self.stored
        self.tiles_agree = False

    def rows(self, last: tuple[int, int], after: tuple[int, int] = (0, 0)) -> Iterator[AuditRow]:
        assert (last, after) == (self.grown().last, (0, 0))
        return iter(self.now)

    def leaves(self, first: int = 0) -> Iterator[bytes]:
        """As whoever changed the rows has made them, or as they were."""
        if not self.tiles_agree:
            return super().leaves(first)
        return (leaf_hash(row.entry()) for row in self.now[first * WIDTH :])

    def _fetch(self, query: str, **arguments: object) -> list[Row]:
        asked = f"{query} {arguments}"
        if asked not in self._kept:
            self._kept[asked] = super()._fetch(query, **arguments)
        return self._kept[asked]


class Kept(BucketLog):
    """The bucket; a tile that was read is kept."""

    @cached_property
    def _read(self) -> dict[Tile, bytes | None]:
        return {}

    def tile(self, tile: Tile) -> bytes | None:
        if tile not in self._read:
            self._read[tile] = super().tile(tile)
        return self._read[tile]


class Edited(AuditRow, frozen=True):
    """A row whose entry has another bit; any of its bits, also those that say how long a column is."""

    other: bytes

    def entry(self) -> bytes:
        return self.other


class Case:
    """One log, what the bucket says of it, and its rows."""

    def __init__(self, stage: AuditStage, log: Changed, outside: Outside) -> None:
        self.log, self._outside, self._keys = log, outside, [stage.signer.key]

    def verdict(self, rows: Sequence[AuditRow], *, bucket: bool = True) -> Verdict:
        self.log.now = rows
        outside = self._outside if bucket else Outside.of_none()
        return compare(self.log, outside, self._keys, lambda *_: None)


@pytest.fixture
async def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path) -> AuditStage:
    made = AuditStage(endpoints, ledger_url, worm_bucket, tmp_path)
    made.insert(EVENTS)
    async with made.checkpointing() as maker:
        await made.settled(maker)
    return made


@pytest.fixture
def case(stage: AuditStage, s3: S3Client) -> Iterator[Case]:
    store = LockedStore(s3, stage.settings.bucket)
    outside = look(Kept(store, "audit/", ORIGIN, [stage.signer.key]), 0, 0)
    with connected(stage.url) as connection:
        made = Case(stage, Changed(connection), outside)
        verdict = made.verdict(made.log.stored)
        assert verdict.good, verdict.problems
        assert verdict.rows == len(made.log.stored) > EVENTS
        yield made


def edited(row: AuditRow, bit: int) -> AuditRow:
    entry = bytearray(row.entry())
    entry[bit // 8] ^= 1 << bit % 8
    columns: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__}
    return Edited(**columns, other=bytes(entry))


def bits(row: AuditRow) -> int:
    return 8 * len(row.entry())


def check(verdict: Verdict, leaf: int) -> None:
    assert not verdict.good
    assert verdict.first is not None
    assert verdict.first.startswith(f"leaf {leaf}"), verdict.first
    assert verdict.first[len(f"leaf {leaf}")] in ",:"


def test_any_bit_of_any_row(case: Case) -> None:
    rng, rows = random.Random(5), case.log.stored
    for leaf, row in enumerate(rows):
        check(case.verdict([*rows[:leaf], edited(row, rng.randrange(bits(row))), *rows[leaf + 1 :]]), leaf)


def test_every_bit_of_a_row(case: Case) -> None:
    rows = case.log.stored
    leaf = random.Random(6).randrange(len(rows))
    for bit in range(bits(rows[leaf])):
        changed = [*rows[:leaf], edited(rows[leaf], bit), *rows[leaf + 1 :]]
        check(case.verdict(changed, bucket=False), leaf)


def test_any_row_deleted(case: Case) -> None:
    rows = case.log.stored
    for leaf in range(len(rows)):
        check(case.verdict([*rows[:leaf], *rows[leaf + 1 :]], bucket=leaf % 8 == 0), leaf)


def test_any_row_in_the_place_of_the_next(case: Case) -> None:
    rows = case.log.stored
    for leaf in range(len(rows) - 1):
        changed = [*rows[:leaf], rows[leaf + 1], rows[leaf], *rows[leaf + 2 :]]
        check(case.verdict(changed, bucket=leaf % 8 == 0), leaf)


def test_any_bit_of_any_row_whose_tiles_were_made_to_agree(case: Case) -> None:
    """The bucket names those of full tiles; of the last, unfinished one it says between which leaves."""
    rng, rows = random.Random(7), case.log.stored
    signed = len(rows) - case.verdict(rows).unsigned  # the event of the last checkpoint is under none yet
    assert signed > WIDTH
    case.log.tiles_agree = True
    for leaf, row in enumerate(rows[:signed]):
        verdict = case.verdict([*rows[:leaf], edited(row, rng.randrange(bits(row))), *rows[leaf + 1 :]])
        if leaf < WIDTH:
            check(verdict, leaf)
        else:
            assert not verdict.good
            assert verdict.first is not None
            assert verdict.first.startswith(f"between leaves {WIDTH} and ")
