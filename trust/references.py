"""How a setting names a secret in place of being one.

``vault:MOUNT/PATH#FIELD`` is a field of a KV engine (version 2); ``vault-lease:PATH#FIELD`` one of an engine that
makes a secret for us and lends it (databases, clouds).
"""

from __future__ import annotations

from typing import NamedTuple

KV, LEASE = "vault:", "vault-lease:"
_FORM = "vault:MOUNT/PATH#FIELD or vault-lease:PATH#FIELD"
_LEAST = 2  # parts of a path


class Reference(NamedTuple):
    """Where a secret lies: ``place`` is the scheme and the path, which is read as one."""

    place: str
    field: str

    @property
    def text(self) -> str:
        """As settings have it."""
        return f"{self.place}#{self.field}"


def is_reference(text: str) -> bool:
    """Whether a setting's text names a secret in place of being one."""
    return text.startswith((KV, LEASE))


def parse_reference(text: str) -> Reference:
    """Read a reference. Raises ``ValueError``, which shows it: it is no secret."""
    place, _, field = text.partition("#")
    path = place.partition(":")[2]
    parts = path.split("/")
    if not is_reference(text) or not field or len(parts) < _LEAST or "" in parts or any(map(str.isspace, text)):
        raise ValueError(f"{text!r} is no reference to a secret: {_FORM} is required")
    return Reference(place, field)
