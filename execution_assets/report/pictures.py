"""The pictures of a day: what is drawn of which figures. Decimals become floats here, and only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execution_assets.report.drawing import (
    ACCENT,
    AGES,
    BAD,
    GRID,
    INK,
    MUTED,
    SERIES,
    SOFT,
    SURFACE,
    draw,
)
from execution_assets.report.facts import HORIZONS, Bucket, Commit, DayFacts, Venue
from execution_assets.report.written import bps, count, ms, share, things, words
from ledger.domain.ageing import Age

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from execution_assets.report.figures import Cost, Curve, Group

_LONGEST = 18  # characters of a name beside a picture; the table has all of it
_AXIS = "bps against the arrival mid: right of zero is a cost"
_COMPONENTS = ("delay", "trading", "opportunity", "fees")
_MARKERS = ("o", "s", "^", "D", "v", "P")


def short(name: str) -> str:
    """Cut a name that would push the picture aside."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def spreads(identity: str, title: str, found: Sequence[Group]) -> str:
    """Draw the slippage of groups: a line from 5 to 95 %, a bar from 25 to 75 %, the median, the mean as a dot."""
    shown = [group for group in found if group.ranks]
    named = {group.label for group in shown}

    def plot(_: Any, axes: Any) -> None:
        for row, group in enumerate(shown):
            p5, p25, middle, p75, p95 = map(float, group.ranks)
            axes.plot([p5, p95], [row, row], color=MUTED, linewidth=1, solid_capstyle="butt")
            axes.barh(row, max(p75 - p25, 0), left=p25, height=0.56, color=SOFT, edgecolor=ACCENT, linewidth=0.8)
            axes.plot([middle, middle], [row - 0.28, row + 0.28], color=ACCENT, linewidth=1.8)
            axes.plot([_float(group.mean)], [row], "o", color=INK, markersize=3.6)
            axes.annotate(
                bps(group.mean), (1, row), xycoords=axes.get_yaxis_transform(), xytext=(6, 0),
                textcoords="offset points", va="center", annotation_clip=False,
            )  # fmt: skip
        labels = [
            short(g.label) + (f" {g.currency}" if len(named) < len(shown) and g.currency else "") for g in shown
        ]
        _rows(axes, labels)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel(_AXIS)
        axes.annotate(
            "mean", (1, 1), xycoords="axes fraction", xytext=(6, 2), textcoords="offset points", color=MUTED
        )

    described = "; ".join(
        f"{g.label} {g.currency}: mean {bps(g.mean)}, median {bps(g.ranks[2])}, "
        f"from {bps(g.ranks[0])} at 5 % to {bps(g.ranks[4])} at 95 % of {things(g.measured, 'execution')}"
        for g in shown
    )
    return draw(identity, title, described, len(shown), plot)


def hours(identity: str, title: str, found: Sequence[Group]) -> str:
    """Draw the slippage of each hour of the day, and how many executions there were."""
    shown = [group for group in found if group.ranks]

    def plot(figure: Any, axes: Any) -> None:
        axes.remove()
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for group in shown:
            hour = int(group.label)
            p5, p25, middle, p75, p95 = map(float, group.ranks)
            above.plot([hour, hour], [p5, p95], color=MUTED, linewidth=1, solid_capstyle="butt")
            above.bar(hour, max(p75 - p25, 0), bottom=p25, width=0.6, color=SOFT, edgecolor=ACCENT, linewidth=0.8)
            above.plot([hour - 0.3, hour + 0.3], [middle, middle], color=ACCENT, linewidth=1.8)
            above.plot([hour], [_float(group.mean)], "o", color=INK, markersize=3.6)
        above.axhline(0, color=MUTED, linewidth=1)
        above.set_ylabel("bps, above zero is a cost")
        below.bar([int(g.label) for g in found], [g.executions for g in found], width=0.6, color=ACCENT)
        below.set_ylabel("executions")
        below.set_xlabel("hour of the day, UTC")
        below.set_xlim(-0.6, 23.6)
        below.set_xticks(range(0, 24, 3), [f"{hour:02d}" for hour in range(0, 24, 3)])
        for part in (above, below):
            part.grid(axis="y")
            part.tick_params(axis="both", length=0, labelcolor=MUTED)
            part.yaxis.set_major_locator(_few_steps(whole=part is below))

    described = "; ".join(
        f"{g.label}:00: mean {bps(g.mean)}, median {bps(g.ranks[2])}, {things(g.executions, 'execution')}"
        for g in shown
    )
    return draw(identity, title, described, 7, plot)


