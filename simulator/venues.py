"""Which venue and which encoders belong to each kind of wire."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from simulator import canonical, fix_message
from simulator.clock import Clock
from simulator.fix_acceptor import FixVenue
from simulator.orders import Report
from simulator.rest_venue import RestVenue
from simulator.websocket_venue import WebSocketVenue

if TYPE_CHECKING:
    from simulator.config import VenueConfig
    from simulator.journal import Journal
    from simulator.venue import Venue

Encoder = Callable[[Report, Clock], bytes]
Malformer = Callable[[Report, Clock, str, random.Random], tuple[str, bytes]]


def venue_of(config: VenueConfig, journal: Journal, seed: int) -> Venue:
    """The venue that a configuration describes."""
    match config.kind:
        case "fix":
            return FixVenue(config, journal)
        case "websocket":
            return WebSocketVenue(config, journal)
        case "rest":
            return RestVenue(config, journal, seed)
        case _:
            assert_never(config.kind)


ENCODERS: dict[str, tuple[Encoder, Malformer]] = {
    "fix": (fix_message.execution_report, fix_message.malformed),
    "websocket": (canonical.websocket_report, canonical.malformed),
    "rest": (canonical.rest_report, canonical.malformed),
}
