"""What can go wrong with proofs, signatures, keys and identities. One tree: catch ``TrustError`` for all of it."""

from __future__ import annotations


class TrustError(Exception):
    """Something that should be beyond doubt is not, or could not be found out."""


class ProofError(TrustError):
    """A proof does not lead to the root it claims, or cannot be made."""


class KeyUnavailableError(TrustError):
    """A key cannot be used now: its server is away or sealed, or its file is missing or not ours alone."""


class WrongKeyError(TrustError):
    """What a key is asked to open was closed by another one, or altered since."""


class NoteError(TrustError):
    """A signed note cannot be read, or no known key has signed it."""


class StoreError(TrustError):
    """The object store refuses, is away, or does not hold what it should."""


class UnreadableError(StoreError):
    """The store answers, and does not give this one object: it was put there under a key that we have not."""


class AlreadyStoredError(StoreError):
    """The key is taken, by other bytes than these: nothing was written."""


class CredentialsError(TrustError):
    """A secret cannot be read now, or is not what it should be. The message never has the secret in it."""


class GoneError(CredentialsError):
    """Vault answers, and there is no such secret. ``was_deleted``: there was one, and it was taken back."""

    def __init__(self, message: str, *, was_deleted: bool = False) -> None:
        super().__init__(message)
        self.was_deleted = was_deleted


class IdentityError(TrustError):
    """The Workload API gives no identity, or a peer does not show the one that it must have."""
