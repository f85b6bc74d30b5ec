from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.records import DeadLetter, OrderIntent, Snapshot
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_arrival

INTENT: dict[str, Any] = {
    "correlation_id": "C1",
    "msg_id": "M1",
    "action": "new",
    "venue": "ALPHA",
    "account": "ACC",
    "symbol": "BTCUSDT",
    "side": "buy",
    "order_qty": "1.50",
    "limit_price": 61000.25,
    "routed_at": "2026-11-23T09:30:00.123456789Z",
}
SNAPSHOT: dict[str, Any] = {
    "snapshot_id": "S1",
    "symbol": "BTCUSDT",
    "bid": "61000.1",
    "ask": 61000.2,
    "at": "2026-11-23T09:30:00+01:00",
}


def decode(kind: ArrivalKind, raw: bytes) -> object:
    [fact] = decode_arrival(Arrival("feed", None, kind, raw, 1), {}).facts
    return fact


def test_an_intent_is_read_exactly() -> None:
    intent = decode(ArrivalKind.INTENT, json.dumps(INTENT).encode())
    assert isinstance(intent, OrderIntent)
    assert (intent.order_qty, intent.limit_price) == (Decimal("1.5"), Decimal("61000.25"))
    assert intent.routed_ns % 1_000_000_000 == 123_456_789


def test_a_snapshot_keeps_digits_that_a_float_would_lose() -> None:
    raw = json.dumps(SNAPSHOT).replace("61000.2", "61000.123456789012345678").encode()
    snapshot = decode(ArrivalKind.SNAPSHOT, raw)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.ask == Decimal("61000.123456789012345678")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"order_qty": "NaN"}, "not_a_number"),
        ({"order_qty": "-1"}, "not_positive"),
        ({"order_qty": "1E400"}, "out_of_range"),
        ({"side": "up"}, "malformed"),
        ({"venue": ""}, "bad_text"),
        ({"symbol": "a\x00b"}, "bad_text"),
        ({"action": "replace"}, "missing_field"),
        ({"routed_at": "yesterday"}, "not_a_time"),
        ({"routed_at": "2026-02-30T00:00:00Z"}, "not_a_time"),
        ({"routed_at": "2026-02-20T00:00:00+24:00"}, "not_a_time"),
        ({"routed_at": "2026-02-20T00:00:00-00:60"}, "not_a_time"),
        ({"routed_at": "1999-12-31T23:59:59.999999999Z"}, "not_a_time"),
        ({"routed_at": "2000-01-01T00:00:00+00:01"}, "not_a_time"),
        ({"routed_at": "2262-01-01T00:00:00Z"}, "not_a_time"),
        ({"routed_at": "0001-01-01T00:00:00+23:59"}, "not_a_time"),
        ({"routed_at": "9999-12-31T23:59:59-23:59"}, "not_a_time"),
        ({"msg_id": None}, "malformed"),
    ],
)
def test_a_bad_intent_is_a_dead_letter_that_says_why(change: dict[str, Any], reason: str) -> None:
    raw = json.dumps({**INTENT, **change}).encode()
    letter = decode(ArrivalKind.INTENT, raw)
    assert isinstance(letter, DeadLetter)
    assert letter.defect.reason == reason
    assert letter.raw == raw


@pytest.mark.parametrize("at", ["1999-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2026-11-23T09:30:00+99:99"])
def test_a_snapshot_of_another_age_is_a_dead_letter(at: str) -> None:
    letter = decode(ArrivalKind.SNAPSHOT, json.dumps({**SNAPSHOT, "at": at}).encode())
    assert isinstance(letter, DeadLetter)
    assert letter.defect.reason == "not_a_time"


@pytest.mark.parametrize(
    "at", ["2000-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z", "2026-11-23T00:00:00-23:59"]
)
def test_a_snapshot_of_this_age_is_read(at: str) -> None:
    assert isinstance(decode(ArrivalKind.SNAPSHOT, json.dumps({**SNAPSHOT, "at": at}).encode()), Snapshot)


@pytest.mark.parametrize("value", ["1e-9999999", "0." + "1" * 200, "1e999999999"])
def test_a_poisonous_number_is_a_dead_letter(value: str) -> None:
    raw = json.dumps(SNAPSHOT).replace('"61000.1"', value).encode()
    letter = decode(ArrivalKind.SNAPSHOT, raw)
    assert isinstance(letter, DeadLetter)


@pytest.mark.parametrize(
    ("traded", "read"),
    [
        ({}, (None, None)),
        ({"traded_qty": None, "traded_notional": None}, (None, None)),
        ({"traded_qty": "0", "traded_notional": 0.0}, (Decimal(0), Decimal(0))),
        (
            {"traded_qty": "2.500000000000000001", "traded_notional": "152500.25"},
            (Decimal("2.500000000000000001"), Decimal("152500.25")),
        ),
    ],
)
def test_what_the_market_traded_is_read_exactly(traded: dict[str, Any], read: tuple[Decimal, Decimal]) -> None:
    snapshot = decode(ArrivalKind.SNAPSHOT, json.dumps({**SNAPSHOT, **traded}).encode())
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.traded_qty, snapshot.traded_notional) == read


@pytest.mark.parametrize(
    ("qty", "notional", "reason", "field"),
    [
        ("1", None, "missing_field", "traded_notional"),
        (None, "61000", "missing_field", "traded_qty"),
        ("0", None, "missing_field", "traded_notional"),
        ("-1", "-61000", "negative", "traded_qty"),
        ("1", "-61000", "negative", "traded_notional"),
        ("1", "0", "no_price", "traded_notional"),
        ("0", "61000", "no_price", "traded_notional"),
        ("NaN", "61000", "not_a_number", "traded_qty"),
        ("1_0", "610000", "not_a_number", "traded_qty"),
        ("1", "0." + "1" * 19, "out_of_range", "traded_notional"),
    ],
)
def test_half_of_what_was_traded_is_a_dead_letter(
    qty: str | None, notional: str | None, reason: str, field: str
) -> None:
    raw = json.dumps({**SNAPSHOT, "traded_qty": qty, "traded_notional": notional}).encode()
    letter = decode(ArrivalKind.SNAPSHOT, raw)
    assert isinstance(letter, DeadLetter)
    assert (letter.defect.reason, letter.defect.field) == (reason, field)
    assert letter.raw == raw


def test_a_crossed_snapshot_is_a_dead_letter() -> None:
    letter = decode(ArrivalKind.SNAPSHOT, json.dumps({**SNAPSHOT, "bid": "61000.3"}).encode())
    assert isinstance(letter, DeadLetter)
    assert letter.defect.reason == "crossed"


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.sampled_from([ArrivalKind.INTENT, ArrivalKind.SNAPSHOT]), st.binary())
def test_arbitrary_bytes_never_raise(kind: ArrivalKind, raw: bytes) -> None:
    assert isinstance(decode(kind, raw), DeadLetter)


@given(st.data())
def test_any_value_in_any_field_never_raises(data: st.DataObject) -> None:
    kind, example = data.draw(st.sampled_from([(ArrivalKind.INTENT, INTENT), (ArrivalKind.SNAPSHOT, SNAPSHOT)]))
    field = data.draw(st.sampled_from(sorted(example)))
    decode(kind, json.dumps({**example, field: data.draw(json_values)}).encode())
