"""Ed25519 keys that sign notes: in a file of ours, or in Vault's Transit engine, which never gives it away."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

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
from trust.notes import NoteKey, Signer
from trust.private_files import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class RotatedSigner(Signer, Protocol):
    """A signer whose key may have had versions before."""

    @property
    def keys(self) -> Sequence[NoteKey]:
        """The public halves of all versions, the one that signs first."""

    def older(self) -> Sequence[Signer]:
        """Give the versions before it that can sign still: they vouch for the newest."""


class FileSigner:
    """A key in a PEM file (PKCS 8) that only its owner may read. Nothing is read before it is asked."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return _load(self._path)

    @property
    def key(self) -> NoteKey:
        """The public half; raises ``KeyUnavailableError`` with what is wrong about the file."""
        return NoteKey(self._name, self._private.public_key().public_bytes_raw())

    @property
    def keys(self) -> Sequence[NoteKey]:
        """The one key: a file has no versions."""
        return [self.key]

    def older(self) -> Sequence[Signer]:
        """Give none: who replaces the file names the old key in the setting ``audit.verifiers``."""
        return []

    def sign(self, message: bytes) -> bytes:
        """Give the signature."""
        return self._private.sign(message)


class TransitSigner:
    """A key of type ``ed25519`` in Vault's or OpenBao's Transit engine. Its newest version signs.

    ``client`` gives a client that is logged in, anew for each request, so that a token may be renewed. Nothing is
    asked before it is needed; ``version`` is None for the newest at the first use, which it keeps to. All raise
    ``KeyUnavailableError`` while the server is away or sealed.
    """

    def __init__(
        self,
        name: str,
        client: Callable[[], hvac.Client],
        transit_key: str,
        mount: str,
        version: int | None = None,
    ) -> None:
        self._name, self._client, self._transit_key, self._mount = name, client, transit_key, mount
        self._asked = version
        self._known: dict[int, NoteKey] = {}

    @property
    def key(self) -> NoteKey:
        """The public half of the version that signs."""
        versions = self._versions()
        return versions[self._of(versions)]

    @property
    def keys(self) -> Sequence[NoteKey]:
        """The public halves of all versions that Vault still has, the one that signs first."""
        versions = self._versions()
        newest = self._of(versions)
        rest = sorted(versions.keys() - {newest}, reverse=True)
        return [versions[newest], *(versions[number] for number in rest)]

    def older(self) -> Sequence[Signer]:
        """Give the versions before it; one that may not sign any more says so when it is asked to."""
        given = (self._name, self._client, self._transit_key, self._mount)
        versions = self._versions()
        newest = self._of(versions)
        return [TransitSigner(*given, number) for number in sorted(versions, reverse=True) if number < newest]

    def sign(self, message: bytes) -> bytes:
        """Give the signature."""
        version = self._of(self._versions())
        try:
            answer = self._client().secrets.transit.sign_data(
                name=self._transit_key,
                hash_input=base64.b64encode(message).decode(),
                key_version=version,  # the key that ``key`` names, also after a rotation
                mount_point=self._mount,
            )
        except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError) as error:
            if isinstance(error, hvac.exceptions.VaultError):
                self._known = {}  # the version may not sign any more: the next call looks for the newest
            raise self._unavailable(error) from error
        signature: str = answer["data"]["signature"]  # vault:v1:base64
        return base64.b64decode(signature.rpartition(":")[2])

    def _of(self, versions: dict[int, NoteKey]) -> int:
        """Give the version that signs, of those that one and the same look has found."""
        return max(versions) if self._asked is None else self._asked

    def _versions(self) -> dict[int, NoteKey]:
        """Give what is known; never emptied under its reader, for threads share a signer: it is replaced whole."""
        known = self._known
        if not known:
            try:
                transit = self._client().secrets.transit
                answer = transit.read_key(name=self._transit_key, mount_point=self._mount)["data"]
            except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError) as error:
                raise self._unavailable(error) from error
            if answer["type"] != "ed25519":
                raise KeyUnavailableError(
                    f"Transit key {self._mount}/{self._transit_key} is of type {answer['type']}: "
                    "make one of type ed25519"
                )
            known = self._known = {
                int(number): NoteKey(self._name, base64.b64decode(held["public_key"]))
                for number, held in answer["keys"].items()
            }
        return known

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
