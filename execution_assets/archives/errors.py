"""What can be wrong with archives; what the store and the keys refuse is a ``trust.errors.TrustError``."""

from __future__ import annotations


class ArchiveError(Exception):
    """An archive cannot be written, opened or trusted; the message says which, why and what to do."""


class ArchiveSettingsError(ArchiveError, ValueError):
    """A setting of the archives is missing or wrong; the message names it, its value and the rule."""
