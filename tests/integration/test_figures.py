"""What the live table shows: Postgres counts over all runs, by venue, also of a venue with a dot in its name."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from rich.console import Console

from operations.main_job.board import draw
from operations.main_job.figures import Observer
from operations.main_job.job import Pages

if TYPE_CHECKING:
    from operations.main_job.programs import Ports

NOBODY = cast("Ports", SimpleNamespace(http=1, control=1))  # nobody listens there


@pytest.fixture
def connection(ledger_url: str) -> Any:
    with psycopg.connect(ledger_url, autocommit=True) as opened:
        opened.execute(
            "INSERT INTO execution.feed_counts (feed, counted_on, duplicates) "
            "VALUES ('BIG.EAST.ws', '2026-11-22', 2), ('BIG.EAST.ws', '2026-11-23', 3), "
            "('ALPHA.fix', '2026-11-23', 1)"
        )
        opened.execute(
            "INSERT INTO execution.dead_letters "
            "(dead_letter_id, source, feed, reason, field, value, raw, received_ns, rule, remedy) VALUES "
            "(gen_random_uuid(), 'BIG.EAST', 'BIG.EAST.ws', 'malformed', 'report', '', '', 1, 'JSON', 'Ask.')"
        )
        yield opened


def test_duplicates_are_of_the_venue_before_the_last_dot(connection: psycopg.Connection[Any]) -> None:
    figures = Observer(NOBODY, connection).look()
    assert dict(figures.duplicates) == {"BIG.EAST": 5, "ALPHA": 1}
    assert dict(figures.dead_letters) == {"BIG.EAST": 1}
    assert dict(figures.landed) == {}
    assert (figures.stream, figures.simulator) == ({}, {})


def test_the_table_shows_counts_of_all_runs_and_says_so(connection: psycopg.Connection[Any]) -> None:
    figures = Observer(NOBODY, connection).look()
    figures.landed["BIG.EAST"] = 1234
    figures.simulator = {"venues": {"BIG.EAST": {"kind": "websocket", "reports_sent": 1234}}}
    console = Console(width=120)
    with console.capture() as captured:
        console.print(draw(figures, Pages(None, "s", "b", "p", "d", "l"), 1.0, "note"))
    shown = captured.get()
    [row] = [line for line in shown.splitlines() if "BIG.EAST" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")][3:9] == ["1,234", "0", "1,234", "5", "0", "0"]
    assert "since the data began" in shown
