"""The live table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from operations.main_job.figures import Figures
    from operations.main_job.job import Pages

_SUFFIX = {"fix": "fix", "websocket": "ws", "rest": "rest"}
_CAPTION = "in, p50, p95, p99, fill events: since the streaming process started; the rest: since the data began"
_GOOD, _BAD, _DIM = "green", "bold red", "dim"


def draw(figures: Figures, pages: Pages, elapsed: float, note: str) -> Group:
    """Draw everything that a person watches."""
    return Group(_venues(figures), _line(figures, elapsed), _pages(pages), Text(note, style=_DIM))


def _venues(figures: Figures) -> Table:
    table = Table(title="ExecutionAgent", title_justify="left", title_style="bold", expand=False)
    table.caption, table.caption_justify, table.caption_style = _CAPTION, "left", _DIM
    for name in ("venue", "feed", "state"):
        table.add_column(name)
    for name in ("sent", "in", "landed", "dupl.", "pending", "breaks", "dead", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for name, sent in figures.simulator.get("venues", {}).items():
        venue = figures.stream.get("venues", {}).get(name, {})
        feed = f"{name}.{_SUFFIX[sent['kind']]}"
        state = figures.stream.get("feeds", {}).get(feed, "starting")
        table.add_row(
            name,
            sent["kind"],
            Text(state, style=_GOOD if state == "live" else _BAD),
            f"{sent['reports_sent']:,}",
            f"{venue.get('received', 0):,}",
            f"{figures.landed.get(name, 0):,}",
            f"{figures.duplicates.get(name, 0):,}",
            f"{figures.pending.get(name, 0):,}",
            _alarming(figures.breaks.get(name, 0)),
            f"{figures.dead_letters.get(name, 0):,}",
            *(_milliseconds(venue, percentile) for percentile in ("p50", "p95", "p99")),
        )
    return table


def _alarming(number: int) -> Text:
    return Text(f"{number:,}", style=_BAD if number else "")


def _milliseconds(venue: dict[str, Any], percentile: str) -> str:
    value = venue.get("latency_ms", {}).get(percentile)
    return "" if value is None else f"{value:.1f}"


def _line(figures: Figures, elapsed: float) -> Text:
    stream = figures.stream
    published = stream.get("published", {}).get("execution.event.fill.v1", 0)
    parts = [
        f"{elapsed:,.0f} s",
        f"market: {figures.simulator.get('state', 'starting')}",
        f"intents {figures.simulator.get('intents', 0):,}",
        f"snapshots {figures.simulator.get('snapshots', 0):,}",
        f"fill events on Kafka {published:,}",
        f"publisher {stream.get('publisher', 'starting')}",
        f"kafka in {stream.get('feeds', {}).get('kafka', 'starting')}",
        f"redis {stream.get('redis', 'starting')}",
        f"backlog {stream.get('backlog', 0):,}",
    ]
    return Text("  ·  ".join(parts))


def _pages(pages: Pages) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, place in pages.rows():
        table.add_row(Text(name, style=_DIM), place)
    return table
