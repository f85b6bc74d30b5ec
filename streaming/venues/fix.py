"""FIX 4.0 to 4.4 and FIXT.1.1 (5.0, 5.0SP1, 5.0SP2): one message to reports, defects, or a name in a count.

Pure: a session's engine (``streaming.feeds.fix_engine``) has checked BodyLength, CheckSum and MsgSeqNum; here is
what the fields mean. A message that may move a quantity and is not understood is a defect, never a count.

One decoder for all versions, as venues mix them: what a version writes in its own way is taken wherever it comes.

- ExecTransType(20) of FIX 4.2 and before: 1 cancels, 2 corrects the execution ExecRefID(19), 3 is a status
  whatever ExecType says.
- ExecType(150) 1 and 2, FIX 4.2's fills, are fills in a FIX 4.4 session, too: venues send them there.
- A guarantee (OrdStatus 7, stopped) is in FIX 4.2 a partial fill that leaves CumQty(14) zero: it is no trade.
- FIX 4.0 and 4.1 may say neither: with LastShares(32) above zero, or OrdStatus(39) 1 or 2, it is a fill.
- Figures of the order (CumQty, LeavesQty, AvgPx) are claims as given: AvgPx=0 on a full fill (CME), all of them 0
  on a correct (a clearing drop copy), are real. ``ledger.domain`` compares what can be compared.
- An order status (150=I) repeats the ExecID of the report it is about (Kraken), or has 0: it is never a fill.
"""

from __future__ import annotations

from ledger.domain.errors import DefectError
from ledger.domain.records import ExecType, ReportKind
from streaming.venues.decoded import Decoded
from streaming.venues.fix_capture import capture
from streaming.venues.fix_fields import Fields, split
from streaming.venues.fix_orders import order_report
from streaming.venues.fix_trades import fill_reports
from streaming.venues.fix_values import missing, read_number, unknown

# ExecType(150). J and K (held from and released to clearing) may stand in the place of a Trade: left unknown
_EXEC_TYPES: dict[str, ReportKind | ExecType] = {
    "F": ReportKind.FILL,
    "1": ReportKind.FILL,
    "2": ReportKind.FILL,
    "H": ReportKind.BUST,
    "G": ReportKind.CORRECT,
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
# ExecTransType(20): what it says goes before ExecType
_TRANS_TYPES: dict[str, ReportKind | ExecType] = {
    "1": ReportKind.BUST,
    "2": ReportKind.CORRECT,
    "3": ExecType.ORDER_STATUS,
}
_NEW = frozenset({"", "0"})
# OrdStatus(39) of FIX 4.0 and 4.1, in the place of ExecType: the same letters, but for D (accepted for bidding)
_STATUS_EXEC_TYPES = {key: value for key, value in _EXEC_TYPES.items() if key in "0123456789ABCE"}
_OLD_FILLS = frozenset({"1", "2"})
_WITHOUT_EXEC_TYPE = frozenset({"FIX.4.0", "FIX.4.1", "FIX.4.2"})
# MsgType(35) of what a drop copy may carry beside reports and cannot hold a trade
_MESSAGES = {
    "0": "heartbeat",
    "1": "test_request",
    "2": "resend_request",
    "3": "session_reject",
    "4": "sequence_reset",
    "5": "logout",
    "A": "logon",
    "AD": "trade_capture_report_request",
    "AF": "order_mass_status_request",
    "AQ": "trade_capture_report_request_ack",
    "AR": "trade_capture_report_ack",
    "B": "news",
    "C": "email",
    "D": "order_single",
    "F": "cancel_request",
    "G": "replace_request",
    "H": "status_request",
    "Q": "dont_know_trade",
    "d": "security_definition",
    "f": "security_status",
    "h": "trading_session_status",
    "j": "business_reject",
    "n": "xml_non_fix",
    "q": "order_mass_cancel_request",
    "r": "order_mass_cancel_report",
}


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one FIX message, its fields ended by SOH. Never raises: what is wrong is in ``defects``.

    ``account`` is whose the message is where it has no Account(1). A text with ``|`` for SOH is made a message
    by ``streaming.venues.fix_text.normalise``.
    """
    decoded = Decoded()
    try:
        fields = split(raw)
        message = fields.get("35", "")
        if message == "8":
            kind = _kind(fields)
            if isinstance(kind, ReportKind):
                decoded.reports += [(each, raw) for each in fill_reports(venue, fields, kind, raw, account)]
            else:
                decoded.reports.append((order_report(venue, fields, kind, account), raw))
        elif message == "9":
            decoded.reports.append((order_report(venue, fields, ExecType.CANCEL_REJECT, account), raw))
        elif message == "AE":
            capture(venue, fields, raw, account, _EXEC_TYPES, decoded)
        else:
            decoded.others[_name(message)] = 1
    except DefectError as error:
        decoded.defects.append((error.defect, raw))
    return decoded


def _name(message: str) -> str:
    name = _MESSAGES.get(message)
    if name is None:
        raise unknown("35", message, "a report (8, 9, AE) or a message that holds no trade is understood")
    return name


def _kind(fields: Fields) -> ReportKind | ExecType:
    trans_type = fields.get("20", "")
    if trans_type not in _NEW:
        acting = _TRANS_TYPES.get(trans_type)
        if acting is None:
            raise unknown("20", trans_type, "an ExecTransType of FIX 4.2, 0 to 3, is required")
        return acting
    exec_type = fields.get("150", "")
    kind = _EXEC_TYPES.get(exec_type)
    if kind is not None:
        return ExecType.STOPPED if exec_type in _OLD_FILLS and _is_guarantee(fields) else kind
    if exec_type:
        raise unknown("150", exec_type, "an ExecType of FIX 4.0 to 5.0SP2 is required")
    if fields["8"] not in _WITHOUT_EXEC_TYPE:
        raise missing("150", fields, "it says whether a report is of a trade")
    return _kind_by_status(fields)


def _is_guarantee(fields: Fields) -> bool:
    """Whether a fill of FIX 4.2 is only promised: Stopped, and CumQty(14) still zero (matrix D37)."""
    return fields["8"] in _WITHOUT_EXEC_TYPE and fields.get("39") == "7" and read_number(fields, "14") == 0


def _kind_by_status(fields: Fields) -> ReportKind | ExecType:
    if (read_number(fields, "32") or 0) > 0:
        return ReportKind.FILL
    status = fields.get("39", "")
    kind = _STATUS_EXEC_TYPES.get(status)
    if kind is None:
        raise unknown("39", status, "without ExecType(150) an OrdStatus of FIX 4.0 to 4.2 is required")
    return kind
