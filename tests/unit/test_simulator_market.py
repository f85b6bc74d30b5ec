"""The generated and the captured market, and the faults: pure, so whole days are looked at here."""

from __future__ import annotations

import gzip
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.capture import CaptureError, Replay
from simulator.config import NO_FAULTS, Config, ConfigError, FaultRates, VenueConfig, load
from simulator.faults import Due, Faults
from simulator.market import SECOND, Market
from simulator.orders import Event, Identifiers, Intent, Report, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

SHARED = Path(__file__).parents[3] / "shared/data"
VENUES = (
    VenueConfig("ALPHA", "fix"),
    VenueConfig("BRAVO", "websocket"),
    VenueConfig("CHARLIE", "rest", url="http://127.0.0.1:1", secret="whsec_c2ltdWxhdG9y"),
)
ROUGH = FaultRates(bust=0.1, correct=0.1, correct_again=0.5, intent_late=0.2, swapped=0.1, late=0.1, malformed=0.1)


def config(**changes: object) -> Config:
    return msgspec.structs.replace(Config(state_dir="unused", venues=VENUES, faults=ROUGH), **changes)


def day(seed: int = 7, seconds: float = 60) -> list[Event]:
    market = Market(config(seed=seed), Identifiers("t", 1))
    events = []
    for event in market.events():
        if event.at > seconds * SECOND:
            market.stop_orders()
        events.append(event)
    return events


def reports(events: Iterable[Event], kind: str) -> list[Report]:
    return [event for event in events if isinstance(event, Report) and event.kind == kind]


def test_the_same_seed_makes_the_same_day_and_another_seed_another() -> None:
    assert day(7) == day(7)
    assert day(7) != day(8)


def test_events_are_in_order_of_time() -> None:
    times = [event.at for event in day()]
    assert times == sorted(times)


def test_the_default_day_has_the_promised_rates() -> None:
    events = day(seconds=120)
    assert 30 <= len(reports(events, "fill")) / 120 <= 60
    assert 15 <= sum(isinstance(event, Snapshot) for event in events) / 120 / 3 <= 25


def test_prices_and_quantities_lie_on_the_grid() -> None:
    grids = {one.symbol: (Decimal(one.tick), Decimal(one.lot)) for one in config().symbols}
    for event in day():
        if isinstance(event, Snapshot):
            tick, lot = grids[event.symbol]
            assert event.bid % tick == event.ask % tick == event.bid_size % lot == event.ask_size % lot == 0
            assert 0 < event.bid < event.ask
        elif isinstance(event, Report) and event.kind != "status":
            tick, lot = grids[event.intent.symbol]
            assert event.last_px % tick == event.last_qty % lot == 0
            assert event.last_px > 0
            assert event.last_qty > 0


def volumes(events: Iterable[Event]) -> dict[str, list[Snapshot]]:
    found: dict[str, list[Snapshot]] = defaultdict(list)
    for event in events:
        if isinstance(event, Snapshot):
            found[event.symbol].append(event)
    return found


def test_a_market_trades_between_its_snapshots_at_its_prices_and_on_its_grid() -> None:
    grids = {one.symbol: (Decimal(one.tick), Decimal(one.lot)) for one in config().symbols}
    quiet = 0
    for symbol, snapshots in volumes(day(seconds=120)).items():
        tick, lot = grids[symbol]
        assert (snapshots[0].traded_qty, snapshots[0].traded_notional) == (None, None)
        low, high = min(s.bid for s in snapshots), max(s.ask for s in snapshots)
        total = value = Decimal(0)
        for one in snapshots[1:]:
            assert one.traded_qty is not None
            assert one.traded_notional is not None
            assert one.traded_qty % lot == one.traded_notional % (lot * tick) == 0
            assert bool(one.traded_qty) is bool(one.traded_notional)
            quiet += not one.traded_qty
            total += one.traded_qty
            value += one.traded_notional
        assert low * Decimal("0.999") < value / total < high * Decimal("1.001")
    assert quiet


def test_our_fills_are_part_of_what_the_market_traded() -> None:
    """Between two snapshots: no less than ours in quantity and in notional; a seed has hundreds of such spans."""
    own: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    spans = 0
    for event in day(seconds=120):
        if isinstance(event, Report) and event.kind == "fill":
            own[event.intent.symbol][0] += event.last_qty
            own[event.intent.symbol][1] += event.last_qty * event.last_px
        elif isinstance(event, Snapshot) and event.symbol in own:
            qty, notional = own.pop(event.symbol)
            assert event.traded_qty is not None
            assert event.traded_notional is not None
            assert event.traded_qty >= qty
            assert event.traded_notional >= notional
            spans += 1
    assert spans > 500


def test_no_order_overfills_or_passes_its_limit_whatever_arrives_first() -> None:
    filled: dict[str, Decimal] = defaultdict(Decimal)
    ordered: dict[str, list[Intent]] = defaultdict(list)
    for event in day():
        if isinstance(event, Intent):
            ordered[event.correlation_id].append(event)
        elif isinstance(event, Report) and event.kind in {"fill", "correct"}:
            intent = event.intent
            beyond = event.last_px - intent.limit_price
            assert (beyond if intent.side == "buy" else -beyond) <= 0
            if event.kind == "fill":
                filled[intent.correlation_id] += event.last_qty
                # busted ones, too: every fill ever made fits together
                assert filled[intent.correlation_id] <= intent.order_qty
    replaced = [chain for chain in ordered.values() if len(chain) > 1]
    assert replaced
    assert all(chain[1].orig_msg_id == chain[0].msg_id for chain in replaced)


