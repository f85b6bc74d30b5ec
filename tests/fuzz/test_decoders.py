"""A bounded slice of the fuzzing, what it has found, and that it finds what is planted."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.errors import Defect
from ledger.domain.records import DeadLetter
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_arrival
from streaming.venues.decoded import Decoded
from tests.fuzz import judging
from tests.fuzz.__main__ import fuzz
from tests.fuzz.corpus import CONTROL, INTENT, SNAPSHOT, VERDICT, corpus
from tests.fuzz.judging import FindingError, judge
from tests.fuzz.mutations import LARGEST

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoder

SLICE_SECONDS = 10.0
TARGETS = sorted(corpus())
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals().map(str) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_slice_of_the_campaign_finds_nothing() -> None:
    tried, _, found = fuzz(20261123, SLICE_SECONDS)
    assert not found
    assert min(tried.values()) >= 50


@settings(max_examples=60)
@given(st.binary(max_size=200) | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_whatever_comes_is_a_fact_or_a_dead_letter(raw: bytes) -> None:
    for target in TARGETS:
        judge(target, raw)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2_000), st.binary(max_size=12)), max_size=30))
def test_any_fields_of_fix_are_a_fact_or_a_dead_letter(fields: list[tuple[int, bytes]]) -> None:
    raw = b"8=FIX.4.4\x0135=8\x01" + b"".join(b"%d=%s\x01" % field for field in fields)
    for target in ("fix42", "fix44", "fix50sp2"):
        judge(target, raw)


@pytest.mark.parametrize(
    ("target", "raw"),
    [
        (VERDICT, b"[" * 50_000),
        (VERDICT, b"\xed\xa0\x80"),
        (CONTROL, b'{"type":' * 20_000),
        (CONTROL, b"\xff"),
        (CONTROL, b'{"type":"\\u0000"}'),
        (INTENT, b'{"action":"\\u0000"}'),
        (INTENT, b'{"order_qty":1e999999999}'),
        (SNAPSHOT, b'{"bid":' + b"9" * 100_000 + b"}"),
        ("canonical", b'{"type":"fill","type":"\\u0000\\ud800"}'),
        ("canonical", b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(10_000)) + b"}"),
        ("fix44", b"8=FIX.4.4\x0135=8\x01453=999999999\x01" + b"448=P\x01452=24\x01" * 10_000),
        ("fix44", b"8=FIX.4.4\x0135=8\x01" + b"9" * 100_000 + b"=1\x01"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[:24]),
)
def test_what_was_found(target: str, raw: bytes) -> None:
    judge(target, raw, weigh=True)


def test_a_rule_that_quotes_what_was_sent_has_no_control_in_it() -> None:
    arrival = Arrival("order-intents", None, ArrivalKind.INTENT, b'{"action":"\\u0000"}', 1)
    [letter] = decode_arrival(arrival, {}).facts
    assert isinstance(letter, DeadLetter)
    assert letter.defect.rule.isprintable()
    assert "\\x00" in letter.defect.rule


@pytest.mark.parametrize("target", TARGETS)
def test_twice_as_long_takes_no_more_than_its_share(target: str) -> None:
    """Long messages of the most fields, as long as a feed lets in: within the bound that grows with the bytes."""
    fields = b"".join(b"%d=%d\x01" % (5_000 + n, n) for n in range(LARGEST // 12))
    groups = b"453=9999\x01" + b"448=P\x01452=24\x01" * (LARGEST // 16)
    objects = b"[" + b",".join([b'{"a":[1,2,{"b":"c"}]}'] * (LARGEST // 22)) + b"]"
    for raw in (b"8=FIX.4.4\x0135=8\x01" + fields, b"8=FIX.4.4\x0135=8\x01" + groups, objects):
        judge(target, raw, weigh=True)


def _raises(venue: str, raw: bytes, account: str = "") -> Decoded:
    raise KeyError(venue)


def _burns(venue: str, raw: bytes, account: str = "") -> Decoded:
    began, turns = time.process_time(), 0
    while time.process_time() - began < 2 * judging.SECONDS:
        turns += 1
    return Decoded(others={"x": turns})


def _hoards(venue: str, raw: bytes, account: str = "") -> Decoded:
    return Decoded(others={"x": len([bytes(n % 50 + 100) for n in range(100_000)])})


def _lets_nul_through(venue: str, raw: bytes, account: str = "") -> Decoded:
    return Decoded(defects=[(Defect("malformed", "a\x00b", "v", "r", "m"), raw)])


def _keeps_other_bytes(venue: str, raw: bytes, account: str = "") -> Decoded:
    return Decoded(defects=[(Defect("malformed", "f", "v", "r", "m"), b"other")])


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (_raises, "raised KeyError"),
        (_burns, "s of CPU for"),
        (_hoards, "KiB for"),
        (_lets_nul_through, "NUL"),
        (_keeps_other_bytes, "not those that came"),
    ],
)
def test_what_is_planted_is_found(monkeypatch: pytest.MonkeyPatch, planted: Decoder, said: str) -> None:
    monkeypatch.setattr(judging, "DECODERS", {"planted": planted, "canonical": planted})
    with pytest.raises(FindingError, match=said):
        judge("planted", b"{}", weigh=True)
