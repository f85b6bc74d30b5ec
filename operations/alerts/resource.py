"""The alerts' sink as Dagster's sensors get it.

Its settings are read when an alert is sent. They are no resource config, which Dagster's pages show: the webhook's
URL and its secret are secrets.
"""

import os
from pathlib import Path

from operations.alerts.sinks import AllSinks, FileSink, LogSink, WebhookSink
from sensors.alerting import AlertSink, Notice
from trust.errors import TrustError
from trust.references import is_reference

WEBHOOK_VARIABLE = "EXECUTION_AGENT_ALERT_WEBHOOK"
SECRET_VARIABLE = "EXECUTION_AGENT_ALERT_SECRET"  # noqa: S105  the name of a variable
FILE_VARIABLE = "EXECUTION_AGENT_ALERT_FILE"
_FILE = "alerts.jsonl"


class Alerts:
    """The log always; a file of JSON lines, as set or in DAGSTER_HOME; a webhook where one is set."""

    def send(self, notice: Notice) -> None:
        """Hand a notice over; raises ``OSError`` where it did not arrive everywhere."""
        configured_sink().send(notice)


def configured_sink() -> AlertSink:
    """Give the places that are set. Raises ``ValueError`` naming a setting that is wrong."""
    sinks: list[AlertSink] = [LogSink()]
    file, home = os.environ.get(FILE_VARIABLE), os.environ.get("DAGSTER_HOME")
    if file or home:
        sinks.append(FileSink(Path(file) if file else Path(str(home)) / _FILE))
    url = _secret(WEBHOOK_VARIABLE)
    if url:
        sinks.append(WebhookSink(url, _secret(SECRET_VARIABLE)))
    return AllSinks(sinks)


def _secret(variable: str) -> str | None:
    """Give what a variable says, or refers to. Raises ``OSError`` where Vault cannot be asked now."""
    text = os.environ.get(variable)
    if not text or not is_reference(text):
        return text or None
    from trust.clients import secret_of  # noqa: PLC0415  most have no Vault

    try:
        return secret_of(text, os.environ)
    except TrustError as error:
        raise OSError(f"{variable}: {error}") from error
