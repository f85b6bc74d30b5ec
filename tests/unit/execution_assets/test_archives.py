"""Archives without servers: settings, what equal rows are, manifests, automation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution_assets.archives.digest import RowsDigest
from execution_assets.archives.errors import ArchiveError, ArchiveSettingsError
from execution_assets.archives.manifest import Manifest, read_manifest, write_manifest
from execution_assets.archives.settings import (
    BUCKET_VARIABLE,
    KEYS_VARIABLE,
    SIGNER_VARIABLE,
    YEARS_VARIABLE,
    settings_from,
    years_from,
)
from trust import signing
from trust.errors import NoteError
from trust.signing import FileSigner

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = {BUCKET_VARIABLE: "archive", KEYS_VARIABLE: "/k/keys.json", SIGNER_VARIABLE: "transit:transit/signer"}
SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("text", pa.string()), ("raw", pa.binary())])
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.dates(date(1970, 1, 1), date(2100, 1, 1)),
        st.none() | st.text(max_size=4),
        st.none() | st.binary(max_size=4),
    ),
    max_size=6,
)


def table_of(rows: list[tuple[object, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


def digest_of(*tables: pa.Table) -> str:
    digest = RowsDigest()
    for table in tables:
        digest.update(table)
    return digest.hexdigest()


@given(ROWS, st.integers(0, 6))
def test_the_digest_does_not_depend_on_row_groups(rows: list[tuple[object, ...]], cut: int) -> None:
    whole = table_of(rows)
    assert digest_of(whole) == digest_of(table_of(rows[:cut]), table_of(rows[cut:]))
    assert digest_of(whole) == digest_of(whole.slice(0, cut), whole.slice(cut))  # with offsets into one buffer


@given(ROWS, ROWS)
def test_other_rows_have_another_digest(rows: list[tuple[object, ...]], others: list[tuple[object, ...]]) -> None:
    assert (rows == others) == (digest_of(table_of(rows)) == digest_of(table_of(others)))


def test_values_do_not_run_into_each_other() -> None:
    """The same bytes, split elsewhere; null is not empty."""
    lists = ([b"ab", b"c"], [b"a", b"bc"], [b"abc", b""], [b"abc", None], [None, b"abc"])
    assert len({digest_of(pa.table({"raw": pa.array(v, pa.binary())})) for v in lists}) == len(lists)


def test_records_are_kept_until_their_years_are_over() -> None:
    settings = settings_from({**NEEDED, YEARS_VARIABLE: "fills=6"})
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert settings.retain_until("fills", date(2026, 11, 20), now) == datetime(2032, 11, 21, tzinfo=UTC)
    assert settings.retain_until("audit", date(2026, 11, 20), now) == datetime(2033, 11, 21, tzinfo=UTC)
    assert settings.retain_until("fills", date(2024, 2, 29), now) == datetime(2030, 3, 1, tzinfo=UTC)
    # a day that is older than its retention cannot be locked in the past
    assert settings.retain_until("fills", date(2001, 1, 2), now) == now + timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fills=5", "class fills are kept for at least 6 years, was 5"),
        ("audit=0", "class audit are kept for at least 6 years, was 0"),
        ("orders=7", "of the classes fills, audit; was 'orders=7'"),
        ("fills=seven", "was 'fills=seven'"),
        ("7", "CLASS=YEARS is required"),
        ("fills=101", "at most 100 years"),
    ],
)
def test_a_retention_below_the_floor_is_refused(text: str, said: str) -> None:
    with pytest.raises(ArchiveSettingsError, match=said):
        years_from(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({BUCKET_VARIABLE: ""}, f"archives are not configured: set {BUCKET_VARIABLE}"),
        ({KEYS_VARIABLE: "keys.json"}, f"{KEYS_VARIABLE}='keys.json': an absolute path"),
        ({SIGNER_VARIABLE: "transit:signer"}, f"{SIGNER_VARIABLE}='transit:signer'"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, str], said: str) -> None:
    with pytest.raises(ArchiveSettingsError, match=said):
        settings_from(NEEDED | change)


def test_a_manifest_is_only_what_was_signed_under_its_own_name(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        signing.make_key_file(tmp_path / name)
    ours, theirs = (FileSigner("test/archive", tmp_path / name) for name in ("ours", "theirs"))
    day = date(2026, 11, 20)
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    manifest = Manifest("fills", day, "ALPHA/1", 1, moment, moment, None, ())
    note = write_manifest(manifest, ours)
    assert manifest.key == "manifests/fills/2026-11-20/ALPHA%2F1/0001.note"
    assert read_manifest(note, manifest.key, [theirs.key, ours.key]) == (manifest, ours.key)
    with pytest.raises(NoteError):
        read_manifest(note, manifest.key, [theirs.key])
    with pytest.raises(NoteError):
        read_manifest(note.replace(b"2026-11-20", b"2026-11-19"), manifest.key, [ours.key])
    with pytest.raises(ArchiveError, match="put under another name"):
        read_manifest(note, msgspec.structs.replace(manifest, revision=2).key, [ours.key])
