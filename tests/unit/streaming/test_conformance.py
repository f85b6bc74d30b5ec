"""What every venue module must do, whatever the venue: docs/adding-a-venue.md."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Report, ReportKind, Side
from streaming.settings import VenueSettings
from streaming.venues import DECODERS
from tests.shared import needs_shared, shared
from tests.unit.streaming.lists import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streaming.venues.decoded import Decoded

# where a format's real messages are; the canonical format is ours and has its schema's examples
SAMPLES = {
    "binance": ("binance_spot", "binance_futures"),
    "binance_spot": ("binance_spot",),
    "binance_usdm": ("binance_futures",),
    "kraken": ("kraken",),
    "kraken_futures": ("kraken",),
    "coinbase": ("coinbase",),
    "deribit": ("deribit",),
}
JSON_FORMATS = sorted(name for name in DECODERS if not name.startswith("fix"))
# words that the formats look for: without them no arbitrary JSON would get past the first test
_WORDS = (
    "e event data executionReport ORDER_TRADE_UPDATE TRADE_LITE o x TRADE l t i s S BUY L n N T m c result symbol "
    "id orderId isBuyer isMaker qty price time channel executions type update exec_type trade exec_id order_id "
    "side buy last_qty last_price timestamp fees asset feed fills fills_snapshot instrument fill_id fill_type "
    "maker method subscription params user user.trades.x user.changes.x events orders positions trade_type FILL "
    "product_id size size_in_quote trade_id direction amount label liquidation instrument_name "
    "NEW X new canceled order_status open_orders order is_cancel reason last_update_time order_state open status "
    "last_update_timestamp creation_time order_qty limit_price ord_status Canceled transact_time user.orders.x "
    "OPEN cl_ord_id 2026-01-02T03:04:05Z"
)
WORDS = _WORDS.split()

NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**40,
    0.1,
    1e300,
    "",
    " ",
    "0",
    "NaN",
    "1_0",
    "x" * 300,
    "\0",
    "\ud800",
    [],
    {},
    [1],
    {"a": []},
)

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.sampled_from([1_709_654_401_000, 0, -1, 1, "0", "1e999999999", "1_000", "\0", "x" * 300, "é", ""])
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
_few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_formats = pytest.mark.parametrize("name", sorted(DECODERS))


def check(name: str, raw: bytes) -> Decoded:
    """Decode twice and hold the result to what everything after it relies on."""
    decode = DECODERS[name]
    decoded = decode("V", raw)
    assert decoded == decode("V", raw), "the same bytes are the same reports"
    for report, kept in decoded.reports:
        check_report(report)
        if isinstance(report, FillReport):
            check_fill(report)
        else:
            check_state(report)
        assert kept == raw or kept in raw, "a report keeps the bytes it came in"
    for defect, kept in decoded.defects:
        assert kept == raw or kept in raw, "a defect keeps the bytes it came in"
        assert defect.reason.isidentifier()
        assert defect.rule
        assert defect.remedy
        assert "\0" not in str(defect), "Postgres keeps no NUL"
        str(defect).encode()
    for label, times in decoded.others.items():
        assert label.isidentifier(), "it becomes a metric's label"
        assert times > 0
    return decoded


def check_report(report: Report) -> None:
    for field in msgspec.structs.fields(report):
        value = getattr(report, field.name)
        assert not isinstance(value, float), f"{field.name}: money is never a float"
        if isinstance(value, Decimal):
            assert value.is_finite()
        if isinstance(value, str):
            assert "\0" not in value
            value.encode()
    assert report.venue == "V"
    assert report.cl_ord_id or report.venue_order_id
    assert len(report.report_id) == 32


def check_state(report: OrderReport) -> None:
    assert isinstance(report.exec_type, ExecType)
    assert report.ord_status is None or isinstance(report.ord_status, OrdStatus)
    assert report.side is None or isinstance(report.side, Side)
    assert report.order_qty is None or report.order_qty >= 0


def check_fill(report: FillReport) -> None:
    assert report.exec_id
    assert report.symbol
    assert isinstance(report.side, Side)
    assert report.kind is ReportKind.FILL or report.exec_ref_id
    assert report.kind is ReportKind.BUST or (report.last_qty > 0 and report.last_px > 0)
    assert len(report.content) == 32


def check_alone(name: str, decoded: Decoded) -> None:
    """What a dead letter keeps is decoded again when it is replayed: the same defect, or by now a report."""
    for defect, kept in decoded.defects:
        again = DECODERS[name]("V", kept)
        same = [found.reason for found, _ in again.defects] == [defect.reason]
        assert same or (again.reports and not again.defects), (defect, kept, again)


def samples() -> list[Any]:
    if not shared("samples").is_dir():
        return []
    return [
        pytest.param(name, path, id=f"{name}-{path.name}")
        for name, folders in SAMPLES.items()
        for folder in folders
        for path in sorted(shared("samples").joinpath(folder).iterdir())
    ]


def items() -> list[Any]:
    return [
        pytest.param(name, *parts, id=f"{name}-{n}")
        for name, all_ in LISTS.items()
        for n, parts in enumerate(all_)
    ]


def test_every_format_can_be_set_and_no_other() -> None:
    feed = {"kind": "rest", "secrets": ["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="]}
    for name in DECODERS:
        assert VenueSettings.model_validate({"format": name, "feed": feed}).format == name
    with pytest.raises(ValidationError, match="'nasdaq' is none of canonical, fix, "):
        VenueSettings.model_validate({"format": "nasdaq", "feed": feed})


def test_every_format_is_in_the_table_of_settings() -> None:
    manual = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    (row,) = [line for line in manual.splitlines() if line.startswith("| `venues.*.format` |")]
    assert [name for name in DECODERS if f"`{name}`" not in row] == []


def test_every_format_with_samples_of_its_own_names_them() -> None:
    assert {name for name in DECODERS if not name.startswith("fix")} - {"canonical"} == set(SAMPLES)


@_formats
@_few
@given(raw=st.binary(max_size=200))
@example(raw=b"")
@example(raw=b"\xff\xfe")
@example(raw=b"\x00")
@example(raw=b"[" * 100_000)
@example(raw=b'{"data":' + b"[" * 100_000)
def test_arbitrary_bytes_never_raise(name: str, raw: bytes) -> None:
    if not_json(raw):
        ((_, kept),) = check(name, raw).defects
        assert kept == raw
    else:
        check(name, raw)


@pytest.mark.parametrize("name", JSON_FORMATS)
@_few
@given(value=_json)
@example(value={"e": "executionReport", "x": "TRADE", "t": "\ud800"})
@example(value={"fills": [{"price": 10**300}]})
@example(value={"data": [{"trade_id": "\ud800"}, 1, None, []]})
def test_arbitrary_json_never_raises(name: str, value: Any) -> None:
    check(name, json.dumps(value).encode())


@pytest.mark.parametrize("name", JSON_FORMATS)
@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"a":1,}', b"{'a':1}", b'{"fills":[{]}', b'{"a":NaN}', b"\xff{}", b"\xef\xbb\xbf{}"]
)
def test_broken_json_is_one_defect(name: str, raw: bytes) -> None:
    decoded = check(name, raw)
    assert decoded.reports == []
    assert [(defect.reason, kept) for defect, kept in decoded.defects] == [("malformed", raw)]


@pytest.mark.parametrize("name", SAMPLES)
def test_text_that_is_not_utf_8_is_malformed_wherever_it_is(name: str) -> None:
    ((defect, _),) = check(name, b'{"e":"balanceUpdate","fills":[],"data":[],"unread":"\xff"}').defects
    assert defect.reason == "malformed"


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_numbers_beyond_reason_are_refused_quickly(name: str) -> None:
    for digits in (b"1e999999999999", b"9" * 5000, b"1e-9999999", b"-0.0"):
        for key in (b"price", b"last_px", b"L", b"qty"):
            check(name, b'{"fills":[{"%b":%b}],"data":[{"%b":%b}]}' % (key, digits, key, digits))


@pytest.mark.parametrize(("name", "message", "item"), items())
def test_one_item_alone_is_decoded_as_in_its_list(name: str, message: str, item: dict[str, Any]) -> None:
    """A dead letter keeps one item of a list, and its replay decodes just that."""
    alone = json.dumps(item)
    listed = check(name, (message % alone).encode())
    assert len(listed.reports) == 1
    assert check(name, alone.encode()).reports == listed.reports
    changed = json.loads(alone)
    for parent, key in leaves(changed):
        good = parent[key]
        for value in NASTY:
            parent[key] = value
            check_alone(name, check(name, (message % json.dumps(changed)).encode()))
        parent[key] = good
    for value in (None, 1, "x", {}, {"a": 1}):
        decoded = check(name, (message % json.dumps(value)).encode())
        assert len(decoded.defects) == 1
        check_alone(name, decoded)


def test_every_json_format_has_its_lists() -> None:
    assert sorted(LISTS) == JSON_FORMATS


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(("name", "path"), samples())
def test_every_sample_decodes_to_the_same_ids_twice(name: str, path: Path) -> None:
    decoded = check(name, path.read_bytes())
    assert decoded.defects == []
    assert decoded.reports
    assert decoded.others == {}
    ids = [report.report_id for report, _ in decoded.reports]
    assert len(set(ids)) == len(ids)


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(("name", "path"), samples())
def test_a_sample_that_is_cut_off_or_changed_never_raises(name: str, path: Path) -> None:
    raw = path.read_bytes().strip()
    for end in range(0, len(raw), 7):
        decoded = check(name, raw[:end])
        assert not decoded.reports
        assert [defect.reason for defect, _ in decoded.defects] == ["malformed"]
    for old, new in ((b'"', b""), (b":", b": null,"), (b"1", b"-1"), (b'"', b'"\\u0000'), (b"0", b'"0"')):
        check(name, raw.replace(old, new, 1))
        check(name, raw.replace(old, new))


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(("name", "path"), samples())
def test_a_sample_with_any_one_value_changed_never_raises(name: str, path: Path) -> None:
    message = json.loads(path.read_text())
    for parent, key in leaves(message):
        kept = parent[key]
        for value in NASTY:
            parent[key] = value
            decoded = check(name, json.dumps(message).encode())
            assert decoded.reports or decoded.defects or decoded.others or value in ([], {})
            check_alone(name, decoded)
        parent[key] = kept


@needs_shared
@pytest.mark.shared
def test_a_fill_that_comes_again_after_40_minutes_is_the_same_fill() -> None:
    """The venue is none of ours, so its trade is put into the canonical format."""
    sample = json.loads(shared("samples/late_duplicate_fill.json").read_text())
    trade = sample["trade"]
    fill = {
        "type": "fill",
        "exec_id": trade["id"],
        "venue_order_id": trade["order"],
        "account": "A",
        "symbol": trade["symbol"],
        "side": trade["side"],
        "last_qty": trade["info"]["v"],
        "last_px": trade["info"]["p"],
        "liquidity": trade["takerOrMaker"],
        "transact_time": trade["datetime"],
    }
    assert len(sample["arrivals"]) == 2
    first, again = (
        check("canonical", json.dumps({"fills": [fill], "received_at": at}).encode()) for at in sample["arrivals"]
    )
    ((one, _),), ((other, _),) = first.reports, again.reports
    assert one == other
    assert isinstance(one, FillReport)
    assert (one.exec_id, one.venue_order_id) == (
        "7234f202ab044f87883345a096695299",
        "0e3b358a5d7849deb1f5ae293397a216",
    )
    assert (one.side, one.last_qty, one.last_px) == (Side.BUY, Decimal("5.77"), Decimal(1))
    assert (one.symbol, one.liquidity) == ("TUSD/USDT", Liquidity.MAKER)
    assert one.transact_ns == trade["timestamp"] * 1_000_000
    for name in SAMPLES:  # and no format takes the message of another venue for nothing
        decoded = check(name, json.dumps(trade).encode())
        assert decoded.reports == []
        assert [defect.reason for defect, _ in decoded.defects] == ["missing_field"]


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a message, from the outside in."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from leaves(inner)


def not_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return True
    return False
