"""Real messages and captured markets, read in place: not the project's to ship."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared"
_REQUIRED = "EXECUTION_AGENT_REQUIRE_SHARED" in os.environ

needs_shared = pytest.mark.skipif(
    not _SHARED.is_dir() and not _REQUIRED, reason="../shared is not here (it is required in CI)"
)


def shared(name: str) -> Path:
    """Give the path of a file of ../shared."""
    return _SHARED / name
