"""The public keys of a log, kept beside it in the locked bucket, each vouched for by one that was there before.

Whoever verifies needs neither the private key nor Vault: the first key is known to them (pinned), or is taken from
the bucket, where nobody can replace it; each later one counts when a key that counts has signed for it. Anybody
who may write to the bucket can put a key there: without such a signature it is told, and not used.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from trust.errors import AlreadyStoredError, KeyUnavailableError, NoteError, StoreError, UnreadableError
from trust.notes import open_note, parse_key, sign_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from trust.locked_store import LockedStore
    from trust.notes import NoteKey, Signer
    from trust.signing import RotatedSigner

_TITLE = "execution-agent/log-key/v1"
_LARGEST = 16_384  # of a note; what is larger is none
_DIGITS = 4
_SLACK = timedelta(days=1)


class _Held(NamedTuple):
    place: str
    key: NoteKey
    note: str


class LogKeys:
    """The keys of the log ``origin`` below ``prefix`` of a bucket. ``tell`` hears of what should not be there."""

    def __init__(self, store: LockedStore, prefix: str, origin: str, tell: Callable[[str], None]) -> None:
        self._store, self._start, self._origin, self._tell = store, f"{prefix}key/", origin, tell

    def trusted(self, pinned: Sequence[NoteKey]) -> list[NoteKey]:
        """Give ``pinned`` and what these vouch for; where none is pinned, the first key and what that vouches for.

        Raises ``StoreError``.
        """
        waiting = self._held()
        found = list(pinned)
        if not found and waiting:
            found.append(waiting[0].key)
        while True:
            vouched = [held for held in waiting if held.key not in found and _is_signed(held.note, found)]
            if not vouched:
                break
            found += dict.fromkeys(held.key for held in vouched)
        for held in waiting:
            if held.key not in found:
                self._tell(f"{held.place}: no key that is known has signed for {held.key}: it does not count")
        return found

    def publish(self, signer: RotatedSigner, retain_until: datetime) -> None:
        """Keep the key that signs, signed by itself and by all versions before it that can; once.

        Raises ``StoreError``, ``KeyUnavailableError``.
        """
        here = {held.key for held in self._held()}
        if signer.key in here:
            return
        older = [version for version in signer.older() if _can_sign(version)]
        for version in reversed(older):  # the oldest first: it is the one that needs nobody's word
            if version.key not in here:
                self._put(_note(self._origin, version.key, [version]), retain_until)
        self._put(_note(self._origin, signer.key, [signer, *older]), retain_until)

    def keep(self, retain_until: datetime) -> None:
        """Lock all keys for as long as what they sign now; raises ``StoreError``."""
        for version in self._store.history(self._start):
            if not version.is_marker and version.size <= _LARGEST:
                with suppress(UnreadableError):  # no key that anybody can check by; ``trusted`` tells of it
                    self._store.extend(version.key, version.version, retain_until, slack=_SLACK)

    def _put(self, note: str, retain_until: datetime) -> None:
        number = 1
        while True:
            try:
                self._store.put(f"{self._start}{number:0{_DIGITS}d}", note.encode(), retain_until)
            except AlreadyStoredError:
                number += 1
            else:
                return

    def _held(self) -> list[_Held]:
        """Give the keys that are there in the order of their writing; each has signed for itself.

        Raises ``StoreError`` also where it gives none of them: then it is us that it does not let read.
        """
        versions = [version for version in self._store.history(self._start) if not version.is_marker]
        versions.reverse()  # of a name the oldest comes first
        found: list[_Held] = []
        refused: UnreadableError | None = None
        # the store tells seconds: within one the names count, and none comes before the first that we take
        for version in sorted(versions, key=lambda v: (v.written, v.key)):
            digits = version.key.removeprefix(self._start)
            if len(digits) != _DIGITS or not digits.isdecimal() or int(digits) < 1:
                self._tell(f"s3://{self._store.bucket}/{version.key} is no name of a key of the log")
                continue
            place = f"s3://{self._store.bucket}/{version.key} version {version.version}"
            if version.size > _LARGEST:
                self._tell(f"{place}: this is no key of the log")
                continue
            try:
                note = self._store.get(version.key, version.version).decode("utf-8", "replace")
                found.append(_Held(place, _read(note, self._origin), note))
            except NoteError as error:
                self._tell(f"{place}: this is no key of the log: {error}")
            except UnreadableError as error:
                refused = error
                self._tell(f"{place}: this is no key of the log: {error}")
        if refused is not None and not found:
            raise StoreError(
                f"s3://{self._store.bucket}/{self._start}: no key can be read: {refused}"
            ) from refused
        return found


def _note(origin: str, key: NoteKey, signers: Sequence[Signer]) -> str:
    return sign_note(f"{_TITLE}\n{origin}\n{key}\n", signers)


def _read(note: str, origin: str) -> NoteKey:
    lines = note.split("\n")
    if lines[:2] != [_TITLE, origin]:
        raise NoteError(f"its first lines are not {_TITLE} and {origin}")
    key = parse_key(lines[2] if len(lines) > 2 else "")  # noqa: PLR2004
    if open_note(note, [key]) != f"{_TITLE}\n{origin}\n{key}\n":
        raise NoteError("it says more than one key")
    return key


def _is_signed(note: str, keys: Iterable[NoteKey]) -> bool:
    try:
        open_note(note, list(keys))
    except NoteError:
        return False
    return True


def _can_sign(signer: Signer) -> bool:
    try:
        signer.sign(b"\n")
    except KeyUnavailableError:
        return False
    return True
