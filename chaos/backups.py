"""Second feeds of two venues: kills fall into switches and returns, and into what both feeds tell at once.

ALPHA has a backup in standby, with limits so short that an engine's start is an outage: each life switches, and
returns where it lasts. Its list of fills is asked at each switch, and compared every few seconds. BRAVO's two
feeds are both live, and the first one that tells a fill wins.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operations.embedded.state import StateFolder

_SUFFIX = ".backup"
_MODES = {"ALPHA": "standby", "BRAVO": "hot"}
FEEDS = {f"{venue}{_SUFFIX}": f"{venue}{_SUFFIX}.ws" for venue in _MODES}
"""The feeds of the practice venue's mirrors, by the mirrors' names."""
_CALLS = 32
_SNAPSHOTS = 4.0  # a symbol: each is a batch of its own to the embedded broker, which looks at all for each fetch
_LISTED, _LIST_PACE = "ALPHA", 100
_LOOK_BACK = {
    "FORMAT": "canonical", "REQUESTS_PER_SECOND": "50", "AUDIT_MINUTES": "0.15", "GRACE_SECONDS": "2",
    "OVERLAP_SECONDS": "2", "WINDOW_SECONDS": "60",
}  # fmt: skip
_QUICK = {"SILENCE_SECONDS": "0.4", "QUIET_SECONDS": "2", "GAP_SECONDS": "2", "HEALTHY_SECONDS": "0.6"}


def venue_of(name: str) -> str:
    """Name the venue that a feed of the practice venue belongs to: itself, or what it is the mirror of."""
    return name.removesuffix(_SUFFIX)


def settings(state: StateFolder) -> dict[str, str]:
    """Give the streaming process's environment for them."""
    found: dict[str, str] = {}
    for venue, mode in _MODES.items():
        base = f"EXECUTION_AGENT_VENUES__{venue}__"
        found |= {
            f"{base}BACKUP__FORMAT": "canonical",
            f"{base}BACKUP__FEED__KIND": "websocket",
            f"{base}BACKUP__FEED__URL": f"ws://127.0.0.1:{_port(state, venue)}",
            f"{base}FAILOVER__MODE": mode,
            **{f"{base}FAILOVER__{name}": value for name, value in _QUICK.items()},
        }
    base = f"EXECUTION_AGENT_VENUES__{_LISTED}__LOOK_BACK__"
    found[f"{base}URL"] = f"http://127.0.0.1:{state.port('simulator-look-back')}"
    return found | {f"{base}{name}": value for name, value in _LOOK_BACK.items()}


def mirror(state: StateFolder) -> None:
    """Add them to the practice venue's configuration, which has been written."""
    path = state.folder("simulator") / "simulator.json"
    config = json.loads(path.read_text("utf-8"))
    listed = next(venue for venue in config["venues"] if venue["name"] == _LISTED)
    config["snapshots_per_second"] = _SNAPSHOTS
    for venue in config["venues"]:
        if venue["kind"] == "rest":  # each call waits for its commit, behind all that the other feeds have brought
            venue["concurrency"] = _CALLS
    listed |= {"look_back_port": state.port("simulator-look-back"), "look_back_per_second": _LIST_PACE}
    config["venues"] += [
        {"name": f"{venue}{_SUFFIX}", "kind": "websocket", "mirror_of": venue, "port": _port(state, venue)}
        for venue in _MODES
    ]
    path.write_text(json.dumps(config, indent=1), "utf-8")


def _port(state: StateFolder, venue: str) -> int:
    return state.port(f"simulator-{venue.lower()}-backup")
