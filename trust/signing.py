"""Ed25519 keys that sign notes: in a file of ours, or in Vault's Transit engine, which never gives it away."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import hvac
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from trust.errors import CredentialsError, KeyUnavailableError
from trust.notes import NoteKey
from trust.private_files import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class FileSigner:
    """A key in a PEM file (PKCS 8) that only its owner may read."""

    def __init__(self, name: str, path: Path) -> None:
        """Load the key; raises ``KeyUnavailableError`` with what is wrong about the file."""
        self._private = _load(path)
        self.key = NoteKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Give the signature."""
        return self._private.sign(message)


class TransitSigner:
    """A key of type ``ed25519`` in Vault's or OpenBao's Transit engine. Its newest version signs.

    ``client`` gives a client that is logged in, anew for each request, so that a token may be renewed.
    """

    def __init__(self, name: str, client: Callable[[], hvac.Client], transit_key: str, mount: str) -> None:
        """Read the public half; raises ``KeyUnavailableError``."""
        self._client, self._transit_key, self._mount = client, transit_key, mount
        try:
            answer = client().secrets.transit.read_key(name=transit_key, mount_point=mount)["data"]
        except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError) as error:
            raise self._unavailable(error) from error
        if answer["type"] != "ed25519":
            raise KeyUnavailableError(
                f"Transit key {mount}/{transit_key} is of type {answer['type']}: make one of type ed25519"
            )
        self._version = int(answer["latest_version"])
        public = base64.b64decode(answer["keys"][str(self._version)]["public_key"])
        self.key = NoteKey(name, public)

    def sign(self, message: bytes) -> bytes:
        """Give the signature; raises ``KeyUnavailableError`` while the server is away or sealed."""
        try:
            answer = self._client().secrets.transit.sign_data(
                name=self._transit_key,
                hash_input=base64.b64encode(message).decode(),
                key_version=self._version,  # the key that ``key`` names, also after a rotation
                mount_point=self._mount,
            )
        except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError) as error:
            raise self._unavailable(error) from error
        signature: str = answer["data"]["signature"]  # vault:v1:base64
        return base64.b64decode(signature.rpartition(":")[2])

    def _unavailable(self, error: Exception) -> KeyUnavailableError:
        return KeyUnavailableError(f"Transit key {self._mount}/{self._transit_key} cannot be used: {error}")


def make_key_file(path: Path) -> None:
    """Make a new key; a file that is there already is left alone."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if not path.exists():
        write_private(path, pem)


def _load(path: Path) -> Ed25519PrivateKey:
    content = read_private(path)
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise KeyUnavailableError(f"key file {path}: a PEM private key without a password is required") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyUnavailableError(f"key file {path}: an Ed25519 key is required, was {type(private).__name__}")
    return private
