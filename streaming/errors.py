"""What the streaming process raises."""

from __future__ import annotations


class StreamingError(Exception):
    """Base of the streaming process's errors."""


class SettingsError(StreamingError):
    """A setting is missing or wrong: one line that names it, its value and the remedy."""


class InboxFullError(StreamingError):
    """The lander is behind: the feed must hold back. ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the inbox is full, try again in {retry_after:g} s")
        self.retry_after = retry_after


class FeedError(StreamingError):
    """A feed cannot go on by itself."""


class PublishError(StreamingError):
    """The topics cannot be written now; what has landed is published later."""