def histogram(identity: str, title: str, facts: DayFacts) -> str:
    """Draw how slippages are spread: bars between the ends, and one beyond each."""
    found: Sequence[Bucket] = facts.histogram
    low, high, last = facts.low, facts.high, facts.bars
    width, left = float(high - low) / last, float(low)

    def plot(figure: Any, axes: Any) -> None:
        axes.remove()
        both = figure.subplots(2, 1, sharex=True)
        for part, (kind, name) in zip(
            both, (("arrival_mid", "arrival mid"), ("fill_mid", "mid at the fill")), strict=True
        ):
            bars = {b.bucket: b.executions for b in found if b.kind == kind}
            places = [left + (bucket - 0.5) * width for bucket in bars]
            colors = [SOFT if bucket in {0, last + 1} else ACCENT for bucket in bars]
            part.bar(places, list(bars.values()), width=width * 0.9, color=colors)
            part.axvline(0, color=MUTED, linewidth=1)
            part.set_title(f"against the {name}", loc="left", fontsize=9, color=INK)
            part.set_ylabel("executions")
            part.grid(axis="y")
            part.tick_params(axis="both", length=0, labelcolor=MUTED)
            part.yaxis.set_major_locator(_few_steps(whole=True))
        both[1].set_xlim(left - 1.5 * width, float(high) + 1.5 * width)
        both[1].set_xlabel("bps, right of zero is a cost; pale: all beyond the axis")

    total = sum(b.executions for b in found if b.kind == "arrival_mid")
    costly = f"{things(total, 'execution')} between {bps(low)} and {bps(high)} bps, in bars of {width:g} bps"
    return draw(identity, title, costly, 8, plot)


def horizons(identity: str, title: str, found: Sequence[Curve]) -> str:
    """Draw the mean slippage at the fill and after it, a line a venue."""
    shown = found[: len(SERIES)]

    def plot(_: Any, axes: Any) -> None:
        for curve, color, marker in zip(shown, SERIES, _MARKERS, strict=False):
            places = [n for n, mean in enumerate(curve.means) if mean is not None]
            axes.plot(
                places, [_float(curve.means[n]) for n in places], marker=marker, color=color, linewidth=1.8,
                markersize=5, label=short(curve.venue),
            )  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.set_xticks(range(len(HORIZONS)), HORIZONS)
        axes.set_xlim(-0.3, len(HORIZONS) - 0.7)
        axes.set_ylabel("mean bps, above zero is a cost")
        axes.grid(axis="y")
        axes.tick_params(axis="both", length=0, labelcolor=MUTED)
        axes.yaxis.set_major_locator(_few_steps())
        axes.figure.legend(loc="outside upper left", ncols=3, handlelength=1.6)

    described = "; ".join(
        f"{c.venue}: " + ", ".join(f"{name} {bps(mean)}" for name, mean in zip(HORIZONS, c.means, strict=True))
        for c in found
    )
    return draw(identity, title, described, 6.5, plot)


def latencies(identity: str, title: str, found: Sequence[Commit], slo_us: int) -> str:
    """Draw the median, 95 and 99 % of each venue from received to landed, against the objective."""

    def plot(_: Any, axes: Any) -> None:
        for row, one in enumerate(found):
            values = [max(one.p50_us, 1) / 1000, max(one.p95_us, 1) / 1000, max(one.p99_us, 1) / 1000]
            axes.plot([values[0], values[-1]], [row, row], color=GRID, linewidth=3, solid_capstyle="round")
            for value, marker, name in zip(values, ("o", "s", "D"), ("median", "95 %", "99 %"), strict=True):
                late = name == "95 %" and one.p95_us > slo_us
                axes.plot(
                    [value], [row], marker, color=BAD if late else ACCENT, markersize=6,
                    markerfacecolor=SURFACE if name == "median" else None, label=name if row == 0 else None,
                    linestyle="none",
                )  # fmt: skip
        _rows(axes, [short(one.venue) for one in found])
        axes.set_xscale("log")
        ends = [max(v, 1) / 1000 for one in found for v in (one.p50_us, one.p99_us)] + [slo_us / 1000]
        axes.set_xlim(min(ends) / 1.8, max(ends) * 1.8)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_locator(_decades())
        axes.minorticks_off()
        axes.axvline(slo_us / 1000, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)), label="objective")
        axes.set_xlabel("ms from received to landed, log scale")
        axes.figure.legend(loc="outside upper left", ncols=4, handlelength=1.4, columnspacing=1.4)

    described = f"Objective {ms(slo_us)} ms at 95 %. " + "; ".join(
        f"{c.venue}: median {ms(c.p50_us)} ms, 95 % {ms(c.p95_us)} ms, 99 % {ms(c.p99_us)} ms" for c in found
    )
    return draw(identity, title, described, len(found) + 0.8, plot)


