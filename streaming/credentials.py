"""The secrets of the settings as they count now: plain ones as they are, references as Vault has them.

Read at the start and looked at again and again. A new version goes to whoever uses it: what was subscribed is
called, in the event loop. Vault away or sealed changes nothing but a gauge and a line of the log: the process runs
on what it holds. What cannot be used (no such field, no webhook secret) is refused, and what was held stays.
What was taken back in Vault (deleted, destroyed) counts no more from the next look on, and is an audit event.
A secret that was never read leaves its venue waiting, and no other. No value is ever in an error or in the log.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ledger import clocks
from ledger.domain.times import NANOS
from ledger.faultpoints import at
from streaming.errors import FeedError
from streaming.secret_events import RESTORED, WITHDRAWN, SecretChange
from trust.errors import CredentialsError, GoneError
from trust.references import is_reference, parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import SecretStr

    from streaming.credential_metrics import CredentialMetrics
    from trust.credentials import Held, VaultReader
    from trust.references import Reference

_FIRST_RETRY_SECONDS = 0.5

log = structlog.get_logger()


class NotHeldError(FeedError):
    """The secret was not read from Vault yet, or was taken back there: whoever needs it waits."""


class Credentials:
    """All secrets. Without a ``reader`` there are plain ones only."""

    def __init__(
        self,
        references: Iterable[str] = (),
        reader: VaultReader | None = None,
        metrics: CredentialMetrics | None = None,
        *,
        poll_seconds: float = 10.0,
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._fields: dict[str, set[str]] = {}
        for reference in map(parse_reference, references):
            self._fields.setdefault(reference.place, set()).add(reference.field)
        self.tell: Callable[[SecretChange], object] = lambda _: None
        """Hears of what was taken back, and of what is there again."""
        self._held: dict[str, Held] = {}
        self._withdrawn: dict[str, SecretChange] = {}
        self._subscribed: list[tuple[frozenset[Reference], Callable[[], None]]] = []
        self._checks: dict[Reference, Callable[[str], object]] = {}
        self._troubles: dict[str, str] = {}

    def value(self, secret: SecretStr | Path) -> str:
        """Give a secret's value. Raises ``NotHeldError``."""
        text = _text(secret)
        if not is_reference(text):
            return text
        reference = parse_reference(text)
        return self._of(reference).value(reference.field)

    def accepted(self, secret: SecretStr) -> tuple[str, ...]:
        """Give the values that count: during a rotation the old one, too; none of what was taken back.

        Raises ``NotHeldError``.
        """
        text = _text(secret)
        if not is_reference(text):
            return (text,)
        reference = parse_reference(text)
        if reference.place in self._withdrawn:
            return ()
        values = self._of(reference).accepted(reference.field, clocks.time_ns() / NANOS)
        usable = self._checks.get(reference)
        return values if usable is None else tuple(value for value in values if _is_fit(usable, value))

    def subscribe(self, secrets: Iterable[SecretStr | Path], call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called when the value of one changes; give what ends that."""
        wanted = frozenset(parse_reference(text) for text in map(_text, secrets) if is_reference(text))
        entry = (wanted, call)
        if not wanted:
            return lambda: None
        self._subscribed.append(entry)
        return lambda: self._subscribed.remove(entry) if entry in self._subscribed else None

    def check(self, secret: SecretStr, usable: Callable[[str], object]) -> None:
        """Refuse values of a reference for which ``usable`` raises; a plain one is checked at once."""
        text = secret.get_secret_value()
        if is_reference(text):
            self._checks[parse_reference(text)] = usable
        else:
            usable(text)

    def status(self) -> dict[str, object]:
        """Give what /status shows: no values."""
        return {
            "held": {place: held.versions[0].number for place, held in self._held.items()},
            "troubles": dict(self._troubles),
            "withdrawn": {place: change.why for place, change in self._withdrawn.items()},
        }

    async def run(self) -> None:
        """Watch until cancelled."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            await self.look()
            if len(self._held) == len(self._fields):
                wait = self._poll_seconds
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._poll_seconds)

    async def look(self) -> None:
        """Ask Vault for everything once."""
        assert self._reader is not None, "references need a reader"
        is_away = False
        for place in self._fields:
            try:
                held = await asyncio.to_thread(self._reader.read, place, self._held.get(place))
            except GoneError as error:
                if error.was_deleted or place in self._held or place in self._withdrawn:
                    self._withdraw(place, str(error))
                else:
                    self._refuse(place, str(error))
            except CredentialsError as error:
                is_away = True
                self._trouble(place, str(error))
            else:
                self._take(place, held)
        if self._metrics is not None:
            self._metrics.vault_away.set(is_away)

    def _take(self, place: str, held: Held) -> None:
        refusal = self._refusal(place, held)
        if refusal is not None:
            self._refuse(place, refusal)
            return
        if self._metrics is not None:
            self._metrics.refused.labels(place).set(0)
        withdrawn = self._withdrawn.pop(place, None)
        if withdrawn is not None:
            newest = held.versions[0]
            self._mark(
                SecretChange(RESTORED, place, newest.number, newest.made, f"it is there again; {withdrawn.why}")
            )
        if self._troubles.pop(place, None) is not None:
            log.warning("a secret can be read again", path=place)
        before = self._held.get(place)
        self._held[place] = held
        changed = {field for field in self._fields[place] if before and before.value(field) != held.value(field)}
        if before is None:
            log.info("a secret was read", path=place, version=held.versions[0].number)
            changed = self._fields[place]
        elif changed:
            log.warning(
                "a secret was replaced", path=place, fields=sorted(changed), version=held.versions[0].number
            )
            if self._metrics is not None:
                self._metrics.rotations.labels(place).inc()
            at("secrets.replaced")
        self._notify(place, changed)
        if before is not None and changed:
            at("secrets.told")

    def _notify(self, place: str, changed: set[str]) -> None:
        for wanted, call in [*self._subscribed]:
            if any(reference.place == place and reference.field in changed for reference in wanted):
                call()

    def _withdraw(self, place: str, why: str) -> None:
        """What was held of a path counts no more, and whoever uses it hears of that."""
        held = self._held.pop(place, None)
        if place in self._withdrawn:
            return
        self._troubles.pop(place, None)
        version, made = (0, 0.0) if held is None else (held.versions[0].number, held.versions[0].made)
        change = SecretChange(WITHDRAWN, place, version, made, why)
        self._withdrawn[place] = change
        log.error("a secret was taken back in Vault: it counts no more", path=place, why=why)
        self._mark(change)
        self._notify(place, self._fields[place])

    def _mark(self, change: SecretChange) -> None:
        if self._metrics is not None:
            self._metrics.withdrawn.labels(change.place).set(change.event == WITHDRAWN)
        self.tell(change)

    def _refuse(self, place: str, why: str) -> None:
        if self._metrics is not None:
            self._metrics.refused.labels(place).set(1)
        self._trouble(place, why)

    def _refusal(self, place: str, held: Held) -> str | None:
        for field in sorted(self._fields[place]):
            if field not in held.versions[0].fields:
                return f"{place}#{field}: there is no such field, or it is no text: write the secret with it"
            for reference, usable in self._checks.items():
                if reference == (place, field) and not _is_fit(usable, held.value(field)):
                    return f"{place}#{field}: what is there is not of the form that is required: write it again"
        return None

    def _trouble(self, place: str, said: str) -> None:
        if self._troubles.get(place) != said:
            held = "the process runs on what it holds" if place in self._held else "its venue waits for it"
            log.error("a secret cannot be had from Vault", path=place, why=said, so=held)
        self._troubles[place] = said

    def _of(self, reference: Reference) -> Held:
        held = self._held.get(reference.place)
        if reference.place in self._withdrawn:
            raise NotHeldError(f"{reference.text} was taken back in Vault: write it anew, or restore the version")
        if held is None:
            raise NotHeldError(f"{reference.text} was not read from Vault yet")
        return held


def _text(secret: SecretStr | Path) -> str:
    return str(secret) if isinstance(secret, Path) else secret.get_secret_value()


def _is_fit(usable: Callable[[str], object], value: str) -> bool:
    try:
        usable(value)
    except Exception:  # noqa: BLE001  it may name the value, which nobody is to read
        return False
    return True
