"""Kraken futures: the ``fills`` and ``open_orders`` feeds, and the look-back of fills, for ``kraken.decode``.

Read: ``{"feed": "fills_snapshot" | "fills", "fills": […]}``; ``{"result": "success", "fills": […]}`` over REST;
``{"feed": "open_orders" | "open_orders_verbose", "order": {…}, "is_cancel", "reason"}`` and their snapshots'
``orders``; one fill or one order of these.

Sources: https://docs.kraken.com/exchange/api-reference/futures-websocket/fills,
https://docs.kraken.com/exchange/api-reference/futures-websocket/open_orders,
https://docs.kraken.com/api/docs/futures-api/trading/get-fills.

Traps of fills:

- ``account`` is in the snapshot and neither in the updates nor over REST: it is left out everywhere, or one fill
  would have two identities. The settings say whose the fills are. Symbols are taken in upper case, however they
  are spelt. The fields have other names over REST (``size``, ``side``, ``fillTime``), which gives no fee.
- ``fill_id`` is the execution's own. A fill without it is a dead letter: ``seq`` counts a subscription's messages.
- An unknown ``fill_type`` is a defect: it may be no trade of ours. Liquidations, assignments and unwinds move the
  position, are fills, and are counted beside that.
- No feed takes back a trade: there are no busts and no corrects.

Traps of order states:

- ``is_cancel`` means that the order leaves the book, which is no cancel where the reason is ``full_fill`` or
  ``stop_order_triggered``. With ``partial_fill`` what was left of it is gone: canceled.
- ``qty`` is said of the order and of its rest in different places: it is OrderQty while nothing has filled, and
  not taken after that.
- A message that an order is gone may give its id and no time. A report has a time, and none is invented: such a
  message is counted, ``removed_cancel``, ``removed_fill`` or ``removed_trigger`` by its reason.
- Reasons are many and new ones come: one that is not known is kept as it is, and ``is_cancel`` says what it did.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_order_report
from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues.canonical_defects import RESEND, missing
from streaming.venues.json_messages import Fields, Members, Of, count, each, fields_of

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_DIRECTIONS = {"0": Side.BUY, "1": Side.SELL}
# what kind of fill: its liquidity, and the name it is counted by where nobody of ours traded
_FILL_TYPES: dict[str, tuple[Liquidity | None, str | None]] = {
    "maker": (Liquidity.MAKER, None),
    "taker": (Liquidity.TAKER, None),
    "takerAfterEdit": (Liquidity.TAKER, None),
    "liquidation": (None, "liquidation"),
    "assignee": (None, "assignment"),
    "assignor": (None, "assignment"),
    "unwindBankrupt": (None, "unwind"),
    "unwindCounterparty": (None, "unwind"),
}
_LIQUIDATION = "liquidation"
# by reason, while the order stays in the book
_STAYS = {
    "new_placed_order_by_user": ExecType.NEW,
    "limit_order_from_stop": ExecType.NEW,
    _LIQUIDATION: ExecType.NEW,
    "edited_by_user": ExecType.REPLACED,
}
# by reason, when it leaves; for any other it is canceled
_LEAVES = {
    "full_fill": (ExecType.ORDER_STATUS, OrdStatus.FILLED),
    "stop_order_triggered": (ExecType.TRIGGERED, None),
    "contract_expired": (ExecType.EXPIRED, OrdStatus.EXPIRED),
    "post_order_failed_because_it_would_filled": (ExecType.REJECTED, OrdStatus.REJECTED),
    "ioc_order_failed_because_it_would_not_be_executed": (ExecType.EXPIRED, OrdStatus.EXPIRED),
}
_CANCELED = (ExecType.CANCELED, OrdStatus.CANCELED)
_REMOVED = {"full_fill": "removed_fill", "stop_order_triggered": "removed_trigger"}
_FILLS = ("fills", "fills_snapshot")
_ORDERS = ("open_orders", "open_orders_verbose")
_SNAPSHOTS = ("open_orders_snapshot", "open_orders_verbose_snapshot")
_FEEDS = {
    name: name
    for name in (
        *_FILLS,
        *_ORDERS,
        *_SNAPSHOTS,
        "heartbeat",
        "open_positions",
        "balances",
        "balances_snapshot",
        "account_log",
        "account_log_snapshot",
        "notifications_auth",
    )
}


def read_message(of: Of, top: Members, raw: bytes, decoded: Decoded) -> None:
    """Read a message that has ``feed``, or the look-back's ``fills``. Raises ``DefectError``."""
    if "feed" not in top:
        each(decoded, raw, bytes(top["fills"]), "fills", partial(_look_back, of))
        return
    feed = read.known("feed", read.word(top, "feed"), _FEEDS)
    if feed in _ORDERS:
        _change(of, raw, decoded)
    elif feed not in _FILLS + _SNAPSHOTS:
        count(decoded, feed)
    else:
        name, one = ("fills", _fill) if feed in _FILLS else ("orders", _open)
        if name not in top:
            raise missing(name)
        each(decoded, raw, bytes(top[name]), name, partial(one, of))