def completeness(identity: str, title: str, found: Sequence[Venue]) -> str:
    """Draw which part of each venue's orders has the quantity here that the venue claims."""
    shown = [venue for venue in found if venue.orders_claimed]

    def plot(_: Any, axes: Any) -> None:
        for row, venue in enumerate(shown):
            part = 100 * venue.orders_complete / venue.orders_claimed
            axes.barh(row, 100, height=0.5, color=BAD if venue.orders_complete < venue.orders_claimed else SOFT)
            axes.barh(row, part, height=0.5, color=ACCENT)
            axes.annotate(
                f"{count(venue.orders_complete)} of {count(venue.orders_claimed)}", (1, row),
                xycoords=axes.get_yaxis_transform(), xytext=(6, 0), textcoords="offset points", va="center",
                annotation_clip=False,
            )  # fmt: skip
        _rows(axes, [short(venue.venue) for venue in shown])
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of orders; red: another quantity is here")

    described = "; ".join(
        f"{v.venue}: {share(v.orders_complete, v.orders_claimed)} of {things(v.orders_claimed, 'order')}"
        for v in shown
    )
    return draw(identity, title, described, len(shown), plot)


def breaks(identity: str, title: str, found: Sequence[tuple[str, dict[str, int]]]) -> str:
    """Draw the breaks of each kind, in parts by age."""

    def plot(_: Any, axes: Any) -> None:
        for row, (_kind, by_age) in enumerate(found):
            left = 0
            for age, color in zip(Age, AGES, strict=True):
                number = by_age[age]
                if number:
                    axes.barh(row, number, left=left, height=0.56, color=color, edgecolor=SURFACE, linewidth=0.8)
                left += number
            axes.annotate(count(left), (left, row), xytext=(5, 0), textcoords="offset points", va="center")
        _rows(axes, [words(kind) for kind, _ in found])
        for age, color in zip(Age, AGES, strict=True):
            axes.barh(0, 0, color=color, label=str(age))
        most = max(sum(by_age.values()) for _, by_age in found)
        axes.set_xlim(0, most * 1.12)
        axes.xaxis.set_major_locator(_few_steps(whole=True))
        axes.set_xlabel("breaks that stood on the day")
        axes.figure.legend(loc="outside upper left", ncols=4, handlelength=1, columnspacing=1.4)

    described = "; ".join(
        f"{words(kind)}: " + ", ".join(f"{number} {age}" for age, number in by_age.items() if number)
        for kind, by_age in found
    )
    return draw(identity, title, described, len(found) + 0.8, plot)


def shortfalls(identity: str, title: str, found: Sequence[Cost]) -> str:
    """Draw what the implementation shortfall of each currency is made of."""
    shown = [cost for cost in found if cost.bps]

    def plot(_: Any, axes: Any) -> None:
        labels, row = [], 0
        for cost in shown:
            for name in _COMPONENTS:
                value = float(cost.bps[name])
                axes.barh(row, value, height=0.56, color=SOFT, edgecolor=ACCENT, linewidth=0.8)
                labels.append(name if len(shown) == 1 else f"{cost.facts.currency} {name}")
                row += 1
            axes.barh(row, float(cost.bps["total"]), height=0.56, color=ACCENT)
            labels.append("total" if len(shown) == 1 else f"{cost.facts.currency} total")
            row += 1
        for place, told in enumerate(cost.bps[name] for cost in shown for name in (*_COMPONENTS, "total")):
            axes.annotate(
                bps(told), (1, place), xycoords=axes.get_yaxis_transform(), xytext=(6, 0),
                textcoords="offset points", va="center", annotation_clip=False,
            )  # fmt: skip
        _rows(axes, labels)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel("bps of the orders' worth; right of zero is a cost")

    described = "; ".join(
        f"{c.facts.currency}: " + ", ".join(f"{name} {bps(value)}" for name, value in c.bps.items()) for c in shown
    )
    return draw(identity, title, described, len(shown) * 5, plot)


def _rows(axes: Any, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.tick_params(axis="both", length=0)


def _few_steps(*, whole: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    return MaxNLocator(nbins=4, integer=whole, min_n_ticks=2)


def _decades() -> Any:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    return LogLocator(subs=(1, 2, 5), numticks=12)


def _float(value: Decimal | None) -> float:
    return float("nan") if value is None else float(value)
