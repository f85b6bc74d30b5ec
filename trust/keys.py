"""Keys that wrap data keys: in Vault's Transit engine, or in a file of ours where there is no Vault.

A data key encrypts one object and is stored beside it only wrapped. After a rotation new keys are wrapped by the
newest version, old ones still unwrap, and ``rewrap`` moves one over without touching what it encrypts.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import TYPE_CHECKING, Protocol

import hvac
import requests
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from trust.errors import CredentialsError, KeyUnavailableError, WrongKeyError
from trust.private_files import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA_KEY_BYTES = 32
_FILE = "file"


class KeyService(Protocol):
    """Whoever holds the wrapping keys. All raise ``KeyUnavailableError`` while it is out of reach."""

    @property
    def key_id(self) -> str:
        """Which key wraps, without its version."""

    def wrap(self, data_key: bytes) -> str:
        """Encrypt a data key under the newest version; the version is in the text."""

    def unwrap(self, wrapped: str) -> bytes:
        """Decrypt a data key; raises ``WrongKeyError`` where this key has not wrapped it."""

    def rewrap(self, wrapped: str) -> str:
        """Wrap a wrapped data key under the newest version."""


class TransitKeys:
    """An ``aes256-gcm96`` key of Vault's or OpenBao's Transit engine. ``client`` gives one that is logged in."""

    def __init__(self, client: Callable[[], hvac.Client], transit_key: str, mount: str = "transit") -> None:
        self._client, self._transit_key, self._mount = client, transit_key, mount
        self.key_id = f"transit:{mount}/{transit_key}"

    def wrap(self, data_key: bytes) -> str:
        """Encrypt by the engine."""
        wrapped: str = self._ask("encrypt_data", plaintext=base64.b64encode(data_key).decode())["ciphertext"]
        return wrapped

    def unwrap(self, wrapped: str) -> bytes:
        """Decrypt by the engine."""
        return base64.b64decode(self._ask("decrypt_data", ciphertext=wrapped)["plaintext"])

    def rewrap(self, wrapped: str) -> str:
        """Let the engine do it: the data key does not leave it."""
        fresh: str = self._ask("rewrap_data", ciphertext=wrapped)["ciphertext"]
        return fresh

    def _ask(self, what: str, **given: str) -> dict[str, str]:
        try:
            transit = self._client().secrets.transit
            answer = getattr(transit, what)(name=self._transit_key, mount_point=self._mount, **given)
        except hvac.exceptions.InvalidRequest as error:
            raise WrongKeyError(f"{self.key_id} refuses what it is given: {error}") from error
        except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError) as error:
            raise KeyUnavailableError(f"{self.key_id} cannot be used: {error}") from error
        data: dict[str, str] = answer["data"]
        return data


class FileKeys:
    """Wrapping keys in a JSON file that only its owner may read; AES key wrap (RFC 3394), a key a version."""

    def __init__(self, path: Path) -> None:
        """Load them; raises ``KeyUnavailableError`` with what is wrong about the file."""
        self._keys = _load(path)
        self.key_id = f"{_FILE}:{path.name}"

    def wrap(self, data_key: bytes) -> str:
        """Wrap under the newest version."""
        version = max(self._keys)
        wrapped = aes_key_wrap(self._keys[version], data_key)
        return f"{_FILE}:v{version}:{base64.b64encode(wrapped).decode()}"

    def unwrap(self, wrapped: str) -> bytes:
        """Unwrap by the version that the text names."""
        kind, _, rest = wrapped.partition(":")
        version, _, encoded = rest.partition(":")
        key = self._keys.get(int(version[1:])) if kind == _FILE and version[1:].isdecimal() else None
        if key is None:
            raise WrongKeyError(
                f"{self.key_id} has no version {version or wrapped!r}: another key has wrapped this"
            )
        try:
            return aes_key_unwrap(key, base64.b64decode(encoded, validate=True))
        except (InvalidUnwrap, ValueError, binascii.Error) as error:
            raise WrongKeyError(f"{self.key_id} has not wrapped this, or it was altered") from error

    def rewrap(self, wrapped: str) -> str:
        """Unwrap and wrap."""
        return self.wrap(self.unwrap(wrapped))


def make_key_file(path: Path) -> None:
    """Make a file with one key; one that is there already is left alone."""
    if not path.exists():
        _write(path, {1: secrets.token_bytes(DATA_KEY_BYTES)})


def rotate_key_file(path: Path) -> int:
    """Add a version and give its number; the older ones stay, for what they have wrapped."""
    keys = _load(path)
    version = max(keys) + 1
    _write(path, {**keys, version: secrets.token_bytes(DATA_KEY_BYTES)})
    return version


def _load(path: Path) -> dict[int, bytes]:
    content = read_private(path)
    try:
        keys = {int(v): base64.b64decode(key, validate=True) for v, key in json.loads(content)["keys"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyUnavailableError(
            f'key file {path}: {{"keys": {{"1": base64 of 32 bytes}}}} is required'
        ) from error
    if not keys or any(len(key) != DATA_KEY_BYTES for key in keys.values()):
        raise KeyUnavailableError(
            f"key file {path}: at least one key, each of {DATA_KEY_BYTES} bytes, is required"
        )
    return keys


def _write(path: Path, keys: dict[int, bytes]) -> None:
    encoded = {str(version): base64.b64encode(key).decode() for version, key in keys.items()}
    write_private(path, json.dumps({"keys": encoded}).encode())
