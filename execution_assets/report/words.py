"""What a day came to in plain words: what a person on call or an analyst reads first. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from execution_assets.report.figures import State, complete, groups, open_breaks, states, unjudged
from execution_assets.report.written import bps, count, currency, lasting, money, ms, reasons, share, things, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execution_assets.report.facts import DayFacts

_MANY = 3


class Level(StrEnum):
    """How far the day's figures may be trusted."""

    GOOD = "good"
    CARE = "care"
    BAD = "bad"
    EMPTY = "empty"


class Verdict(msgspec.Struct, frozen=True):
    """The first line of the page, and why."""

    level: Level
    title: str
    why: list[str]


def verdict(facts: DayFacts) -> Verdict:
    """Judge whether a day's figures may be used."""
    found = states(facts)
    blocking = [outcome.check_name for state, outcome in found if state is State.BLOCKS]
    if blocking:
        return Verdict(
            Level.BAD,
            "Do not use these figures",
            [f"{things(len(blocking), 'check')} that must pass did not: {_names(blocking)}."],
        )
    if facts.derived is None and (facts.landed.fills or facts.executions.active):
        return Verdict(
            Level.BAD,
            "Do not use these figures",
            ["Fills have landed, and the day was never derived: materialize executions of this day."],
        )
    if facts.derived is None or not (facts.landed.fills or facts.executions.active or facts.break_ages):
        return Verdict(Level.EMPTY, "Nothing was traded on this day", list(_doubts(facts)))
    doubts = list(_doubts(facts))
    if doubts:
        return Verdict(Level.CARE, "Use with care", doubts)
    return Verdict(Level.GOOD, "Good to use", ["Every check passed and no break is open."])


def _doubts(facts: DayFacts) -> Iterator[str]:
    found = states(facts)
    for wanted, said in (
        (State.FAILED, "failed"),
        (State.WARNS, "warns"),
        (State.OLD, "judged an earlier derivation"),
    ):
        names = [outcome.check_name for state, outcome in found if state is wanted]
        if names:
            verb = "warn" if said == "warns" and len(names) > 1 else said
            yield f"{things(len(names), 'check')} {verb}: {_names(names)}."
    if not found and facts.derived is not None:
        yield "No check has looked at this day yet."
    elif missing := unjudged(facts):
        have = f"{things(len(missing), 'check')} that must pass {'has' if len(missing) == 1 else 'have'}"
        yield f"{have} not looked at this day: {_names(missing)}."
    if number := open_breaks(facts):
        is_are = "is" if number == 1 else "are"
        oldest = max((b.age_seconds for b in facts.open_breaks), default=0)
        yield f"{things(number, 'break')} {is_are} open, the oldest for {lasting(oldest)}."
    if facts.derived is not None and facts.derived.difference_count:
        yield (
            f"{things(facts.derived.difference_count, 'live row')} differed from the derived ones and "
            f"{'was' if facts.derived.difference_count == 1 else 'were'} corrected."
        )
    if facts.derived is not None and facts.derived.beyond_before:
        number = facts.derived.beyond_before
        yield (
            f"Before, {things(number, 'live figure')} {'was' if number == 1 else 'were'} missing or more than "
            "2 bps off, and corrected by an earlier derivation."
        )


def sentences(facts: DayFacts) -> list[str]:
    """Tell the day."""
    return [
        sentence
        for sentence in (_traded(facts), _cost(facts), _late(facts), _whole(facts), _best_effort(facts))
        if sentence
    ]


def _traded(facts: DayFacts) -> str:
    landed, held = facts.landed, facts.executions
    if not landed.fills:
        return "No venue reported a fill."
    text = (
        f"{things(landed.venues, 'venue')} reported {things(landed.fills, 'fill')}; they are "
        f"{things(held.active, 'execution')} of {things(held.orders, 'order')}"
    )
    amended = [
        things(number, name) for number, name in ((landed.corrects, "correct"), (landed.busts, "bust")) if number
    ]
    return text + (f", after {' and '.join(amended)}." if amended else ".")


def _cost(facts: DayFacts) -> str:
    whole = next(iter(groups(facts, "all")), None)
    if whole is None or whole.mean is None:
        return "What they cost could not be measured." if facts.executions.active else ""
    weighted = [g for g in groups(facts, "venue") if g.mean is not None]
    text = (
        f"Against the mid when the order arrived, an execution {'cost' if whole.mean >= 0 else 'gained'} "
        f"{bps(abs(whole.mean)).lstrip('+')} bps on average"
    )
    if len({g.label for g in weighted}) > 1:
        dearest = max(weighted, key=lambda g: (g.mean or 0, g.label))
        text += f"; {dearest.label} was the dearest venue at {bps(dearest.mean)} bps"
    return text + "."


def _late(facts: DayFacts) -> str:
    if not facts.commits:
        return ""
    slo = facts.venues[0].slo_us if facts.venues else None
    worst = max(facts.commits, key=lambda c: (c.p95_us, c.venue))
    text = f"95 of 100 reports were in Postgres within {ms(worst.p95_us)} ms of being received"
    text += f" at the slowest venue, {worst.venue}" if len(facts.commits) > 1 else ""
    if slo is None:
        return text + "."
    held = "within" if worst.p95_us <= slo else "beyond"
    return f"{text}, {held} the objective of {ms(slo)} ms."


def _whole(facts: DayFacts) -> str:
    part, whole = complete(facts)
    if not whole:
        return ""
    if part == whole:
        return f"Of all {things(whole, 'order')} with a quantity claimed by the venue, that quantity is here."
    return (
        f"{things(whole - part, 'order')} of {count(whole)} ({share(whole - part, whole)}) "
        f"{'has' if whole - part == 1 else 'have'} another quantity here than the venue claims."
    )


def _best_effort(facts: DayFacts) -> str:
    whole = next(iter(groups(facts, "all")), None)
    if whole is None or not whole.best_effort:
        return ""
    why = [r for r in facts.reasons if r.kind == "arrival_mid"]
    causes = "; ".join(f"{reasons(r.reason)} ({count(r.figures)})" for r in why[:_MANY])
    return (
        f"{share(whole.best_effort, whole.executions)} of the arrival figures are best effort"
        f"{': ' + causes if causes else ''}."
    )


def _names(names: list[str]) -> str:
    shown = [f"“{words(name)}”" for name in names[:_MANY]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def markdown(facts: DayFacts) -> str:
    """Sum the day up as Markdown, for the asset's page."""
    found = verdict(facts)
    lines = [f"**{found.title}.** {_escaped(' '.join(found.why))}", "", _escaped(" ".join(sentences(facts))), ""]
    if facts.notionals:
        lines += ["| currency | executions | bought | sold |", "| --- | ---: | ---: | ---: |"]
        lines += [
            f"| {_escaped(currency(n.currency))} | {count(n.executions)} | {money(n.bought)} | {money(n.sold)} |"
            for n in facts.notionals
        ]
    return "\n".join(lines).rstrip()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
