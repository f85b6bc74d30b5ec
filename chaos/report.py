"""What a campaign came to."""

from __future__ import annotations

import msgspec

from operations.main_job.balance import Line


class Report(msgspec.Struct):
    """How a campaign ended; ``kills`` and ``missed`` by the name of the kill.

    ``missed`` are points that were not passed in time: the process was killed from outside instead. ``restarts``
    counts the starts after a kill, ``in_backlog`` the kills while thousands of messages waited at the venues.
    ``awaits`` is how many there are in the program, ``awaits_hit`` those where a life died, with the moments, and
    ``awaits_missed`` those where none waited in time. ``missing`` names what is not where it should be, and how
    things stood when nothing moved any more.
    """

    seed: int
    seconds: float
    kills: dict[str, int]
    missed: dict[str, int]
    restarts: int
    in_backlog: dict[str, int]
    kill_seconds: float
    awaits: int
    awaits_hit: dict[str, list[str]]
    awaits_missed: list[str]
    sent: int
    landed: int
    duplicates: int
    events: int
    switches: int
    returns: int
    drained: bool
    lines: list[Line]
    missing: list[str]

    @property
    def differences(self) -> list[Line]:
        """What does not balance."""
        return [line for line in self.lines if not line.balances]

    @property
    def good(self) -> bool:
        """Whether nothing differs."""
        return self.drained and not self.differences

    def as_json(self) -> str:
        """All of it, with what follows from it."""
        more = {"differences": self.differences, "good": self.good}
        return msgspec.json.encode(msgspec.structs.asdict(self) | more).decode()
