"""What REST callers were told, read off the wire."""

from __future__ import annotations

import re

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Answers:
    """What REST callers were told, as it passed by."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.without_retry_after = 0

    def listen(self, chunk: bytes) -> None:
        """Count the answers in what an HTTP server sent; one answer comes in one piece or begins one."""
        for found in _ANSWER.finditer(chunk):
            status = int(found[1])
            self.counts[status] = self.counts.get(status, 0) + 1
            if status in {429, 503} and b"retry-after" not in chunk.lower():
                self.without_retry_after += 1

    def since(self, earlier: dict[int, int]) -> dict[int, int]:
        """The counts less earlier ones."""
        found = {status: number - earlier.get(status, 0) for status, number in self.counts.items()}
        return {status: number for status, number in sorted(found.items()) if number}
