"""A Workload API that is there for as long as a test needs it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from operations.embedded.workload_api import WorkloadApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Api = TypeVar("Api", bound=WorkloadApi)


@contextmanager
def served(make: Callable[[Path], Api]) -> Iterator[Api]:
    """Serve what ``make`` makes of a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="spiffe-"))  # a socket's path is at most 107 bytes
    api = make(folder / "api.sock")
    api.start()
    try:
        yield api
    finally:
        api.stop()
        shutil.rmtree(folder)
