"""What the simulation needs of a venue, whatever it speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from simulator.records import ReportRow


class Delivery(msgspec.Struct, frozen=True):
    """A report that is due at its venue; ``fault`` says how it goes wrong on the way (empty: it does not)."""

    row: ReportRow
    fault: str = ""


# venue, ClOrdID, the request's id: the order's state is put out at its venue; False: there is no such order
StatusDesk = Callable[[str, str, str], bool]


class Venue(Protocol):
    """One venue. ``take`` journals, the simulation commits, ``release`` sends: in that order, always."""

    name: str
    kind: str

    async def start(self) -> None:
        """Begin to serve; earlier runs' undelivered messages are taken up again."""

    def answer_status(self, ask: StatusDesk) -> None:
        """Answer who asks for an order with what ``ask`` puts out; without such questions nothing happens."""

    def take(self, deliveries: list[Delivery]) -> None:
        """Give the reports their place in the sequence and write them to the journal."""

    def release(self) -> None:
        """Send what was taken; the journal has committed."""

    def rekey(self, *keys: str) -> None:
        """Let in who shows one of these, or sign with it, from now on."""

    def drop(self) -> bool:
        """Lose the connection once everything sent is out; False where there is none."""

    def resend_stale(self) -> bool:
        """Repeat an old message that the peer's session layer discards; False where there is no such thing."""

    @property
    def connected(self) -> bool:
        """A peer is there."""

    @property
    def outstanding(self) -> int:
        """Messages that are not known to be delivered."""

    @property
    def address(self) -> str:
        """Where it listens or whom it calls."""

    async def stop(self) -> None:
        """Say goodbye as the protocol has it, and close."""
