"""What our own child processes are started with."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def child_environment() -> dict[str, str]:
    """Give our environment, with our code to be found: the program may run from a tree that is not installed."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{path}" if path else str(_ROOT)}
