"""The venues as the ledger, the settings and the running process know them."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from ledger.db.sql import load_queries
from streaming.settings import feeds_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from streaming.settings import Settings

Row = dict[str, Any]

_SQL = load_queries("venues")
_CONNECT_SECONDS = 5
_STATUS_SECONDS = 1.0
_HEAD = ("venue", "state", "active", "since", "last_report", "outages_today", "out_today", "feeds")
MARKET_DATA = "market-data"


def read(url: str, settings: Settings | None) -> list[Row]:
    """Give a row a venue, by name, and one of the snapshots while they are out. Raises ``psycopg.Error``."""
    with psycopg.connect(
        url, connect_timeout=_CONNECT_SECONDS, autocommit=True, row_factory=dict_row
    ) as connection:
        found = {name: connection.execute(query.encode()).fetchall() for name, query in _SQL.items()}
    switches = {row["venue"]: row for row in found["switches"]}
    today = {row["venue"]: row for row in found["today"]}
    outages: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in found["outages"]:
        outages[row["venue"]][row["feed"]] = row
    reports: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in found["last_reports"]:
        reports[row["venue"]][row["feed"]] = row["received_at"]
    feeds = {} if settings is None else {name: list(feeds_of(name, v)) for name, v in settings.venues.items()}
    known = feeds.keys() | switches.keys() | outages.keys() | today.keys() | reports.keys()
    now = {} if settings is None else _states(settings)
    return [
        _row(name, feeds.get(name, []), switches.get(name), outages[name], today.get(name), reports[name], now)
        for name in sorted(known)
        if name != MARKET_DATA or outages[name]
    ]


def _row(
    name: str,
    feeds: Sequence[str],
    switch: Row | None,
    outages: dict[str, Row],
    today: Row | None,
    reports: dict[str, datetime],
    now: dict[str, str],
) -> Row:
    active = switch["to_feed"] if switch is not None else next(iter(feeds), None)
    state = "backup" if switch is not None else "primary"
    if name == MARKET_DATA or (active is not None and active in outages):
        state = "out"
    began = [row["began_at"] for row in outages.values()]
    since = switch["switched_at"] if switch is not None else min(began, default=None)
    last = max(reports.values(), default=None)
    shown = list(feeds) or sorted({*outages, *reports})
    return {
        "venue": name,
        "state": state,
        "active": active,
        "since": None if since is None else since.isoformat(),
        "reason": switch["reason"] if switch is not None else next((r["reason"] for r in outages.values()), None),
        "last_report": None if last is None else last.isoformat(),
        "outages_today": today["outages"] if today is not None else 0,
        "outage_seconds_today": round(today["seconds"], 3) if today is not None else 0.0,
        "feeds": [
            {
                "feed": feed,
                "now": now.get(feed),
                "out_since": outages[feed]["began_at"].isoformat() if feed in outages else None,
                "cause": outages[feed]["cause"] if feed in outages else None,
                "last_report": reports[feed].isoformat() if feed in reports else None,
            }
            for feed in shown
        ],
    }


def _states(settings: Settings) -> dict[str, str]:
    """Ask the running process what its feeds do; nothing where none answers."""
    http = settings.http
    try:
        with urllib.request.urlopen(f"http://{http.host}:{http.port}/status", timeout=_STATUS_SECONDS) as answer:
            found = json.loads(answer.read()).get("feeds", {})
    except (OSError, ValueError):
        return {}
    return {str(feed): str(state) for feed, state in found.items()}


def as_table(rows: Sequence[Row]) -> str:
    """One line a venue, under a line of names."""
    if not rows:
        return "no venue is known"
    lines = [_HEAD, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _line(row: Row) -> tuple[str, ...]:
    feeds = ", ".join(f"{f['feed']} {f['cause'] or f['now'] or '-'}" for f in row["feeds"])
    return (
        row["venue"],
        row["state"],
        row["active"] or "-",
        _short(row["since"]),
        _short(row["last_report"]),
        str(row["outages_today"]),
        f"{row['outage_seconds_today']:.0f} s",
        feeds or "-",
    )


def _short(time: str | None) -> str:
    return "-" if time is None else time[:19].replace("T", " ")
