"""The page of a day, of days made by hand: what it says, that it is whole, safe, and the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution_assets.report.facts import (
    BARS,
    BreakAge,
    Bucket,
    CheckOutcome,
    Commit,
    DayFacts,
    Derived,
    Executions,
    Horizon,
    Landed,
    Notional,
    OpenBreak,
    Shortfall,
    Spread,
    Venue,
    histogram_bounds,
)
from execution_assets.report.figures import State, costs, groups, state_of
from execution_assets.report.page import render
from execution_assets.report.words import Level, markdown, verdict
from execution_assets.report.written import lasting, money, ms, share

D = Decimal
DAY = date(2026, 11, 20)
ROOT = Path(__file__).parents[3]
HTML = "{http://www.w3.org/1999/xhtml}"
DERIVED = Derived("d1", 2, 0, 1_795_000_000_123_456_789)
OPEN = BreakAge("overfill", "< 1 h", 2, 1)


def outcome(name: str = "sound", *, passed: bool = True, severity: str = "ERROR", blocking: bool = False,
            digest: str | None = "d1", skipped: str | None = None) -> CheckOutcome:  # fmt: skip
    findings = [] if passed else [("E1", "it is wrong")]
    return CheckOutcome(
        "executions", name, passed, severity, blocking, 10, 0 if passed else 1, findings, skipped, "All is well.",
        "Run `execution-agent explain ID`.", digest,
    )  # fmt: skip


def a_day(symbol: str = "BTCUSDT", venue: str = "ALPHA") -> DayFacts:
    ranks: list[Decimal | None] = [D(-3), D(-2), D(0), D(1), D(2), D(5), D(6)]

    def spread(dimension: str, name: str, currency: str) -> Spread:
        return Spread(dimension, name, currency, 3, 3, 1, D(10), D(300), D(900), ranks)

    return DayFacts(
        DAY,
        landed=Landed(4, 1, 0, 1),
        executions=Executions(3, 1, 0, 2),
        derived=DERIVED,
        notionals=[Notional("USDT", 3, D("200.5"), D("99.5"))],
        spreads=[spread("all", "", ""), spread("hour", "09", ""), spread("symbol", symbol, "USDT"),
                 spread("venue", venue, "USDT"), spread("benchmark", "interval_vwap", "USDT")],
        low=D(-3), high=D(7), bars=10,
        histogram=[Bucket("arrival_mid", 0, 1), Bucket("arrival_mid", 5, 2), Bucket("fill_mid", 11, 3)],
        horizons=[Horizon(venue, [3, 3, 3, 2, 0], [D(6), D(3), D(0), D(-2), D(0)])],
        shortfalls=[Shortfall("USDT", 2, 1, 0, D(1000), D(1), D(2), D(-3), D(0), D(0))],
        venues=[Venue(venue, 4, 900, 1_500, 200_000, 150_000, 3, 2, 1, 1, 0, 0, 2, 1, 0, 0, 0, 0)],
        commits=[Commit(venue, 4, 900, 160_000, 200_000)],
        break_ages=[OPEN],
        open_breaks=[OpenBreak("overfill", venue, symbol, "C1", "1", "2", "", 3_725)],
        outcomes=[outcome(passed=False), outcome("fine")],
    )  # fmt: skip


DAYS = {
    "empty": DayFacts(DAY),
    "derived and empty": DayFacts(DAY, derived=DERIVED, outcomes=[outcome()]),
    "only breaks": DayFacts(DAY, derived=DERIVED, break_ages=[OPEN], outcomes=[outcome()]),
    "one fill, nothing measured": DayFacts(
        DAY, landed=Landed(1, 0, 0, 1), executions=Executions(1, 0, 0, 1), derived=DERIVED,
        notionals=[Notional("", 1, D("0.0000001"), D(0))],
        spreads=[Spread("all", "", "", 1, 0, 1, D(0), D(0), D(0), None),
                 Spread("venue", "ALPHA", "", 1, 0, 1, D(0), D(0), D(0), [None] * 7)],
        horizons=[Horizon("ALPHA", [0] * 5, [D(0)] * 5)],
        commits=[Commit("ALPHA", 1, 0, 0, 0)],
    ),
    "a day": a_day(),
}  # fmt: skip


def tree(page: str) -> ET.Element:
    """The page is well-formed XML, too: no tag is left open, no text stands where markup does."""
    text = page.removeprefix("<!DOCTYPE html>\n")
    return ET.fromstring(text)  # noqa: S314  our own


@pytest.mark.parametrize("facts", DAYS.values(), ids=DAYS)
def test_a_page_is_whole_and_needs_nothing_else(facts: DayFacts) -> None:
    page = render(facts, "test 1")
    assert page.startswith("<!DOCTYPE html>\n<html lang")
    root = tree(page)
    found = list(root.iter())
    ids = [e.get("id") for e in found if e.get("id")]
    assert len(ids) == len(set(ids))
    for element in found:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(element.get(name, "").split()) <= set(ids)
        href = element.get("href") or element.get("{http://www.w3.org/1999/xlink}href")
        assert href is None or (href.startswith("#") and href[1:] in ids) or href == "data:,"
        assert not {"src", "srcset", "action", "onload", "onclick"} & set(element.keys())
    assert not re.search(r"url\((?!#)|@import|@font-face", page)
    assert "#0101" not in page, "a stand-in for a colour is left"
    for table in root.iter("table"):
        assert table.find("caption") is not None
        assert {th.get("scope") for th in table.iter("th")} == {"col", "row"}
        columns = len(table.findall("thead/tr/th"))
        assert {len(row) for row in table.findall("tbody/tr")} == {columns}
    for picture in root.iter("{http://www.w3.org/2000/svg}svg"):
        assert picture.get("role") == "img"
        assert all(picture[n].text for n in (0, 1)), "a title and a text to be read instead"
    assert "nan" not in re.findall(r"\w+", page.lower())


def test_the_markets_averages_are_in_the_table_of_benchmarks() -> None:
    caption = "Slippage by benchmark, bps"
    [table] = [
        t for t in tree(render(DAYS["a day"], "test 1")).iter("table") if t.findtext("caption/span") == caption
    ]
    [row] = ["".join(cell.itertext()) for cell in table.iter("tr")][1:]
    assert row.strip().startswith("VWAP from arrival to the last execution")
    assert "+3.33" in row
    assert caption not in render(DAYS["one fill, nothing measured"], "test 1")


def test_an_empty_day_reads_well() -> None:
    page = render(DAYS["derived and empty"], "test 1")
    assert "Nothing was traded on this day" in page
    assert "No break was open at any time of the day." in page
    assert "<svg" not in page
    assert "None" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_names_are_text_whatever_they_look_like() -> None:
    names = [
        "<script>alert(1)</script>", "$x_{$", "\"'><svg onload=x>", "A\x01B\x9f", "]]>&amp;", "比特币", "x" * 300,
        "$\\frac{",
    ]  # fmt: skip
    facts = a_day()
    spread = facts.spreads[-1]
    more = [msgspec.structs.replace(spread, dimension=d, name=n) for d in ("symbol", "venue") for n in names]
    page = render(msgspec.structs.replace(facts, spreads=[*facts.spreads[:2], *more]), "test 1")
    root = tree(page)
    assert not list(root.iter("script"))
    assert "<script" not in page
    assert not any(key.startswith("on") for element in root.iter() for key in element.attrib)
    shown = {"".join(th.itertext()) for th in root.iter("th")}
    assert {re.sub("[\x00-\x08\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", name) for name in names} <= shown


def test_the_same_day_is_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    facts.write_bytes(msgspec.msgpack.encode(a_day()))
    code = (
        "import sys, msgspec; from execution_assets.report.facts import DayFacts; "
        "from execution_assets.report.page import render; "
        "f = msgspec.msgpack.decode(open(sys.argv[1], 'rb').read(), type=DayFacts); "
        "sys.stdout.buffer.write(render(f, 'test 1').encode())"
    )
    pages = {
        subprocess.run(
            [sys.executable, "-c", code, facts], cwd=ROOT, check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C", "MPLBACKEND": "agg"},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }  # fmt: skip
    assert pages == {render(a_day(), "test 1").encode()}


def test_another_figure_is_another_page() -> None:
    facts = a_day()
    other = msgspec.structs.replace(facts, landed=Landed(5, 1, 0, 1))
    assert "4 fills" in render(facts, "test 1")
    assert "5 fills" in render(other, "test 1")


def test_figures_are_exact() -> None:
    venue, *_ = groups(a_day(), "venue")
    assert venue.mean == D("3.333333333333")
    assert venue.weighted == D(3)
    assert venue.ranks == (D(-2), D(0), D(1), D(2), D(5))
    assert groups(a_day(), "hour")[0].weighted is None, "an hour may have several currencies"
    assert costs(a_day())[0].bps == {
        "delay": D(20), "trading": D(-30), "opportunity": D(0), "fees": D(10), "total": D(0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, Level.GOOD, "Every check passed"),
        ({"outcomes": [outcome(passed=False, blocking=True)]}, Level.BAD, "must pass did not: “sound”"),
        ({"outcomes": [outcome(passed=False)]}, Level.CARE, "1 check failed: “sound”"),
        ({"outcomes": [outcome(passed=False, severity="WARN")]}, Level.CARE, "1 check warns"),
        (
            {"outcomes": [outcome(passed=False, blocking=True, digest="d0")]},
            Level.BAD,
            "must pass did not: “sound”",
        ),
        ({"outcomes": [outcome(passed=False, digest="d0")]}, Level.CARE, "an earlier derivation"),
        ({"must_pass": ["sound"]}, Level.GOOD, "Every check passed"),
        ({"must_pass": ["other", "sound"]}, Level.CARE, "must pass has not looked at this day: “other”"),
        ({"outcomes": []}, Level.CARE, "No check has looked"),
        ({"break_ages": [OPEN]}, Level.CARE, "1 break is open"),
        ({"derived": None}, Level.BAD, "never derived"),
        ({"derived": msgspec.structs.replace(DERIVED, difference_count=3)}, Level.CARE, "3 live rows differed"),
        ({"landed": Landed(), "executions": Executions()}, Level.EMPTY, ""),
    ],
)
def test_the_verdict(change: dict[str, object], level: Level, said: str) -> None:
    good = DayFacts(DAY, landed=Landed(1), executions=Executions(1), derived=DERIVED, outcomes=[outcome()])
    found = verdict(msgspec.structs.replace(good, **change))
    assert found.level is level
    assert said in " ".join(found.why)


def test_a_check_that_had_nothing_to_judge_is_no_pass() -> None:
    assert state_of(outcome(skipped="no audit"), "d1") is State.SKIPPED
    assert state_of(outcome(), "d1") is State.PASSED
    assert state_of(outcome(), None) is State.OLD


def test_the_summary_is_markdown_that_names_cannot_break() -> None:
    facts = msgspec.structs.replace(a_day(), notionals=[Notional("A|<b>", 1, D(1), D(0))])
    assert "| A\\|&lt;b> | 1 | 1.00 | 0 |" in markdown(facts)


@given(st.lists(st.decimals(-9_000, 9_000, places=12), min_size=1))
def test_the_histograms_ends_hold_all_ranks_in_few_bars(ranks: list[Decimal]) -> None:
    low, high, bars = histogram_bounds([Spread("all", "", "", 1, 1, 0, D(0), D(0), D(0), list(ranks))])
    assert low <= min(ranks)
    assert max(ranks) < high
    assert 1 <= bars <= BARS
    width = (high - low) / bars
    assert width.normalize().as_tuple().digits in {(1,), (2,), (5,)}


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_is_whole_only_where_it_is(part: int, whole: int) -> None:
    part = min(part, whole)
    shown = share(part, whole)
    assert (shown.startswith("100")) == (part == whole)
    assert (shown.split("\N{NARROW NO-BREAK SPACE}")[0] == "0") == (part == 0)


def test_numbers_as_they_are_written() -> None:
    assert [money(D(x)) for x in ("1234567.8", "-12.345", "0.00001234", "0")] == [
        "1,234,568", "\N{MINUS SIGN}12.34", "0.00001234", "0",
    ]  # fmt: skip
    assert [ms(us) for us in (None, 0, 900, 150_000)] == ["\N{EN DASH}", "0.0", "0.9", "150"]
    assert [lasting(s).replace("\N{NARROW NO-BREAK SPACE}", "") for s in (0, 61, 90_000)] == [
        "0s",
        "1min 1s",
        "1d 1h",
    ]
