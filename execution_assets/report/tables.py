"""The tables of a day's report: captions, columns, cells. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from execution_assets.report.facts import HORIZONS
from execution_assets.report.figures import State, ages, curves, states, total
from execution_assets.report.written import bps, count, currency, lasting, money, ms, reasons, share, words
from ledger.domain.ageing import Age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.report.facts import DayFacts
    from execution_assets.report.figures import Cost, Group

MARKS = {
    State.BLOCKS: "bad", State.FAILED: "bad", State.WARNS: "care", State.OLD: "care", State.SKIPPED: "muted",
    State.PASSED: "good",
}  # fmt: skip
_NUMBER, _TEXT, _WIDE = "n", "", "wide"
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Cell(msgspec.Struct, frozen=True):
    """A cell; ``mark`` is how it is set off: bad, care, good, muted."""

    text: str
    mark: str = ""


class Column(msgspec.Struct, frozen=True):
    """A column; ``kind`` is the class of its cells."""

    name: str
    kind: str = _TEXT


class Sheet(msgspec.Struct, frozen=True):
    """A table; the first cell of a row is its heading."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def sheet(caption: str, columns: str, rows: Sequence[Sequence[object]]) -> Sheet:
    """Make a table; ``columns`` are joined by commas, ``#`` before one of numbers, ``~`` of prose.

    Cells are texts or ``Cell``.
    """
    kinds = {"#": _NUMBER, "~": _WIDE}
    named = [column.strip() for column in columns.split(",")]
    return Sheet(
        caption,
        [Column(_together(name.lstrip("#~")), kinds.get(name[0], _TEXT)) for name in named],
        [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in rows],
    )


def traded(facts: DayFacts) -> Sheet:
    """Show what was traded and paid, by currency."""
    fees = {fee.currency: fee for fee in facts.fees}
    rows = [
        [
            currency(n.currency), count(n.executions), money(n.bought), money(n.sold),
            money(total([n.bought, n.sold])), money(fees[n.currency].fee) if n.currency in fees else "–",  # noqa: RUF001
        ]
        for n in facts.notionals
    ]  # fmt: skip
    known = {n.currency for n in facts.notionals}
    rows += [
        [currency(fee.currency), "–", "–", "–", "–", money(fee.fee)]  # noqa: RUF001
        for fee in facts.fees
        if fee.currency not in known
    ]
    return sheet("Traded, by currency", "currency,#executions,#bought,#sold,#together,#fees", rows)


def best_effort(facts: DayFacts) -> Sheet:
    """Show what is best effort or missing, and why."""
    rows = [
        [
            words(r.kind), "missing" if r.is_missing else "best effort", count(r.figures),
            share(r.figures, r.of_all), reasons(r.reason),
        ]
        for r in facts.reasons
    ]  # fmt: skip
    return sheet("Figures that are best effort or missing", "figure,how,#figures,#of all,~why", rows)


def spreads(caption: str, name: str, groups: Sequence[Group]) -> Sheet:
    """Show the slippage of groups; without currency and weight where the groups are of several currencies."""
    weighed = any(group.currency for group in groups)
    rows = [
        [
            g.label, *([g.currency or "–"] if weighed else []), count(g.executions), bps(g.mean),  # noqa: RUF001
            *([bps(g.weighted)] if weighed else []), *(bps(rank) for rank in (g.ranks or (None,) * 5)),
            count(g.executions - g.measured), count(g.best_effort),
        ]
        for g in groups
    ]  # fmt: skip
    columns = [
        name, *(["currency"] if weighed else []), "#executions", "#mean", *(["#by notional"] if weighed else []),
        "#5 %", "#25 %", "#median", "#75 %", "#95 %", "#not measured", "#best effort",
    ]  # fmt: skip
    return sheet(caption, ",".join(columns), rows)


def benchmarks(groups: Sequence[Group]) -> Sheet:
    """Show the slippage by what it is measured against."""
    named = [msgspec.structs.replace(group, label=words(group.label)) for group in groups]
    return spreads("Slippage by benchmark, bps", "against", named)


def horizons(facts: DayFacts) -> Sheet:
    """Show each venue's mean against the later mids."""
    rows = [[c.venue, *(bps(mean) for mean in c.means), count(c.counts[0])] for c in curves(facts.horizons)]
    columns = ",".join(["venue", *(f"#{name}" for name in HORIZONS), "#executions"])
    return sheet("Mean slippage against the mid at the fill and later, bps", columns, rows)


def shortfalls(costs: Sequence[Cost]) -> Sheet:
    """Show the shortfall by currency, in money."""
    rows = [
        [
            currency(c.facts.currency), count(c.facts.orders), count(c.facts.measured), money(c.facts.paper),
            money(c.facts.delay), money(c.facts.trading), money(c.facts.opportunity), money(c.facts.fees),
            money(c.facts.total), bps(c.bps.get("total")), count(c.facts.best_effort),
        ]
        for c in costs
    ]  # fmt: skip
    columns = "currency,#orders,#measured,#worth,#delay,#trading,#opportunity,#fees,#total,#total bps,#best effort"
    return sheet("Implementation shortfall of the measured orders, in the price's currency", columns, rows)


