"""What the feeds are called: in positions, on landed rows, in metrics, and as the keys of decoders."""

from __future__ import annotations

from typing import Literal

Kind = Literal["fix", "websocket", "rest"]

_SUFFIX: dict[Kind, str] = {"fix": "fix", "websocket": "ws", "rest": "rest"}


def primary_feed(venue: str, kind: Kind) -> str:
    """Name a venue's first feed: ``ALPHA.fix``."""
    return f"{venue}.{_SUFFIX[kind]}"


def look_back_feed(venue: str) -> str:
    """Name what a venue's own list of fills brings: ``ALPHA.look_back``."""
    return f"{venue}.look_back"


def backup_feed(venue: str, kind: Kind) -> str:
    """Name a venue's second feed: ``ALPHA.backup.ws``."""
    return f"{venue}.backup.{_SUFFIX[kind]}"
