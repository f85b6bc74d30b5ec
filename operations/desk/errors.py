"""What ends a command of the desk, as one line a person can act on."""

from __future__ import annotations


class DeskError(Exception):
    """Base of what the desk raises."""


class InputError(DeskError):
    """An input cannot be read."""


class UsageError(DeskError):
    """The options do not say what to do; the message names the remedy."""
