"""The page of a day: its facts in, one HTML text out. Pure but for the style sheet and template beside it."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.report import pictures, tables
from execution_assets.report.figures import (
    MOST_SYMBOLS,
    State,
    ages,
    complete,
    costs,
    curves,
    digest_of_day,
    groups,
    open_breaks,
    states,
)
from execution_assets.report.tables import Sheet
from execution_assets.report.words import sentences, verdict
from execution_assets.report.written import count, currency, instant, long_date, money, things, words

if TYPE_CHECKING:
    from execution_assets.report.facts import DayFacts

# XML and HTML have no such characters, whatever a venue calls its symbols
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MOST_TILES, _FEW = 3, 4
_KEPT = (date, Decimal)
_NAMES = {
    "slippage": "Slippage", "shortfall": "Shortfall", "latency": "Latency", "completeness": "Completeness",
    "doubtful": "Best effort",
}  # fmt: skip


class Picture(msgspec.Struct, frozen=True):
    """A picture with its caption; ``svg`` is markup."""

    svg: Any
    caption: str
    note: str = ""


class Section(msgspec.Struct, frozen=True):
    """Pictures and tables of one subject; ``beside``: tables that are narrow enough to stand by a picture."""

    pictures: list[Picture]
    tables: list[Sheet]
    beside: list[Sheet] = []


def render(facts: DayFacts, version: str) -> str:
    """Make the page; ``version`` names the code. The same facts and version give the same text."""
    import jinja2  # noqa: PLC0415  with markupsafe 0.1 s that loading the definitions must not cost

    facts = msgspec.convert(_shown(msgspec.to_builtins(facts, builtin_types=_KEPT)), type(facts))
    folder = files(__package__)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(folder.joinpath("page.html.jinja").read_text("utf-8"))
    parts: dict[str, Section | None] = {
        "slippage": _slippage(facts),
        "shortfall": _shortfall(facts),
        "latency": _latency(facts),
        "completeness": _completeness(facts),
        "doubtful": Section([], [tables.best_effort(facts)]) if facts.reasons else None,
    }
    return template.render(
        day=facts.day.isoformat(),
        long_day=long_date(facts.day),
        style=_markup(folder.joinpath("style.css").read_text("utf-8")),
        data_until=None if facts.derived is None else instant(facts.derived.high_water),
        verdict=verdict(facts),
        sections=[
            ("summary", "The day in short"),
            *(
                (anchor, _NAMES.get(anchor, anchor.capitalize()))
                for anchor, part in parts.items()
                if part is not None
            ),
            ("breaks", "Breaks"),
            ("checks", "Checks"),
            ("origin", "Where this comes from"),
        ],
        sentences=sentences(facts),
        tiles=_tiles(facts),
        money=tables.traded(facts),
        failures=_failures(facts),
        **parts,
        breaks=_breaks(facts),
        checks=tables.checks(facts),
        origin=_origin(facts, version),
        digests=tables.digests(facts),
    )


def _slippage(facts: DayFacts) -> Section | None:
    venues, symbols, by_hour = (groups(facts, name) for name in ("venue", "symbol", "hour"))
    if not venues:
        return None
    found = []
    if any(group.ranks for group in venues):
        title = "Slippage by venue"
        found.append(Picture(_markup(pictures.spreads("by-venue", title, venues)), title))
        title = "Slippage by symbol"
        shown = symbols[:MOST_SYMBOLS]
        is_cut = len(symbols) > len(shown)
        note = f"the {MOST_SYMBOLS} with most executions of {len(symbols)} symbols" if is_cut else ""
        found.append(Picture(_markup(pictures.spreads("by-symbol", title, shown)), title, note))
        title = "Slippage by hour"
        found.append(Picture(_markup(pictures.hours("by-hour", title, by_hour)), title))
    if facts.histogram:
        title = "How slippage is spread"
        drawn = pictures.histogram("spread", title, facts)
        found.append(Picture(_markup(drawn), title))
    lines = curves(facts.horizons)
    more = []
    if lines:
        title = "Slippage at the fill, and markouts after it"
        note = "falling: the price moved on the way we traded; rising: it came back"
        found.append(Picture(_markup(pictures.horizons("horizons", title, lines)), title, note))
        more = [tables.horizons(facts)]
    return Section(
        found,
        [
            *([tables.benchmarks(kinds)] if (kinds := groups(facts, "benchmark")) else []),
            tables.spreads("Slippage by venue, bps against the arrival mid", "venue", venues),
            tables.spreads("Slippage by symbol, bps against the arrival mid", "symbol", symbols),
            tables.spreads("Slippage by hour (UTC), bps against the arrival mid", "hour", by_hour),
        ],
        more,
    )


def _shortfall(facts: DayFacts) -> Section | None:
    found = costs(facts)
    if not found:
        return None
    drawn = []
    if any(cost.bps for cost in found):
        title = "What the shortfall is made of"
        drawn.append(Picture(_markup(pictures.shortfalls("shortfalls", title, found)), title))
    return Section(drawn, [tables.shortfalls(found)])


def _latency(facts: DayFacts) -> Section | None:
    if not facts.commits:
        return None
    drawn = []
    if facts.venues:
        title = "From received to landed, by venue"
        slo = facts.venues[0].slo_us
        drawn.append(Picture(_markup(pictures.latencies("latencies", title, facts.commits, slo)), title))
    return Section(drawn, [], [tables.landing(facts), tables.hearing(facts)])


def _completeness(facts: DayFacts) -> Section | None:
    if not facts.venues and not facts.letters:
        return None
    drawn = []
    if any(venue.orders_claimed for venue in facts.venues):
        title = "Orders whose quantity is what the venue claims"
        drawn.append(Picture(_markup(pictures.completeness("complete", title, facts.venues)), title))
    found = [tables.completeness(facts)] if facts.venues else []
    return Section(drawn, [*found, tables.letters(facts)] if facts.letters else found)


def _breaks(facts: DayFacts) -> Section | None:
    if not facts.break_ages:
        return None
    title = "Breaks by age"
    svg = pictures.breaks("ages", title, ages(facts.break_ages))
    drawn = Picture(_markup(svg), title, "their age when they ended, or when the day did")
    return Section([drawn], [tables.oldest(facts)] if facts.open_breaks else [], [tables.break_ages(facts)])


def _tiles(facts: DayFacts) -> list[dict[str, str]]:
    part, whole = complete(facts)
    still = open_breaks(facts)
    found = states(facts)
    failed = sum(state in {State.BLOCKS, State.FAILED} for state, _ in found)
    warned = sum(state is State.WARNS for state, _ in found)
    traded = [
        _tile(f"Traded, {currency(n.currency)}", money(n.bought + n.sold), things(n.executions, "execution"))
        for n in sorted(facts.notionals, key=lambda n: (-n.executions, n.currency))[:_MOST_TILES]
    ]
    more = len(facts.notionals) - len(traded)
    return [
        _tile("Fills", count(facts.landed.fills), things(facts.landed.venues, "venue")),
        _tile("Executions", count(facts.executions.active), things(facts.executions.orders, "order")),
        *traded,
        *([_tile("Other currencies", count(more), "in the table below")] if more else []),
        _tile(
            "Orders complete",
            f"{count(part)} of {count(whole)}",
            "of those with a claimed quantity",
            "bad" if part < whole else "",
        ),
        _tile("Breaks open", count(still), "when the day ended", "care" if still else ""),
        _tile(
            "Checks failed",
            f"{count(failed)} of {count(len(found))}",
            things(warned, "warning"),
            "bad" if failed else "care" if warned else "",
        ),
    ]


def _tile(name: str, value: str, note: str = "", mark: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "note": note, "mark": mark}


def _failures(facts: DayFacts) -> list[dict[str, Any]]:
    return [
        {
            "title": f"“{words(outcome.check_name)}” "
            + {State.BLOCKS: "failed and blocks the day", State.FAILED: "failed", State.WARNS: "warns"}[state],
            "is_bad": state is not State.WARNS,
            "expected": f"Expected: {outcome.description}",
            "found": f"{things(outcome.failing, 'failure')} in {things(outcome.row_count, 'row')}.",
            "findings": outcome.findings[:_FEW],
            "more": max(outcome.failing - _FEW, 0),
            "remedy": outcome.remedy,
        }
        for state, outcome in states(facts)
        if state in {State.BLOCKS, State.FAILED, State.WARNS}
    ]


def _origin(facts: DayFacts, version: str) -> list[tuple[str, str]]:
    found = [("Code", version)]
    if facts.derived is not None:
        found.append(("Data up to", instant(facts.derived.high_water)))
    if digest := digest_of_day(facts):
        found.append(("Digest of the day", digest))
    return [*found, ("Made by", f"execution-agent report {facts.day.isoformat()}")]


def _markup(text: str) -> Any:
    """Let markup of our own through as it is; what is in it was escaped when it was made."""
    from markupsafe import Markup  # noqa: PLC0415

    return Markup(text)  # noqa: S704


def _shown(value: Any) -> Any:
    """Replace characters that no page can have."""
    if isinstance(value, str):
        return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value
