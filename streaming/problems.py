"""Errors of the HTTP edge as RFC 9457 problem details: one table of what can be answered."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"


class Problem(Enum):
    """A kind of problem: its status and its title, which never change; the detail says what it was this time."""

    MALFORMED = (400, "The body cannot be read")
    GONE_AWAY = (400, "The body ended before its end")
    NOT_SIGNED = (401, "The signature or its timestamp is wrong")
    UNKNOWN_VENUE = (404, "No venue by this name calls here")
    NOT_FOUND = (404, "There is nothing here")
    METHOD = (405, "This is not done here")
    SLOW_BODY = (408, "The body took too long")
    TOO_LARGE = (413, "The body is over the limit")
    BAD_REPORT = (422, "A report in the body is bad")
    QUEUE_FULL = (429, "The queue is full")
    INTERNAL = (500, "Something went wrong here")
    LEDGER_AWAY = (503, "The ledger is away")
    NOT_COMMITTED = (503, "The commit has not come in time")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def title(self) -> str:
        """The title, the same for every occurrence."""
        return self.value[1]

    @property
    def urn(self) -> str:
        """The problem's type."""
        return "urn:execution-agent:problem:" + self.name.lower().replace("_", "-")


def problem(
    kind: Problem,
    detail: str,
    instance: str,
    *,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
    response_class: type[Response] = Response,
) -> Response:
    """Answer with a problem; ``more`` are its extension members."""
    body = {
        "type": kind.urn,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        **(more or {}),
    }
    return response_class(msgspec.json.encode(body), kind.status, dict(headers or {}), MEDIA_TYPE)
