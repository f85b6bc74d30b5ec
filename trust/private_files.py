"""Files that hold a secret: only their owner may read them, and they are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from trust.errors import KeyUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path) -> bytes:
    """Read a file; raises ``KeyUnavailableError`` where it is missing, or others can use it too."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise KeyUnavailableError(f"key file {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise KeyUnavailableError(f"key file {path} can be used by others ({stat.filemode(mode)}): chmod 600 it")
    return content


def write_private(path: Path, content: bytes | str) -> None:
    """Replace a file, or make it (text as UTF-8); it is on disk when this returns."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
