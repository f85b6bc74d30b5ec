"""Keys in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trust.errors import KeyUnavailableError
from trust.notes import open_note, sign_note
from trust.signing import FileSigner, make_key_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    make_key_file(path)
    first = FileSigner("example.com/log", path)
    make_key_file(path)
    second = FileSigner("example.com/log", path)
    assert first.key == second.key
    assert open_note(sign_note("text\n", [first]), [second.key]) == "text\n"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(KeyUnavailableError, match=r"can be used by others \(-rw-r-----\): chmod 600 it"):
        FileSigner("example.com/log", path).sign(b"text")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    with pytest.raises(KeyUnavailableError, match="No such file"):
        FileSigner("example.com/log", path).sign(b"text")
    path.write_bytes(b"nonsense")
    path.chmod(0o600)
    with pytest.raises(KeyUnavailableError, match="a PEM private key"):
        FileSigner("example.com/log", path).sign(b"text")
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyUnavailableError, match="an Ed25519 key is required"):
        FileSigner("example.com/log", path).sign(b"text")


def test_no_note_names_another_key_than_the_one_that_signed(tmp_path: Path) -> None:
    """The key is changed between its name and its signature: a note that nobody could open is not made."""
    make_key_file(tmp_path / "old.pem")
    make_key_file(tmp_path / "new.pem")
    old, new = (FileSigner("example.com/log", tmp_path / name) for name in ("old.pem", "new.pem"))

    class Changed:
        key = old.key

        def sign(self, message: bytes) -> bytes:
            return new.sign(message)

    with pytest.raises(KeyUnavailableError, match="changed meanwhile"):
        sign_note("text\n", [Changed()])
