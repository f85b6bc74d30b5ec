"""The places that alerts go to, with a real HTTP server for the webhook."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from operations.alerts import sinks
from operations.alerts.resource import Alerts
from operations.alerts.sinks import AllSinks, FileSink, WebhookSink
from sensors.alerting import Alert, State, make_notice

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ALERT = Alert(
    "run-failed", "derive_day", "it failed", 1_795_000_000.0, "run 1", "success", "Look.", "docs/alerts.md#x"
)
NOTICE = make_notice(State.RAISED, ALERT, 1_795_000_001.0)


class Receiver(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=hidden"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(sinks, "_PAUSE_SECONDS", 0.01)
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_gets_the_alert_signed(receiver: Receiver) -> None:
    WebhookSink(receiver.url, SECRET).send(NOTICE)
    [(headers, body)] = receiver.received
    assert Webhook(SECRET).verify(body, headers)["name"] == "run-failed"
    told = json.loads(body)
    assert (told["id"], told["state"], told["since"]) == (NOTICE.id, "raised", "2026-11-18T11:06:40.000+00:00")
    assert "Look." in told["text"]


def test_a_webhook_that_stumbles_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [503, 500]
    WebhookSink(receiver.url).send(NOTICE)
    assert [headers["webhook-id"] for headers, _ in receiver.received] == [NOTICE.id] * 3


def test_a_webhook_that_stays_away_is_said_without_its_secrets(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [503] * 9
    file = tmp_path / "alerts.jsonl"
    with pytest.raises(OSError, match="in 3 attempts: answered 503") as caught:
        AllSinks([WebhookSink(receiver.url), FileSink(file)]).send(NOTICE)
    assert "hidden" not in str(caught.value)
    assert json.loads(file.read_text())["id"] == NOTICE.id, "the other places have it"


def test_a_url_that_is_none_is_refused_with_its_variable() -> None:
    with pytest.raises(ValueError, match="EXECUTION_AGENT_ALERT_WEBHOOK"):
        WebhookSink("ftp://example.com")


def test_a_secret_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="EXECUTION_AGENT_ALERT_SECRET") as caught:
        WebhookSink("https://example.com", "whsec_!!!")
    assert "!!!" not in str(caught.value)


def test_the_file_has_a_line_a_notice_for_its_group_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for _ in range(2):
        Alerts().send(NOTICE)
    file = tmp_path / "alerts.jsonl"
    assert [json.loads(line)["subject"] for line in file.read_text().splitlines()] == ["derive_day"] * 2
    assert not stat.S_IMODE(file.stat().st_mode) & 0o007


def test_without_settings_only_the_log_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DAGSTER_HOME", "EXECUTION_AGENT_ALERT_WEBHOOK", "EXECUTION_AGENT_ALERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    Alerts().send(NOTICE)
    assert "it failed" in capsys.readouterr().out
