"""Which secrets settings name by reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr

from trust.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Iterator


def references_in(settings: object) -> Iterator[str]:
    """Give every reference to a secret that settings, or a part of them, hold."""
    if isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from references_in(getattr(settings, name))
    elif isinstance(settings, dict):
        for one in settings.values():
            yield from references_in(one)
    elif isinstance(settings, list | tuple):
        for one in settings:
            yield from references_in(one)
    elif isinstance(settings, str | Path | SecretStr):
        text = settings.get_secret_value() if isinstance(settings, SecretStr) else str(settings)
        if is_reference(text):
            yield text
