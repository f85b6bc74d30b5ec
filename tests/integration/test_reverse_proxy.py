"""The reverse proxy's example, run by a real nginx: who gets in where, and what is refused."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "deploy/nginx/execution-agent.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
OPENSSL = shutil.which("openssl") or "openssl"
HOSTS = ("dagster.example", "executions.example")
PEOPLE = {"dagster.example": "engineers", "executions.example": "analysts"}
pytestmark = pytest.mark.skipif(
    NGINX is None and "EXECUTION_AGENT_REQUIRE_SHARED" not in os.environ, reason="no nginx here (required in CI)"
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The example on a port of the test's own, with certificates and people; Dagster's pages are not there."""
    assert NGINX is not None, "nginx is required: apt install nginx-light"
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    reports = folder / "reports" / "trade_date=2026-11-20"
    reports.mkdir(parents=True)
    (reports / "execution-report.html").write_text("<!DOCTYPE html><title>a day</title>")
    for host in HOSTS:
        subprocess.run(
            [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
             "2", "-subj", f"/CN={host}", "-keyout", folder / f"{host}.key", "-out", folder / f"{host}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        (folder / f"{PEOPLE[host]}.htpasswd").write_text(f"{PEOPLE[host]}:{{PLAIN}}right\n")
    port = free_port()
    text = EXAMPLE.read_text()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{free_port()}"),
        ("127.0.0.1:3000", f"127.0.0.1:{free_port()}"),
        ("127.0.0.1:3001", f"127.0.0.1:{free_port()}"),
        ("/etc/nginx/execution-agent/", f"{folder}/"),
        ("/var/lib/execution-agent/dagster/reports/", f"{folder}/reports/"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; error_log {folder}/error.log; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {paths}\n{text}\n}}"
    )
    command = [NGINX, "-c", folder / "nginx.conf", "-p", folder]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr, tested.stderr
    with subprocess.Popen(command) as server:
        try:
            wait_for(port, server)
            yield port
        finally:
            server.terminate()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    pytest.fail("nginx does not listen")


def ask(
    port: int, host: str, path: str, who: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    headers = {"Host": host}
    if who is not None:
        headers["Authorization"] = "Basic " + b64encode(who.encode()).decode()
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


REPORT = "/reports/trade_date=2026-11-20/execution-report.html"


@pytest.mark.parametrize(
    ("host", "path", "who", "method", "status"),
    [
        ("dagster.example", "/", None, "GET", 401),
        ("executions.example", "/", None, "GET", 401),
        ("executions.example", REPORT, None, "GET", 401),
        ("executions.example", REPORT, "analysts:wrong", "GET", 401),
        ("executions.example", REPORT, "analysts:right", "GET", 200),
        ("executions.example", REPORT, "analysts:right", "DELETE", 403),
        ("executions.example", "/reports/../analysts.htpasswd", "analysts:right", "GET", 502),
        ("executions.example", "/reports/..%2fanalysts.htpasswd", "analysts:right", "GET", 502),
        ("dagster.example", "/", "analysts:right", "GET", 401),
        ("dagster.example", "/", "engineers:right", "GET", 502),
        ("dagster.example", "/report_asset_materialization/x", "engineers:right", "POST", 403),
        ("executions.example", "/report_asset_check/x", "analysts:right", "POST", 403),
    ],
)
def test_who_gets_in_where(proxy: int, host: str, path: str, who: str | None, method: str, status: int) -> None:
    # 502: let through to a page that does not run here
    assert ask(proxy, host, path, who, method)[0] == status


def test_a_report_may_load_nothing_and_be_framed_by_nobody(proxy: int) -> None:
    _, headers = ask(proxy, "executions.example", REPORT, "analysts:right")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-frame-options"] == "DENY"
    assert headers["strict-transport-security"]
    assert "private" in headers["cache-control"]
