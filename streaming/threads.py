"""Threads that the end of the process does not wait for."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn


class DetachedExecutor(ThreadPoolExecutor):
    """The event loop's threads. librdkafka's calls take up to 30 s while the broker is away.

    What they were doing is found out by the next start, as after a crash.
    """

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work."""
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def leave(code: int) -> NoReturn:
    """End the process at once: Python would join every thread first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
