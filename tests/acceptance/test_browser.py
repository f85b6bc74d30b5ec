"""What people see of a day, in a real browser: Dagster's lineage, an asset, a failed check, and the day's report.

``EXECUTION_AGENT_SCREENSHOTS=docs/images`` keeps the pictures; they are of the same day every time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execution_assets.settings import REPORTS_VARIABLE
from tests.acceptance.trading_day import DAY, derive_all, land_day
from tests.conftest import fresh_database
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from operations.embedded import Endpoints

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = "EXECUTION_AGENT_REQUIRE_SHARED" in os.environ
SCREENSHOTS = os.environ.get("EXECUTION_AGENT_SCREENSHOTS")
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no Chromium here (it is required in CI)"),
]


@pytest.fixture(scope="module")
def dagster(
    endpoints: Endpoints, _ledger_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Dagster's page over a day that was derived, checked and reported by real runs: its URL and the report."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
    with fresh_database(endpoints, template=_ledger_template) as ledger, fresh_database(endpoints) as own:
        asyncio.run(land_day(endpoints.postgres_url(ledger)))
        derive_all(endpoints.postgres_url(ledger))
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_URL": endpoints.postgres_url(own, "postgresql+psycopg2"),
            "EXECUTION_AGENT_POSTGRES_URL": endpoints.postgres_url(ledger),
            REPORTS_VARIABLE: str(home / "reports"),
            "PYTHONPATH": str(ROOT),
        }
        for assets in ("executions,slippage_metrics,reconciliation_breaks,venue_quality", "execution_report"):
            command = [BIN / "dagster", "asset", "materialize", "-m", "operations.definitions"]
            done = subprocess.run(
                [*command, "--select", assets, "--partition", DAY.isoformat()],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-6000:]
        port = free_port()
        with (home / "webserver.log").open("w") as log:
            server = subprocess.Popen(
                [BIN / "dagster-webserver", "-h", "127.0.0.1", "-p", str(port), "-w", ROOT / "workspace.yaml"],
                cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_for(url, server, home / "webserver.log")
                yield url, home / "reports" / f"trade_date={DAY}" / "execution-report.html"
            finally:
                server.terminate()
                server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310  our own
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{url} does not answer: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  starts a driver

    assert CHROMIUM is not None, "Chromium is required: apt install chromium"
    with sync_playwright() as playwright:
        # a container's root has no sandbox; the page is our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose errors fail the test."""
    page = browser.new_page(viewport={"width": 1440, "height": 860})
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert not errors


def keep(page: Page, name: str, part: str | None = None) -> None:
    """Keep a picture of what is seen, or of a part of the page, where that is asked for."""
    if SCREENSHOTS:
        page.wait_for_timeout(1_500)  # animations
        path = ROOT / SCREENSHOTS / f"{name}.png"
        if part is None:
            page.screenshot(path=path)
        else:
            page.locator(part).first.screenshot(path=path)


def test_the_lineage_is_drawn(dagster: tuple[str, Path], page: Page) -> None:
    page.goto(f"{dagster[0]}/locations/execution-agent/asset-groups/derived/lineage")
    for name in ("fills", "executions", "slippage_metrics", "venue_quality", "execution_report"):
        page.get_by_text(name, exact=True).first.wait_for()
    keep(page, "lineage")


def test_an_assets_page_shows_the_summary_of_the_day(dagster: tuple[str, Path], page: Page) -> None:
    page.goto(f"{dagster[0]}/assets/execution_report?view=partitions&partition={DAY}")
    page.get_by_text("Use with care").first.wait_for()
    page.get_by_text("digest", exact=True).first.wait_for()
    keep(page, "asset")


def test_a_failed_check_names_the_row_and_the_remedy(dagster: tuple[str, Path], page: Page) -> None:
    page.goto(f"{dagster[0]}/assets/executions?view=checks&checkDetail=prices_are_within_limits")
    page.get_by_text("Failed", exact=False).first.wait_for()
    page.get_by_text("Beyond the limit: the venue broke the order's terms", exact=False).first.wait_for()
    keep(page, "failed-check")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light")])
def test_the_report_opens_from_disk_and_asks_for_nothing(
    dagster: tuple[str, Path], browser: Browser, width: int, scheme: str
) -> None:
    report = dagster[1]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    heard: list[str] = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    assert [url for url in heard if not url.startswith("data:")] == [report.as_uri()]
    for said in (
        "Execution report, Wednesday, 18 June 2025",
        "Use with care",
        "“prices are within limits” failed",
    ):
        assert page.get_by_text(said).first.is_visible(), said
    pictures = page.locator("figure svg")
    assert pictures.count() == 9
    for n in range(pictures.count()):
        box = pictures.nth(n).bounding_box()
        assert box is not None
        assert box["width"] > 290
        assert box["height"] > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    # text in a picture takes the page's colours: told apart from what is behind it, light or dark
    ink, back = page.evaluate(
        "[getComputedStyle(document.querySelector('figure svg text')).fill,"
        " getComputedStyle(document.querySelector('figure')).backgroundColor]"
    )
    assert contrast(ink, back) >= 4.5, (ink, back)
    if scheme == "light":
        keep(page, "report" if width > 1000 else "report-narrow")
    if width > 1000:
        keep(page, f"slippage-{scheme}", "#slippage .pair")
    page.close()


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two ``rgb(r, g, b)``."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
