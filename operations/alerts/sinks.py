"""The places that an alert is handed to. Each takes a notice or raises ``OSError`` with what to look at."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import structlog

from sensors.alerting import AlertSink, Notice, State, as_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ATTEMPTS = 3
TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_MODE = 0o640

log = structlog.get_logger()


def as_data(notice: Notice) -> dict[str, Any]:
    """Give a notice for programs; ``text`` is for the chat systems whose webhooks show just that."""
    alert = notice.alert
    return {
        "id": notice.id,
        "state": str(notice.state),
        "at": _utc(notice.at),
        "text": as_line(notice),
        "name": alert.name,
        "subject": alert.subject,
        "summary": alert.summary,
        "since": _utc(alert.since),
        "figure": alert.figure,
        "limit": alert.limit,
        "remedy": alert.remedy,
        "docs": alert.docs,
    }


class LogSink:
    """The structured log."""

    def send(self, notice: Notice) -> None:
        """Write a line."""
        data = as_data(notice)
        write = log.info if notice.state is State.RESOLVED else log.warning
        write(f"alert {data.pop('state')}", **{k: v for k, v in data.items() if k != "text"})


class FileSink:
    """A file of JSON lines: one notice a line, the newest last."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, notice: Notice) -> None:
        """Append a line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab", opener=_opener) as file:
            file.write(msgspec.json.encode(as_data(notice)) + b"\n")


class WebhookSink:
    """A URL that takes JSON by POST; with a secret it is signed as Standard Webhooks has it."""

    def __init__(self, url: str, secret: str | None = None) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError(
                f"EXECUTION_AGENT_ALERT_WEBHOOK begins with {url[:12]!r}: an http:// or https:// URL is required"
            )
        self._url = url
        self._signer = None
        if secret:
            from standardwebhooks import Webhook  # noqa: PLC0415  most have no secret
            from standardwebhooks.webhooks import EmptyWebhookSecretError  # noqa: PLC0415

            try:
                self._signer = Webhook(secret)
            except (ValueError, EmptyWebhookSecretError) as error:  # its text may hold a part of the secret
                raise ValueError(
                    "EXECUTION_AGENT_ALERT_SECRET: base64 behind whsec_ is required (Standard Webhooks)"
                ) from error

    def send(self, notice: Notice) -> None:
        """Post it; raises ``OSError`` when no attempt was answered with 2xx."""
        body = msgspec.json.encode(as_data(notice)).decode()
        headers = {"Content-Type": "application/json", "webhook-id": notice.id}
        if self._signer is not None:
            now = datetime.now(UTC)
            headers["webhook-timestamp"] = str(int(now.timestamp()))
            headers["webhook-signature"] = self._signer.sign(notice.id, now, body)
        request = urllib.request.Request(self._url, body.encode(), headers)  # noqa: S310  checked above
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
                    return
            except urllib.error.HTTPError as error:
                last = f"answered {error.code}"
                error.close()
            except OSError as error:
                last = str(getattr(error, "reason", error))
            if attempt < ATTEMPTS:
                time.sleep(_PAUSE_SECONDS * attempt)
        host = urlsplit(self._url).hostname  # the rest of the URL may be a secret
        raise OSError(f"the alerts' webhook at {host} did not take the notice in {ATTEMPTS} attempts: {last}")


class AllSinks:
    """Several places: one that is away keeps nothing from the others."""

    def __init__(self, sinks: Sequence[AlertSink]) -> None:
        self._sinks = sinks

    def send(self, notice: Notice) -> None:
        """Send to all; raises ``OSError`` naming those that did not take it."""
        problems: list[str] = []
        for sink in self._sinks:
            try:
                sink.send(notice)
            except OSError as error:
                problems.append(str(error))
        if problems:
            raise OSError("; ".join(problems))


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, _MODE)