def test_claims_are_right_when_made() -> None:
    trades: dict[str, tuple[str, Decimal, Decimal]] = {}
    for event in day():
        if not isinstance(event, Report) or event.kind == "status":
            continue
        order = event.intent.correlation_id
        if event.exec_ref_id is not None:
            assert trades.pop(event.exec_ref_id)[0] == order
        if event.kind != "bust":
            trades[event.exec_id] = (order, event.last_qty, event.last_px)
        mine = [(qty, px) for of, qty, px in trades.values() if of == order]
        quantity = sum((qty for qty, _ in mine), Decimal(0))
        assert event.cum_qty == quantity
        assert event.leaves_qty in {event.intent.order_qty - quantity, Decimal(0)}
        if quantity:
            exact = sum((qty * px for qty, px in mine), Decimal(0)) / quantity
            assert abs(event.avg_px - exact) <= Decimal("1e-8")


def test_a_correct_of_a_correct_refers_to_the_last_of_its_chain() -> None:
    corrects = reports(day(), "correct")
    corrected = {one.exec_id for one in corrects}
    assert any(one.exec_ref_id in corrected for one in corrects)


def strikes(events: Iterable[Event], rates: FaultRates = ROUGH) -> list[Due]:
    faults = Faults(rates, 7, {venue.name: venue.kind for venue in VENUES})
    due = [one for event in events for one in faults.strike(event)]
    return due + faults.release_held(1 << 62)


def test_faults_lose_nothing_and_are_the_same_for_the_same_seed() -> None:
    events = day()
    due = strikes(events)
    assert due == strikes(events)
    sent = {one.event.exec_id for one in due if isinstance(one.event, Report) and one.act == "send"}
    assert sent == {event.exec_id for event in events if isinstance(event, Report)}
    published = {one.event.msg_id for one in due if isinstance(one.event, Intent)}
    assert published == {event.msg_id for event in events if isinstance(event, Intent)}


def test_a_late_intent_is_not_overtaken_by_its_replace() -> None:
    first: dict[str, int] = {}
    for one in strikes(day(), FaultRates(intent_late=0.6, bust=0, correct=0)):
        if isinstance(one.event, Intent) and not one.again:
            if one.event.action == "replace":
                assert one.at > first[one.event.orig_msg_id or ""]
            first[one.event.msg_id] = one.at


def test_without_faults_everything_goes_out_once_and_at_its_time() -> None:
    due = strikes(day(), NO_FAULTS)
    assert all(one.at == one.event.at and not one.fault and not one.again and one.act == "send" for one in due)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "quotes", "trades", "volume", "value"),
    [
        ("binance_spot_btcusdt_20240809", 45_134, 10_147, Decimal("225.87701"), Decimal("13922525.291819")),
        ("binance_usdm_btcusdt_20240808", 66_089, 21_313, Decimal("2429.366"), Decimal("149845680.8898")),
    ],
)
def test_a_captured_day_keeps_every_quote_and_every_trade(
    name: str, quotes: int, trades: int, volume: Decimal, value: Decimal
) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("no ../shared here")
    events = list(Replay(config(captures=(str(path),), faults=NO_FAULTS), Identifiers("t", 1)).events())
    fills = reports(events, "fill")
    assert sum(isinstance(event, Snapshot) for event in events) == quotes
    assert len(fills) == trades
    assert [event.at for event in events] == sorted(event.at for event in events)
    traded = [(e.traded_qty, e.traded_notional) for e in events if isinstance(e, Snapshot)]
    assert traded[0] == (None, None)
    assert sum((qty or Decimal(0) for qty, _ in traded), Decimal(0)) == volume
    assert sum((notional or Decimal(0) for _, notional in traded), Decimal(0)) == value
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for fill in fills:
        filled[fill.intent.msg_id] += fill.last_qty
    assert filled == {event.msg_id: event.order_qty for event in events if isinstance(event, Intent)}


def _zipped(content: bytes) -> bytes:
    """Compress without a time stamp: xdist's workers must collect the same parameters."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not gzip", "line 1"),
        (_zipped(b'17 {"stream":"x@trade","data":{"s":"X","p":"1","q":"1"}}\nhello\n'), "line 2"),
        (_zipped(b'17 {"stream":"x@bookTicker","data":{"s":"X","b":"1"}}\n'), "without its prices"),
        (_zipped(b'{"stream":"x@trade","data":{"s":"X"}}\n'), "line 1"),
    ],
)
def test_a_file_that_is_no_capture_is_named_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other.jsonl.gz"
    path.write_bytes(content)
    replay = Replay(config(captures=(str(path),)), Identifiers("t", 1))
    with pytest.raises(CaptureError, match=says) as caught:
        list(replay.events())
    assert str(path) in str(caught.value)
    assert "expected gzipped lines" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"state_dir": "s", "speed": 0}', "speed must be > 0, was 0"),
        (b'{"state_dir": "s", "faults": {"lost": 2}}', "faults.lost must be from 0 to 1, was 2"),
        (b'{"state_dir": "s", "nonsense": 1}', "nonsense"),
        (b'{"state_dir": "s", "venues": [{"name": "C", "kind": "rest"}]}', "venue C"),
    ],
)
def test_a_config_that_cannot_work_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load(path)