def landing(facts: DayFacts) -> Sheet:
    """Show how fast what was received was in Postgres."""
    venues = {venue.venue: venue for venue in facts.venues}
    rows: list[list[str | Cell]] = []
    for one in facts.commits:
        venue = venues.get(one.venue)
        late = venue is not None and one.p95_us > venue.slo_us
        within = "–" if venue is None else share(venue.within_slo, venue.reports)  # noqa: RUF001
        marked = Cell(ms(one.p95_us), "bad" if late else "")
        rows.append([one.venue, count(one.reports), ms(one.p50_us), marked, ms(one.p99_us), within])
    columns = "venue,#reports,#median,#95 %,#99 %,#within the objective"
    return sheet("From received to landed, ms: our own share", columns, rows)


def hearing(facts: DayFacts) -> Sheet:
    """Show how fast venues told of their trades."""
    rows = [
        [v.venue, count(v.reports), ms(v.latency_p50_us), ms(v.latency_p95_us), ms(v.latency_p99_us)]
        for v in facts.venues
        if v.reports
    ]
    return sheet("From traded to received, ms, by the venue's clock", "venue,#reports,#median,#95 %,#99 %", rows)


def completeness(facts: DayFacts) -> Sheet:
    """Show what is here of what each venue has."""
    rows: list[list[str | Cell]] = [
        [
            v.venue, count(v.reports), share(v.orders_complete, v.orders_claimed),
            _bad(v.orders_claimed - v.orders_complete), _bad(v.gaps_open), _bad(v.pending), count(v.duplicates),
            _bad(v.dead_letters), f"{count(v.halts)} ({lasting(v.halted_seconds)})" if v.halts else "0",
            count(v.audits), _bad(v.audit_missing) if v.audits else "–",  # noqa: RUF001
        ]
        for v in facts.venues
    ]  # fmt: skip
    columns = (
        "venue,#reports,#orders complete,#incomplete,#gaps open,#waiting,#duplicates,#dead letters,#halts,"
        "#look-backs,#found missing"
    )
    return sheet("What is here of what each venue has", columns, rows)


def letters(facts: DayFacts) -> Sheet:
    """Show dead letters by reason."""
    rows = [[words(one.reason), count(one.letters), _bad(one.waiting)] for one in facts.letters]
    return sheet("Dead letters received on the day", "reason,#letters,#not replayed", rows)


def break_ages(facts: DayFacts) -> Sheet:
    """Show breaks by kind and age."""
    still = {kind: sum(b.open for b in facts.break_ages if b.kind == kind) for kind, _ in ages(facts.break_ages)}
    rows = [
        [words(kind), *(count(n) for n in by_age.values()), count(sum(by_age.values())), _bad(still[kind])]
        for kind, by_age in ages(facts.break_ages)
    ]
    columns = ",".join(["break", *(f"#{age}" for age in Age), "#together", "#open at the end"])
    return sheet("Breaks that stood on the day, by age", columns, rows)


def oldest(facts: DayFacts) -> Sheet:
    """Show the breaks that have been open longest."""
    rows = [
        [
            words(b.kind), b.venue, b.symbol, b.correlation_id, b.ours, b.theirs, b.owner or "nobody",
            lasting(b.age_seconds),
        ]
        for b in facts.open_breaks
    ]  # fmt: skip
    return sheet(
        "Open when the day ended, the oldest first (at most 20)",
        "break,venue,symbol,order,ours,the venue's,owner,#open for",
        rows,
    )


def checks(facts: DayFacts) -> Sheet:
    """Show every check and how it stands."""
    rows = [
        [
            words(o.check_name), Cell(str(state), MARKS[state]), words(o.asset), count(o.row_count),
            count(o.failing), o.skipped or o.description,
        ]
        for state, o in states(facts)
    ]  # fmt: skip
    return sheet("Checks of the day", "check,result,of,#looked at,#failing,~what holds", rows)


def digests(facts: DayFacts) -> Sheet:
    """Show the digest of each derived table."""
    rows = [[words(t.asset), count(t.row_count), t.digest] for t in facts.tables]
    if facts.derived is not None:
        derived = facts.derived
        rows.insert(0, ["executions, live slippage", count(derived.execution_count), derived.derived_digest])
    return sheet("Digests of the derived tables: equal digests are equal rows", "table,#rows,~digest", rows)


def _together(name: str) -> str:
    """Keep a number with its unit on one line."""
    return name.replace(" ", _NO_BREAK) if name[0] in "<0123456789" else name


def _bad(number: int) -> Cell:
    return Cell(count(number), "bad" if number else "")
