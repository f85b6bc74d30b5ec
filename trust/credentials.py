"""Secrets in Vault: of a KV engine (version 2) by their versions, of an engine that lends them by their leases.

A value that was replaced goes on being accepted for an overlap, counted from the time at which Vault was given the
new one, so that whoever signs with it can change in peace. A version that was deleted or destroyed in Vault is not
accepted any more: that is how one is taken back at once. Where it is the newest, nothing of the path is. Only an
answer of Vault that says so takes anything back: being away, sealed, busy or refused does not, nor does what a
load balancer or proxy before it answers.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import hvac
import requests

from trust.errors import CredentialsError, GoneError
from trust.references import KV, LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trust.vault import VaultSession

T = TypeVar("T")
_RENEW_AT = 2 / 3  # of a lease
_UNKNOWN_LEASE = "invalid lease"  # what sys/leases/lookup says of one that expired or was revoked
# hvac, and we, take any JSON for an object of Vault's
_NOT_VAULTS = (AttributeError, KeyError, TypeError, ValueError)


class Version(NamedTuple):
    """One version of what lies at a path; ``made`` is Unix time."""

    number: int
    made: float
    fields: Mapping[str, str]


class Lease(NamedTuple):
    """For how long something is lent, from when it was got or renewed (monotonic seconds)."""

    lease_id: str
    since: float
    seconds: float
    renewable: bool


class Held(NamedTuple):
    """What is held of a path: the newest version first, then those that it replaced not long ago."""

    versions: tuple[Version, ...]
    overlap: float
    lease: Lease | None = None

    def value(self, field: str) -> str:
        """Give the newest value. Raises ``KeyError``."""
        return self.versions[0].fields[field]

    def accepted(self, field: str, now: float) -> tuple[str, ...]:
        """Give the values that count at ``now`` (Unix time), the newest first."""
        values = [self.versions[0].fields[field]]
        for newer, older in zip(self.versions, self.versions[1:], strict=False):
            if now < newer.made + self.overlap and field in older.fields:
                values.append(older.fields[field])
        return tuple(dict.fromkeys(values))


class VaultReader:
    """Reads what references name.

    All raise ``GoneError`` where Vault has no such secret (any more), ``CredentialsError`` while it is away,
    sealed or refuses.
    """

    def __init__(self, session: VaultSession, overlap_seconds: float) -> None:
        self._session = session
        self._overlap = overlap_seconds

    def read(self, place: str, held: Held | None = None) -> Held:
        """Read a path, or keep what is held of it where a lease is not due."""
        if place.startswith(LEASE):
            return self._lend(place, held)
        mount, _, path = place.removeprefix(KV).partition("/")
        newest = self._version(place, mount, path, None)
        versions, now = [newest], time.time()
        older, since = newest.number - 1, newest.made
        while older > 0 and now < since + self._overlap:
            try:
                version = self._version(place, mount, path, older)
            except GoneError:  # taken back, or too old for the engine to keep
                break
            versions.append(version)
            older, since = older - 1, version.made
        return Held(tuple(versions), self._overlap)

    def _version(self, place: str, mount: str, path: str, number: int | None) -> Version:
        def ask(client: hvac.Client) -> Version:
            kv = client.secrets.kv.v2
            data = kv.read_secret_version(path, number, mount_point=mount, raise_on_deleted_version=True)["data"]
            made = datetime.fromisoformat(data["metadata"]["created_time"]).timestamp()
            return Version(int(data["metadata"]["version"]), made, _texts(data["data"]))

        return self._ask(place, ask)

    def _lend(self, place: str, held: Held | None) -> Held:
        lease = None if held is None else held.lease
        now = time.monotonic()
        is_revoked = False
        if held is not None and lease is not None:
            is_revoked = self._is_revoked(lease)
            if not is_revoked and now < lease.since + lease.seconds * _RENEW_AT:
                return held
            longer = self._renewed(place, lease) if lease.renewable and not is_revoked else None
            # near its longest life a lease is renewed for less and less: then a new one is had
            if longer is not None and longer.seconds > lease.seconds * _RENEW_AT:
                return held._replace(lease=longer)
        number = held.versions[0].number + 1 if held is not None else 1

        def ask(client: hvac.Client) -> Held:
            try:
                answer = client.read(place.removeprefix(LEASE))
            except hvac.exceptions.InvalidRequest as error:
                if is_revoked and _said(error):  # what was held is lost, and Vault lends nothing in its place
                    raise GoneError(f"{place}: its lease was revoked: {error}", was_deleted=True) from None
                raise
            if answer is None or not answer.get("lease_id"):
                raise CredentialsError(f"{place}: nothing is lent there: is it a KV path (vault:)?")
            got = Lease(answer["lease_id"], now, float(answer["lease_duration"]), bool(answer["renewable"]))
            return Held((Version(number, time.time(), _texts(answer["data"])),), 0.0, got)

        return self._ask(place, ask)

    def _is_revoked(self, lease: Lease) -> bool:
        """Whether Vault says that there is no such lease; where it does not say, there is."""
        try:
            self._session().sys.read_lease(lease.lease_id)
        except hvac.exceptions.InvalidRequest as error:
            return _UNKNOWN_LEASE in _said(error)
        except (hvac.exceptions.VaultError, requests.RequestException, CredentialsError, *_NOT_VAULTS):
            return False
        return False

    def _renewed(self, place: str, lease: Lease) -> Lease | None:
        now = time.monotonic()

        def ask(client: hvac.Client) -> Lease | None:
            try:
                answer = client.sys.renew_lease(lease.lease_id)
            except (hvac.exceptions.InvalidPath, hvac.exceptions.InvalidRequest):
                return None  # it cannot be renewed any more: a new one is asked for
            seconds, renewable = float(answer["lease_duration"]), bool(answer["renewable"])
            return lease._replace(since=now, seconds=seconds, renewable=renewable)

        return self._ask(place, ask)

    def _ask(self, place: str, ask: Callable[[hvac.Client], T]) -> T:
        for again in (True, False):
            try:
                return ask(self._session())
            except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized) as error:
                self._session.forget()
                if not again:
                    raise CredentialsError(f"{place}: we may not read it: {error}") from None
            except hvac.exceptions.InvalidPath as error:
                raise _not_found(place, error) from None
            except (hvac.exceptions.VaultError, requests.RequestException) as error:
                raise CredentialsError(f"{place} cannot be read: {error}") from None
            except _NOT_VAULTS:  # what they say may have the answer in it
                raise CredentialsError(f"{place} cannot be read: what answers is not Vault's") from None
        raise AssertionError("it is asked twice at most")


def _not_found(place: str, error: hvac.exceptions.InvalidPath) -> CredentialsError:
    """Say what a 404 is: Vault gives the metadata of a version that was deleted or destroyed, no errors of none.

    With errors there is no such engine: it may be another Vault. What is not Vault's JSON is somebody else's.
    """
    answer = error.json if isinstance(error.json, dict) else {}
    data = answer.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if isinstance(metadata, dict) and (metadata.get("deletion_time") or metadata.get("destroyed")):
        how = "destroyed" if metadata.get("destroyed") else f"deleted at {metadata['deletion_time']}"
        return GoneError(f"{place}: its version {metadata.get('version')} was {how}", was_deleted=True)
    if answer.get("errors") == []:
        return GoneError(f"{place}: there is no such secret: {error}")
    return CredentialsError(f"{place} cannot be read: {error}")


def _said(error: hvac.exceptions.VaultError) -> list[Any]:
    """Give the errors that Vault's own JSON names; none where it is no JSON of Vault's."""
    errors = error.json.get("errors") if isinstance(error.json, dict) else None
    return errors if isinstance(errors, list) else []


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if isinstance(value, str) and value}
