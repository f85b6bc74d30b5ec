"""What a venue module gives back for one message."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ledger.domain.errors import Defect
from ledger.domain.records import FillReport


class Decoded(msgspec.Struct):
    """Reports with the bytes each came in, defects with theirs, and what was recognised and is no fill.

    ``others`` counts messages that are valid and move no quantity (heartbeat, order accepted, canceled …) by
    their name: nothing is silently ignored.
    """

    reports: list[tuple[FillReport, bytes]] = msgspec.field(default_factory=list)
    defects: list[tuple[Defect, bytes]] = msgspec.field(default_factory=list)
    others: dict[str, int] = msgspec.field(default_factory=dict)


Decoder = Callable[[str, bytes], Decoded]  # venue name, raw message
