"""Addresses among the settings: what is none is refused at the start, and not shown: it may hold a password."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError
from redis.connection import parse_url
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from trust.references import is_reference

_POSTGRES = frozenset({"postgresql", "postgres"})


def _postgres(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        if is_reference(text) or make_url(text).get_backend_name() in _POSTGRES:
            return value
    except (ArgumentError, ValueError):
        pass
    raise PydanticCustomError("url", "a URL such as postgresql://user:password@host:5432/database is required")


def _redis(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        if not is_reference(text):
            parse_url(text)  # type: ignore[no-untyped-call]
    except ValueError:
        raise PydanticCustomError("url", "a URL such as redis://:password@host:6379/0 is required") from None
    return value


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
