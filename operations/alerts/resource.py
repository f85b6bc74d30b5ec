"""The alerts' sink as Dagster's sensors get it.

Its settings are read when an alert is sent. They are no resource config, which Dagster's pages show: the webhook's
URL and its secret are secrets.
"""

import os
from pathlib import Path

from operations.alerts.sinks import AllSinks, FileSink, LogSink, WebhookSink
from sensors.alerting import AlertSink, Notice

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
    url = os.environ.get(WEBHOOK_VARIABLE)
    if url:
        sinks.append(WebhookSink(url, os.environ.get(SECRET_VARIABLE) or None))
    return AllSinks(sinks)