def read_item(of: Of, top: Members, raw: bytes, decoded: Decoded) -> bool:
    """Read one fill or order, as a dead letter keeps it; False if it is none. Raises ``DefectError``."""
    if "fillType" in top or "fillTime" in top:
        _look_back(of, raw, decoded)
    elif "fill_type" in top or "fill_id" in top:
        _fill(of, raw, decoded)
    elif "last_update_time" in top:
        _open(of, raw, decoded)
    else:
        return False
    return True


def _fill(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "fill")
    liquidity, forced = read.one_of(event, "fill_type", _FILL_TYPES)
    report = read.fill(
        **of.at(read.epoch(event, "time")),
        symbol=read.required(event, "instrument").upper(),
        exec_id=read.required(event, "fill_id"),
        venue_order_id=read.required(event, "order_id"),
        cl_ord_id=read.text(event, "cli_ord_id"),
        side=Side.BUY if read.flag(event, "buy") else Side.SELL,
        last_qty=read.positive(event, "qty"),
        last_px=read.positive(event, "price"),
        fee=read.number(event, "fee_paid"),
        fee_currency=read.text(event, "fee_currency"),
        liquidity=liquidity,
    )
    _keep(decoded, report, raw, forced)


def _look_back(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "fill")
    liquidity, forced = read.one_of(event, "fillType", _FILL_TYPES)
    report = read.fill(
        **of.at(read.utc(event, "fillTime")),
        symbol=read.required(event, "symbol").upper(),
        exec_id=read.required(event, "fill_id"),
        venue_order_id=read.required(event, "order_id"),
        cl_ord_id=read.text(event, "cliOrdId"),
        side=read.one_of(event, "side", _SIDES),
        last_qty=read.positive(event, "size"),
        last_px=read.positive(event, "price"),
        liquidity=liquidity,
    )
    _keep(decoded, report, raw, forced)


def _keep(decoded: Decoded, report: FillReport, raw: bytes, forced: str | None) -> None:
    decoded.reports.append((report, raw))
    if forced is not None:
        count(decoded, forced)


def _change(of: Of, raw: bytes, decoded: Decoded) -> None:
    message = fields_of(raw)
    order = message.get("order", message)
    if not isinstance(order, dict):
        raise defect_error("wrong_type", "order", repr(order), "an object is required", RESEND)
    leaves = message.get("is_cancel") is not None and read.flag(message, "is_cancel")
    reason = read.text(message, "reason")
    if reason == _LIQUIDATION:
        count(decoded, "liquidation_order")
    if not order.keys() & {"last_update_time", "time"}:
        if not leaves:
            raise missing("last_update_time")
        read.required(order, "order_id")
        count(decoded, _REMOVED.get(reason or "", "removed_cancel"))
        return
    if leaves:
        exec_type, status = _LEAVES.get(reason or "", _CANCELED)
    else:
        exec_type, status = _STAYS.get(reason or "", ExecType.ORDER_STATUS), _standing(order)
    decoded.reports.append((_state(of, order, exec_type, status, reason), raw))


def _open(of: Of, raw: bytes, decoded: Decoded) -> None:
    order = fields_of(raw, "order")
    decoded.reports.append((_state(of, order, ExecType.ORDER_STATUS, _standing(order)), raw))


def _standing(order: Fields) -> OrdStatus:
    return OrdStatus.PARTIALLY_FILLED if read.number(order, "filled") else OrdStatus.NEW


def _state(
    of: Of, order: Fields, exec_type: ExecType, status: OrdStatus | None, reason: str | None = None
) -> OrderReport:
    filled = read.number(order, "filled")
    return make_order_report(
        **of.at(read.epoch(order, "last_update_time" if "last_update_time" in order else "time")),
        symbol=(read.text(order, "instrument") or "").upper(),
        exec_type=exec_type,
        ord_status=status,
        cl_ord_id=read.text(order, "cli_ord_id"),
        venue_order_id=read.required(order, "order_id"),
        side=read.maybe(order, "direction", _DIRECTIONS),
        order_qty=None if filled else read.quantity(order, "qty"),
        limit_price=read.nonzero(order, "limit_price"),
        cum_qty=filled,
        reason=reason,
    )
