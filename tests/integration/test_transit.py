"""Keys that never leave the embedded OpenBao."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import hvac
import pytest

from trust.errors import KeyUnavailableError, WrongKeyError
from trust.keys import TransitKeys
from trust.notes import open_note, sign_note
from trust.signing import TransitSigner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded.endpoints import Endpoints


@pytest.fixture
def vault(endpoints: Endpoints) -> Iterator[tuple[hvac.Client, str]]:
    """A client and a Transit engine of this test's own."""
    client = hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token)
    mount = f"transit-{uuid.uuid4().hex[:12]}"
    client.sys.enable_secrets_engine("transit", path=mount)
    yield client, mount
    client.sys.disable_secrets_engine(mount)
    client.adapter.close()


def test_a_note_signed_by_transit_opens_with_its_public_key(vault: tuple[hvac.Client, str]) -> None:
    client, mount = vault
    client.secrets.transit.create_key("log", key_type="ed25519", mount_point=mount)
    signer = TransitSigner("example.com/log", lambda: client, "log", mount)
    first = signer.key
    client.secrets.transit.rotate_key("log", mount_point=mount)  # the signer keeps to the key it names
    assert signer.key == first
    assert open_note(sign_note("text\n", [signer]), [signer.key]) == "text\n"
    rotated = TransitSigner("example.com/log", lambda: client, "log", mount)
    assert rotated.key != signer.key
    assert open_note(sign_note("text\n", [rotated]), [rotated.key]) == "text\n"
    assert rotated.keys == [rotated.key, first]  # what signed before is known still
    [older] = rotated.older()
    assert open_note(sign_note("text\n", [older]), [first]) == "text\n"


def test_a_version_that_may_not_sign_any_more_is_left(vault: tuple[hvac.Client, str]) -> None:
    client, mount = vault
    client.secrets.transit.create_key("log", key_type="ed25519", mount_point=mount)
    signer = TransitSigner("example.com/log", lambda: client, "log", mount)
    first = signer.key
    client.secrets.transit.rotate_key("log", mount_point=mount)
    client.secrets.transit.update_key_configuration("log", mount_point=mount, min_encryption_version=2)
    with pytest.raises(KeyUnavailableError, match="cannot be used"):
        signer.sign(b"text")
    assert signer.key != first
    assert open_note(sign_note("text\n", [signer]), [signer.key]) == "text\n"


def test_a_version_that_one_thread_leaves_fails_the_others_signature_by_name(
    vault: tuple[hvac.Client, str],
) -> None:
    """Two threads share a signer; one is refused and forgets the versions while the other is about to sign."""
    client, mount = vault
    client.secrets.transit.create_key("log", key_type="ed25519", mount_point=mount)
    others: list[str] = []

    def logged_in() -> hvac.Client:
        if others:
            others.clear()
            with pytest.raises(KeyUnavailableError):
                signer.sign(b"the other thread's")
        return client

    signer = TransitSigner("example.com/log", logged_in, "log", mount)
    first = signer.key
    client.secrets.transit.rotate_key("log", mount_point=mount)
    client.secrets.transit.update_key_configuration("log", mount_point=mount, min_encryption_version=2)
    others.append("comes in between")
    with pytest.raises(KeyUnavailableError, match="cannot be used"):
        signer.sign(b"text")
    assert open_note(sign_note("text\n", [signer]), [signer.key]) == "text\n"
    assert signer.key != first


def test_a_key_that_cannot_be_used_is_said(vault: tuple[hvac.Client, str]) -> None:
    client, mount = vault
    client.secrets.transit.create_key("other", key_type="aes256-gcm96", mount_point=mount)
    with pytest.raises(KeyUnavailableError, match="of type aes256-gcm96: make one of type ed25519"):
        TransitSigner("example.com/log", lambda: client, "other", mount).key  # noqa: B018  it asks
    with pytest.raises(KeyUnavailableError, match=f"Transit key {mount}/none cannot be used"):
        TransitSigner("example.com/log", lambda: client, "none", mount).key  # noqa: B018  it asks
    away = hvac.Client(url="http://127.0.0.1:9", token="none", timeout=1)
    with pytest.raises(KeyUnavailableError, match="cannot be used"):
        TransitSigner("example.com/log", lambda: away, "log", mount).sign(b"text")


def test_data_keys_are_wrapped_and_wrapped_anew(vault: tuple[hvac.Client, str]) -> None:
    client, mount = vault
    client.secrets.transit.create_key("archive", mount_point=mount)
    keys = TransitKeys(lambda: client, "archive", mount)
    wrapped = keys.wrap(b"k" * 32)
    client.secrets.transit.rotate_key("archive", mount_point=mount)
    fresh = keys.rewrap(wrapped)
    assert (wrapped[:9], fresh[:9]) == ("vault:v1:", "vault:v2:")
    assert keys.unwrap(wrapped) == keys.unwrap(fresh) == b"k" * 32
    with pytest.raises(WrongKeyError, match=f"transit:{mount}/archive refuses"):
        keys.unwrap(fresh[:-8] + "AAAAAAA=")
    away = TransitKeys(lambda: hvac.Client(url="http://127.0.0.1:9", token="none", timeout=1), "archive", mount)
    with pytest.raises(KeyUnavailableError, match="cannot be used"):
        away.unwrap(wrapped)
