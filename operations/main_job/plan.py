"""What a run is asked to do."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?\Z")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Plan(msgspec.Struct, frozen=True):
    """The options of ``execution-agent run``; ``seconds`` None is the endless run."""

    state: Path
    seconds: float | None
    seed: int
    captures: tuple[Path, ...]
    speed: float
    faults: bool
    orders_per_second: float
    dagster: bool
    analysts_page: bool = False
    identity: bool = False


def parse_duration(text: str) -> float:
    """Read ``90``, ``90s``, ``5m`` or ``1.5h`` as seconds. Raises ``ValueError``."""
    match = _DURATION.match(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no duration: write 90s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]
