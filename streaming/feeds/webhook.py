"""Standard Webhooks signatures, verified over the bytes of the body. Pure.

The ``standardwebhooks`` package signs text and raises on a body that is not UTF-8; such a body, signed by its
venue, has to become a dead letter. The tests hold this module against that package.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

from streaming.errors import SettingsError, StreamingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_PREFIX = "whsec_"
_MAX_SIGNATURES = 16  # two during a rotation; each costs a comparison with each secret
_TIMESTAMP_DIGITS = 12


class SignatureError(StreamingError):
    """The call does not prove where it comes from; the message says what to mend."""


def secret_key(secret: str) -> bytes:
    """Read ``whsec_`` + base64. Raises ``SettingsError`` without showing the secret."""
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise SettingsError("a webhook secret is not base64: expected whsec_ and base64 after it")
    return key


class Verifier:
    """Accepts what any of a venue's secrets has signed within the tolerance."""

    def __init__(self, secrets: Iterable[str], tolerance_seconds: float) -> None:
        self._secrets: tuple[str, ...] = ()
        self._keys: list[bytes] = []
        self._tolerance = tolerance_seconds
        self.renew(secrets)

    def renew(self, secrets: Iterable[str]) -> None:
        """Accept what any of these has signed, and nothing else any more."""
        secrets = tuple(secrets)
        if secrets != self._secrets:
            self._keys, self._secrets = [secret_key(secret) for secret in secrets], secrets

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Raise ``SignatureError`` unless a secret has signed this id, timestamp and body."""
        absent = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
        if absent:
            raise SignatureError(f"header missing: {', '.join(absent)}")
        timestamp = headers[TIMESTAMP]
        self._check_timestamp(timestamp, now)
        signed = f"{headers[ID]}.{timestamp}.".encode("latin-1", "replace") + body
        given = [
            signature.encode("latin-1", "replace")
            for version, _, signature in (part.partition(",") for part in headers[SIGNATURE].split())
            if version == "v1"
        ][:_MAX_SIGNATURES]
        for key in self._keys:
            expected = base64.b64encode(hmac.digest(key, signed, "sha256"))
            if any(hmac.compare_digest(expected, signature) for signature in given):
                return
        raise SignatureError(
            f"signature wrong: no v1 signature in {SIGNATURE} is ours for this id, timestamp and body"
        )

    def _check_timestamp(self, timestamp: str, now: float) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS):
            raise SignatureError(f"timestamp wrong: {TIMESTAMP} is not in Unix seconds")
        age = now - int(timestamp)
        if age > self._tolerance:
            raise SignatureError(f"timestamp too old: {age:.0f} s, at most {self._tolerance:g} s are accepted")
        if -age > self._tolerance:
            raise SignatureError(f"timestamp too new: {-age:.0f} s, at most {self._tolerance:g} s are accepted")
