"""Named queries, one ``.sql`` file a concern: read as SQL, not as Python strings."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(concern: str) -> dict[str, str]:
    """Read ``<concern>.sql``: each query follows a line ``-- name: <its name>``."""
    source = files(__package__).joinpath(f"{concern}.sql").read_text("utf-8")
    parts = _NAME.split(source)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
