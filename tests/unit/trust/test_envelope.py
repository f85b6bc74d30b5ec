"""Encrypted Parquet with keys in a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trust.envelope import read_material, rewrapped, seal, unseal
from trust.errors import KeyUnavailableError, WrongKeyError
from trust.keys import FileKeys, make_key_file, rotate_key_file

if TYPE_CHECKING:
    from pathlib import Path

    from trust.envelope import KeyMaterial

PATH = "fills/2026-11-20/ALPHA/1.parquet"
ROWS = pa.table({"exec_id": ["E-SECRET-1", "E-SECRET-2"], "raw": [b"8=FIX.4.4", b"\x00\xff"]})
UNREADABLE = (OSError, pa.ArrowInvalid)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "archive-keys.json"
    make_key_file(path)
    return path


def written(keys: FileKeys, path: str = PATH) -> tuple[KeyMaterial, bytes]:
    material, properties = seal(keys, path)
    sink = io.BytesIO()
    pq.write_table(ROWS, sink, encryption_properties=properties)
    return material, sink.getvalue()


def opened(keys: FileKeys, material: KeyMaterial, content: bytes, path: str = PATH) -> pa.Table:
    return pq.read_table(io.BytesIO(content), decryption_properties=unseal(keys, material, path))


def test_it_opens_with_its_key_alone(key_file: Path) -> None:
    keys = FileKeys(key_file)
    material, content = written(keys)
    assert b"SECRET" not in content
    assert pq.read_schema(io.BytesIO(content)).names == ["exec_id", "raw"]  # the footer is legible
    assert opened(keys, read_material(material.json()), content).equals(ROWS)
    with pytest.raises(UNREADABLE, match="Column is noted as encrypted"):
        pq.read_table(io.BytesIO(content))
    with pytest.raises(UNREADABLE, match="verification failed"):
        opened(keys, written(keys)[0], content)


def test_it_does_not_open_under_another_path(key_file: Path) -> None:
    keys = FileKeys(key_file)
    material, content = written(keys)
    elsewhere = PATH.replace("ALPHA", "BRAVO")
    with pytest.raises(WrongKeyError, match=f"that of {PATH}, was asked for {elsewhere}"):
        unseal(keys, material, elsewhere)
    claimed = read_material(material.json().replace(PATH.encode(), elsewhere.encode()))
    with pytest.raises(UNREADABLE, match="verification failed"):
        opened(keys, claimed, content, elsewhere)


def test_any_changed_byte_is_found(key_file: Path) -> None:
    keys = FileKeys(key_file)
    material, content = written(keys)
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            table = opened(keys, material, changed)
        except UNREADABLE:
            continue
        assert table.equals(ROWS), place  # nothing that a reader sees


def test_a_rotation_leaves_the_file_alone(key_file: Path) -> None:
    material, content = written(FileKeys(key_file))
    assert rotate_key_file(key_file) == 2
    keys = FileKeys(key_file)
    assert opened(keys, material, content).equals(ROWS)
    fresh = rewrapped(keys, material)
    assert fresh.wrapped_key.startswith("file:v2:")
    assert opened(keys, fresh, content).equals(ROWS)


def test_another_key_is_refused(key_file: Path, tmp_path: Path) -> None:
    material, _ = written(FileKeys(key_file))
    other = tmp_path / "other.json"
    make_key_file(other)
    with pytest.raises(WrongKeyError, match=r"other\.json has not wrapped this, or it was altered"):
        unseal(FileKeys(other), material, PATH)
    rotate_key_file(key_file)
    newer = rewrapped(FileKeys(key_file), material)
    with pytest.raises(WrongKeyError, match=r"has no version 'v2': another key has wrapped this"):
        unseal(FileKeys(other), newer, PATH)
    with pytest.raises(WrongKeyError, match="has no version"):
        FileKeys(other).unwrap("vault:v1:AAAA")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": {"1": "AAAA"}}', b'{"keys": 1}']
)
def test_what_is_no_key_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyUnavailableError, match="is required"):
        FileKeys(path)


def test_a_key_file_that_others_can_read_is_refused(key_file: Path) -> None:
    key_file.chmod(0o644)
    with pytest.raises(KeyUnavailableError, match="can be used by others"):
        FileKeys(key_file)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"object":"a","key_id":"k","wrapped_key":"w","algorithm":"AES","version":1}']
)
def test_what_is_no_key_material_is_refused(content: bytes) -> None:
    with pytest.raises(WrongKeyError, match="key material"):
        read_material(content)
