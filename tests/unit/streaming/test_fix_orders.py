"""States of orders: every ExecType, every OrdStatus, every version, and OrderCancelReject."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from ledger.domain.records import ExecType, OrdStatus, ReportKind, Side
from streaming.venues.fix import decode
from tests.unit.streaming.test_fix import TRANSACT_NS, defect, message, only, report, state

VERSIONS = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]
EXEC_TYPES = {
    "0": ExecType.NEW,
    "3": ExecType.DONE_FOR_DAY,
    "4": ExecType.CANCELED,
    "5": ExecType.REPLACED,
    "6": ExecType.PENDING_CANCEL,
    "7": ExecType.STOPPED,
    "8": ExecType.REJECTED,
    "9": ExecType.SUSPENDED,
    "A": ExecType.PENDING_NEW,
    "B": ExecType.CALCULATED,
    "C": ExecType.EXPIRED,
    "D": ExecType.RESTATED,
    "E": ExecType.PENDING_REPLACE,
    "I": ExecType.ORDER_STATUS,
    "L": ExecType.TRIGGERED,
}
KINDS = {
    "1": ReportKind.FILL,
    "2": ReportKind.FILL,
    "F": ReportKind.FILL,
    "G": ReportKind.CORRECT,
    "H": ReportKind.BUST,
}
STATUSES = {
    "0": OrdStatus.NEW,
    "1": OrdStatus.PARTIALLY_FILLED,
    "2": OrdStatus.FILLED,
    "3": OrdStatus.DONE_FOR_DAY,
    "4": OrdStatus.CANCELED,
    "5": OrdStatus.REPLACED,
    "6": OrdStatus.PENDING_CANCEL,
    "7": OrdStatus.STOPPED,
    "8": OrdStatus.REJECTED,
    "9": OrdStatus.SUSPENDED,
    "A": OrdStatus.PENDING_NEW,
    "B": OrdStatus.CALCULATED,
    "C": OrdStatus.EXPIRED,
    "D": OrdStatus.ACCEPTED_FOR_BIDDING,
    "E": OrdStatus.PENDING_REPLACE,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", EXEC_TYPES)
def test_every_exec_type_of_a_state(version: str, code: str) -> None:
    found = state({"8": version, "150": code, "32": None, "31": None})
    assert found.exec_type is EXEC_TYPES[code]
    assert found.ord_status is OrdStatus.PARTIALLY_FILLED


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", KINDS)
def test_every_exec_type_of_a_trade(version: str, code: str) -> None:
    fill = report({"8": version, "150": code, "19": "E-0"})
    assert fill.kind is KINDS[code]
    assert fill.exec_ref_id == (None if fill.kind is ReportKind.FILL else "E-0")


@pytest.mark.parametrize("code", STATUSES)
def test_every_ord_status(code: str) -> None:
    assert state({"150": "I", "39": code}).ord_status is STATUSES[code]


def test_no_ord_status_is_none() -> None:
    assert state({"150": "I", "39": None}).ord_status is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("exec_type", ["0", "1", "2", "4", "F", None])
@pytest.mark.parametrize(
    ("trans_type", "kind"), [("1", ReportKind.BUST), ("2", ReportKind.CORRECT), ("3", ExecType.ORDER_STATUS)]
)
def test_exec_trans_type_goes_before_exec_type(
    version: str, exec_type: str | None, trans_type: str, kind: ReportKind | ExecType
) -> None:
    raw = message({"8": version, "20": trans_type, "150": exec_type, "19": "E-0"})
    found = only(raw)
    assert getattr(found, "kind", None) is kind or getattr(found, "exec_type", None) is kind


@pytest.mark.parametrize("trans_type", ["1", "2"])
def test_a_cancel_or_correct_of_fix_4_2_needs_its_reference(trans_type: str) -> None:
    assert defect({"8": "FIX.4.2", "20": trans_type, "150": "2"}) == ("missing_field", "ExecRefID(19)", "")


@pytest.mark.parametrize("trans_type", [None, "", "0"])
def test_a_new_report_of_fix_4_2_is_what_its_exec_type_says(trans_type: str | None) -> None:
    assert report({"8": "FIX.4.2", "20": trans_type, "150": "1"}).kind is ReportKind.FILL
    assert state({"8": "FIX.4.2", "20": trans_type, "150": "4"}).exec_type is ExecType.CANCELED


@pytest.mark.parametrize("version", ["FIX.4.0", "FIX.4.1", "FIX.4.2"])
@pytest.mark.parametrize("status", ["1", "2", "6", "4"])
def test_without_exec_type_shares_make_a_fill(version: str, status: str) -> None:
    assert report({"8": version, "150": None, "39": status}).kind is ReportKind.FILL


@pytest.mark.parametrize("shares", ["0", None])
@pytest.mark.parametrize(
    ("status", "exec_type"), [(code, each) for code, each in EXEC_TYPES.items() if code not in "DIL"]
)
def test_without_exec_type_and_shares_the_status_says_it(
    shares: str | None, status: str, exec_type: ExecType
) -> None:
    assert state({"8": "FIX.4.1", "150": None, "32": shares, "39": status}).exec_type is exec_type


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"39": "2", "32": "0"}, ("not_positive", "LastQty(32)", "0")),
        ({"39": "1", "32": None}, ("missing_field", "LastQty(32)", "")),
        ({"39": "D", "32": None}, ("unknown_value", "OrdStatus(39)", "D")),
        ({"39": None, "32": None}, ("unknown_value", "OrdStatus(39)", "")),
        ({"39": "2", "32": "lots"}, ("not_a_number", "LastQty(32)", "lots")),
    ],
)
def test_what_fix_4_0_leaves_open_is_a_defect(
    changes: dict[str, str | None], expected: tuple[str, str, str]
) -> None:
    assert defect({"8": "FIX.4.0", "150": None, **changes}) == expected


def test_a_state_with_everything() -> None:
    found = state({"150": "5", "39": "0", "41": "m-0", "44": "101.5", "58": "amended", "75": "20260105"})
    assert (found.exec_type, found.ord_status) == (ExecType.REPLACED, OrdStatus.NEW)
    assert (found.cl_ord_id, found.orig_cl_ord_id, found.venue_order_id) == ("m-1", "m-0", "V-1")
    assert (found.account, found.symbol, found.side, found.exec_id) == ("ACC", "ACME", Side.BUY, "E-1")
    assert (found.order_qty, found.limit_price) == (Decimal(200), Decimal("101.5"))
    assert (found.cum_qty, found.leaves_qty, found.avg_px) == (Decimal(100), Decimal(100), Decimal("101.25"))
    assert (found.reason, found.transact_ns, found.trade_date) == ("amended", TRANSACT_NS, date(2026, 1, 5))


def test_a_state_with_the_least() -> None:
    kept = {"8", "35", "52", "11", "150"}
    everything = [pair.split(b"=")[0].decode() for pair in message().split(b"\x01")[:-2]]
    found = state({tag: None for tag in everything if tag not in kept} | {"150": "0"})
    assert (found.cl_ord_id, found.venue_order_id, found.exec_id, found.ord_status) == ("m-1", None, None, None)
    assert (found.account, found.symbol, found.side, found.reason) == ("", "", None, None)
    assert (found.order_qty, found.limit_price, found.cum_qty, found.leaves_qty) == (None, None, None, None)


@pytest.mark.parametrize("absent", ["0", "", "NONE", None])
def test_no_orig_cl_ord_id(absent: str | None) -> None:
    assert state({"150": "4", "41": absent}).orig_cl_ord_id is None


@pytest.mark.parametrize("order_type", ["1", "3"])
def test_a_market_order_has_no_limit(order_type: str) -> None:
    assert state({"150": "0", "40": order_type, "44": "0"}).limit_price is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"150": "D"}, None),
        ({"150": "D", "378": "1"}, "ExecRestatementReason=1"),
        ({"150": "8", "103": "3"}, "OrdRejReason=3"),
        ({"150": "8", "103": "3", "58": "over the limit"}, "OrdRejReason=3: over the limit"),
        ({"150": "4", "58": "by the \x02 desk"}, "by the � desk"),
        ({"150": "4", "58": "x" * 300}, "x" * 255 + "…"),
    ],
)
def test_the_reason_is_the_code_by_its_name_and_the_text(
    changes: dict[str, str | None], reason: str | None
) -> None:
    assert state(changes).reason == reason


def test_the_default_account_is_of_those_that_do_not_say() -> None:
    for code in ("0", "F"):
        ((said, _),) = decode("venue", message({"150": code}), "ours").reports
        ((unsaid, _),) = decode("venue", message({"150": code, "1": None}), "ours").reports
        assert (said.account, unsaid.account) == ("ACC", "ours")


def test_a_state_is_of_the_time_it_was_first_sent_if_it_says_no_other() -> None:
    first = state({"150": "0", "60": None, "52": "20260102-10:02:14.591"})
    again = state({"150": "0", "60": None, "52": "20260103-10:00:00", "122": "20260102-10:02:14.591", "43": "Y"})
    assert first.transact_ns == TRANSACT_NS
    assert again == first


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fill_without_its_time_is_one_where_the_version_does_not_ask_for_it(version: str) -> None:
    changes: dict[str, str | None] = {"8": version, "60": None, "52": "20260102-10:02:14.591"}
    if version in {"FIX.4.0", "FIX.4.1", "FIX.4.2"}:
        assert report(changes).transact_ns == TRANSACT_NS
    else:
        assert defect(changes) == ("missing_field", "TransactTime(60)", "")


def test_an_order_status_with_the_exec_id_of_a_fill_is_no_fill() -> None:
    assert state({"150": "I"}).exec_id == report().exec_id


CANCEL_REJECT: dict[str, str | None] = {
    **dict.fromkeys(
        ("17", "150", "1", "55", "54", "38", "32", "31", "14", "151", "6", "12", "13", "479", "15", "851")
    ),
    "35": "9",
    "11": "m-2",
    "41": "m-1",
    "39": "2",
    "102": "0",
    "434": "1",
    "58": "too late",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_order_cancel_reject(version: str) -> None:
    found = state({**CANCEL_REJECT, "8": version})
    assert (found.exec_type, found.ord_status) == (ExecType.CANCEL_REJECT, OrdStatus.FILLED)
    assert (found.cl_ord_id, found.orig_cl_ord_id, found.venue_order_id) == ("m-2", "m-1", "V-1")
    assert found.reason == "CxlRejReason=0, CxlRejResponseTo=1: too late"
    assert (found.account, found.symbol, found.side, found.order_qty) == ("", "", None, None)


def test_a_cancel_reject_of_an_unknown_order() -> None:
    found = state({**CANCEL_REJECT, "37": "NONE", "39": "8", "102": "1", "434": None, "58": None, "60": None})
    assert (found.venue_order_id, found.ord_status) == (None, OrdStatus.REJECTED)
    assert found.reason == "CxlRejReason=1"
