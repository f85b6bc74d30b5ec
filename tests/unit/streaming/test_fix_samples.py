"""Messages of real venues and engines, with what is known of each."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest

from ledger.domain.records import ExecType, FillReport, OrderReport, OrdStatus, Report, ReportKind, Side
from streaming.venues import DECODERS
from streaming.venues.fix import decode
from streaming.venues.fix_text import normalise
from tests.shared import needs_shared, shared

pytestmark = [pytest.mark.shared, needs_shared]


def sample(name: str) -> bytes:
    for line in shared("samples/fix/messages.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["id"] == name:
            return normalise(str(row["raw"]).encode())
    raise LookupError(name)


def only(name: str) -> Report:
    decoded = decode("venue", sample(name))
    assert not decoded.defects
    assert not decoded.others
    ((found, _),) = decoded.reports
    return found


def fill(name: str) -> FillReport:
    found = only(name)
    assert isinstance(found, FillReport)
    return found


def state(name: str) -> OrderReport:
    found = only(name)
    assert isinstance(found, OrderReport)
    return found


def test_a_full_fill_of_fix_4_2_with_an_average_price_of_zero() -> None:
    found = fill("cme_ilink_fill")
    assert (found.kind, found.exec_id, found.side) == (ReportKind.FILL, "64485:M:412850TN0031303", Side.BUY)
    assert (found.last_qty, found.last_px) == (Decimal(1), Decimal(208700))
    assert (found.cum_qty, found.leaves_qty, found.avg_px) == (Decimal(1), Decimal(0), Decimal(0))
    assert (found.account, found.symbol, found.trade_date) == ("TEST", "ES", date(2015, 2, 20))
    assert (found.cl_ord_id, found.venue_order_id) == ("00000000000000000003", "64227619161")


def test_an_unsolicited_cancel_that_is_sent_again() -> None:
    found = state("qfj_possdup_unsolicited_cancel")
    assert (found.exec_type, found.ord_status) == (ExecType.CANCELED, OrdStatus.CANCELED)
    assert (found.cl_ord_id, found.orig_cl_ord_id, found.venue_order_id) == ("a00000052.1", None, "10118506")
    assert (found.order_qty, found.limit_price, found.cum_qty) == (Decimal(500000), Decimal("0.998"), Decimal(0))


def test_a_gap_fill_is_counted() -> None:
    decoded = decode("venue", sample("qfj_gapfill"))
    assert (decoded.reports, decoded.defects, decoded.others) == ([], [], {"sequence_reset": 1})


def test_a_restatement_without_its_reason() -> None:
    found = state("asx_restated")
    assert (found.exec_type, found.ord_status, found.reason) == (ExecType.RESTATED, OrdStatus.NEW, None)
    assert (found.symbol, found.order_qty, found.leaves_qty) == ("WOW", Decimal(200), Decimal(200))
    assert found.limit_price == Decimal(15)


def test_a_correct_of_a_clearing_drop_copy_whose_claims_are_zero() -> None:
    found = fill("rbs_trade_correct")
    assert (found.kind, found.exec_id, found.exec_ref_id) == (ReportKind.CORRECT, "20170525.44", "20170525.43")
    assert (found.last_qty, found.last_px) == (Decimal(5), Decimal("98.695"))
    assert (found.cum_qty, found.leaves_qty, found.avg_px) == (Decimal(0), Decimal(0), None)
    assert (found.account, found.symbol, found.trade_date) == ("U7B008", "ED", date(2017, 5, 25))


def test_a_correct_of_fix_4_3_without_its_reference() -> None:
    raw = sample("epam_fix43_correct_no_ref")
    ((found, kept),) = decode("venue", raw).defects
    assert (found.reason, found.field, kept) == ("missing_field", "ExecRefID(19)", raw)


def test_a_new_order_without_exec_id() -> None:
    found = state("ctrader_new")
    assert (found.exec_type, found.ord_status, found.exec_id) == (ExecType.NEW, OrdStatus.NEW, None)
    assert (found.cl_ord_id, found.venue_order_id) == ("876316397", "101")
    assert found.leaves_qty == Decimal(10000)


def test_a_new_order_to_the_microsecond() -> None:
    found = state("binance_er_new")
    assert (found.exec_type, found.ord_status, found.symbol) == (ExecType.NEW, OrdStatus.NEW, "LTCBNB")
    assert (found.order_qty, found.limit_price) == (Decimal(5), Decimal(10))
    assert found.transact_ns == 1_718_096_506_228_000_000


def test_every_name_of_the_format_reads_them_alike() -> None:
    for name in ("cme_ilink_fill", "asx_restated", "rbs_trade_correct"):
        raw = sample(name)
        assert {str(DECODERS[each]("venue", raw)) for each in ("fix", "fix42", "fix44", "fix50sp2")} == {
            str(decode("venue", raw))
        }


def test_every_message_has_its_test() -> None:
    rows = [json.loads(line) for line in shared("samples/fix/messages.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {
        "cme_ilink_fill",
        "qfj_possdup_unsolicited_cancel",
        "qfj_gapfill",
        "asx_restated",
        "rbs_trade_correct",
        "epam_fix43_correct_no_ref",
        "ctrader_new",
        "binance_er_new",
    }
