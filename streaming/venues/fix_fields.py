"""A FIX message as its fields: tag=value pairs between SOH (FIX 4.4, volume 1, "Message format").

BodyLength and CheckSum are not verified: the engine of a live session has done so, and a copy from a log rarely
keeps them. Such a copy may also have tags without a value, which say nothing, and the log's own fields after
CheckSum(10), which are not the venue's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ledger.domain.errors import DefectError, defect_error

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

Fields: TypeAlias = dict[str, str]
Pairs: TypeAlias = "Sequence[tuple[str, str]]"

SOH = "\x01"
BEGIN_STRINGS = ("FIX.4.4", "FIX.4.2", "FIXT.1.1", "FIX.4.3", "FIX.4.1", "FIX.4.0")
_BEGINS = tuple(f"8={each}\x01" for each in BEGIN_STRINGS)
_NAMES = {
    "1": "Account",
    "6": "AvgPx",
    "8": "BeginString",
    "10": "CheckSum",
    "11": "ClOrdID",
    "12": "Commission",
    "13": "CommType",
    "14": "CumQty",
    "15": "Currency",
    "17": "ExecID",
    "19": "ExecRefID",
    "20": "ExecTransType",
    "31": "LastPx",
    "32": "LastQty",
    "35": "MsgType",
    "37": "OrderID",
    "38": "OrderQty",
    "39": "OrdStatus",
    "40": "OrdType",
    "41": "OrigClOrdID",
    "44": "Price",
    "52": "SendingTime",
    "54": "Side",
    "55": "Symbol",
    "58": "Text",
    "60": "TransactTime",
    "75": "TradeDate",
    "102": "CxlRejReason",
    "103": "OrdRejReason",
    "122": "OrigSendingTime",
    "136": "NoMiscFees",
    "137": "MiscFeeAmt",
    "138": "MiscFeeCurr",
    "139": "MiscFeeType",
    "150": "ExecType",
    "151": "LeavesQty",
    "378": "ExecRestatementReason",
    "434": "CxlRejResponseTo",
    "448": "PartyID",
    "452": "PartyRole",
    "453": "NoPartyIDs",
    "479": "CommCurrency",
    "487": "TradeReportTransType",
    "552": "NoSides",
    "571": "TradeReportID",
    "572": "TradeReportRefID",
    "851": "LastLiquidityInd",
    "856": "TradeReportType",
    "891": "MiscFeeBasis",
    "1362": "NoFills",
    "1363": "FillExecID",
    "1364": "FillPx",
    "1365": "FillQty",
    "1443": "FillLiquidityInd",
    "1444": "SideLiquidityInd",
}
# a field of type data may hold SOH and "=": the field before it gives its length in bytes (FIX 5.0SP2's
# dictionary). Most have the number after their length's
_DATA_AFTER = (
    "90 95 212 348 350 352 354 356 358 360 362 364 445 618 621 1184 1277 1280 1282 1397 1401 1403 1468 1578 1620 "
    "1664 1733 1871 1874 2072 2074 2111 2179 2287 2351 2481 2637 2651 2665 2715 2718 2721 2797 40004 40008 40978 "
    "40980 40982 40984 40986 40988 41083 41101 41107 41256 41320 41324 41458 41476 41482 41653 41710 41806 41811 "
    "41873 41969 42025 42171 42451 42652 42947"
)
_DATA_ELSEWHERE = (
    "93:89 1525:1527 1678:1697 2372:2371 2494:2493 2522:2521 2802:2801 2809:2808 2815:2814 43109:42684 "
    "43110:42486 43111:42982"
)
DATA_OF_LENGTH = {length: str(int(length) + 1) for length in _DATA_AFTER.split()} | {
    length: data for length, _, data in (pair.partition(":") for pair in _DATA_ELSEWHERE.split())
}
"""The tag of a field of type data, by the tag of its length."""
_LENGTHS = frozenset(DATA_OF_LENGTH)
_LENGTH_DIGITS = 9
# what a report is read from and stands outside of repeating groups: which of two would be the fact?
_FRAME = frozenset({"8", "10", "35"})
_GROUPED = frozenset(
    {"137", "138", "139", "448", "452", "891", "1363", "1364", "1365", "1443", "1444"}
)  # within NoMiscFees, NoPartyIDs, NoFills, NoSides
_OF_REPORT = frozenset(_NAMES) - _GROUPED
_OF_SIDE = frozenset({"1", "11", "12", "13", "15", "37", "38", "39", "40", "41", "44", "54", "58", "151", "14"})
_ONCE = {
    "8": _OF_REPORT,
    "9": _OF_REPORT,
    "AE": _OF_REPORT - _OF_SIDE - {"136", "453", "479"},
}


def label(tag: str) -> str:
    """``LastQty(32)``: the field as people name it."""
    return f"{name_of(tag)}({tag})"


def name_of(tag: str) -> str:
    """``LastQty``."""
    return _NAMES.get(tag, "tag")


def split(raw: bytes) -> Fields:
    """Give the fields by tag; of a repeated one that no report is read from, the last. Raises ``DefectError``.

    A field that a report is read from and that is given twice, outside of the repeating groups, is a defect
    (Reject(3), SessionRejectReason 13), unless a copy has no value.
    """
    text = _text(raw)
    if not text.startswith(_BEGINS):
        raise _not_ours(text)
    pairs = text.split(SOH)
    try:
        fields = dict([pair.split("=", 1) for pair in pairs[:-1]])
    except ValueError:
        return _split_slowly(raw)
    if pairs[-1] or not pairs[-2].startswith("10=") or not _LENGTHS.isdisjoint(fields):
        return _split_slowly(raw)
    if len(fields) != len(pairs) - 1 and _given_twice([pair.split("=", 1)[0] for pair in pairs], fields):
        return _split_slowly(raw)
    return fields


def pairs_of(raw: bytes) -> list[tuple[str, str]]:
    """Give the fields in their order, CheckSum(10) the last of them, without those that have no value.

    Raises ``DefectError``: no fields, a field of type data that its length does not fit, no CheckSum, or another
    message behind it.
    """
    pairs: list[tuple[str, str]] = []
    start, data_tag, length = 0, "", 0
    while start < len(raw):
        end = raw.find(b"\x01", start)
        equals = raw.find(b"=", start, end if end >= 0 else len(raw))
        if equals < 0 and raw[start:end].isdigit() and end >= 0:
            start = end + 1
            continue
        tag = raw[start:equals].decode("latin-1")
        if length and tag == data_tag:
            end = equals + 1 + length
        if equals < 0 or not (tag.isascii() and tag.isdigit()) or raw[end : end + 1] != b"\x01" or end < 0:
            raise _malformed(_text(raw[start:]), "fields are tag=value, each ended by SOH")
        value = _text(raw[equals + 1 : end])
        start = end + 1
        if tag == "10":
            _check_tail(raw[start:])
            return [*pairs, (tag, value)]
        data_tag = DATA_OF_LENGTH.get(tag, "")
        length = int(value) if data_tag and _is_length(value) else 0
        if value:
            pairs.append((tag, value))
    raise _malformed(_text(raw), "a message ends with CheckSum(10)")


def entries_of(pairs: Pairs, counter: str, members: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    """Give the entries of the repeating group that ``counter`` counts, each with its ``members`` of the fields.

    The first member begins an entry. Fields that are no members may stand between them. Raises ``DefectError``:
    an entry that does not begin so, or another number of them than the counter says.
    """
    entries: list[list[tuple[str, str]]] = []
    said = None
    for tag, value in pairs:
        if said is None:
            said = value if tag == counter else None
        elif tag == members[0]:
            entries.append([(tag, value)])
        elif tag in members:
            if not entries:
                rule = f"it begins each entry of {label(counter)}"
                raise defect_error("missing_field", label(members[0]), "", rule, "Ask the venue to resend it.")
            entries[-1].append((tag, value))
    if said is not None and not (_is_length(said) and int(said) == len(entries)):
        rule = f"it counts the entries that begin with {label(members[0])}: there are {len(entries)}"
        raise defect_error("group_count", label(counter), _shown(said), rule, "Ask the venue to resend it.")
    return entries


def once(pairs: Pairs, tags: Container[str]) -> Fields:
    """Give the fields of one entry by tag. Raises ``DefectError`` where one of ``tags`` is given twice."""
    _check_once([tag for tag, _ in pairs], tags)
    return dict(pairs)


def _split_slowly(raw: bytes) -> Fields:
    pairs = pairs_of(raw)
    fields = dict(pairs)
    _check_once([tag for tag, _ in pairs], _FRAME | _ONCE.get(fields.get("35", ""), _FRAME))
    return fields


def _given_twice(tags: Iterable[str], fields: Fields) -> bool:
    left = set(fields)
    single = _ONCE.get(fields.get("35", ""), _FRAME)
    for tag in tags:
        if tag in left:
            left.remove(tag)
        elif tag in single:
            return True
    return False


def _check_once(tags: list[str], single: Container[str]) -> None:
    if len(set(tags)) == len(tags):
        return
    for tag in tags:
        if tag in single and tags.count(tag) > 1:
            rule = "a field outside of a repeating group is given once"
            found = str(tags.count(tag))
            raise defect_error("repeated_field", label(tag), found, rule, "Ask the venue to resend it.")


def _check_tail(tail: bytes) -> None:
    # a log's decoration is not the venue's; another message would be lost
    if tail.startswith(b"8=FIX") or b"\x018=FIX" in tail or b"\n8=FIX" in tail:
        raise _malformed(_text(tail), "one message at a time: another follows CheckSum(10)")


def _is_length(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _LENGTH_DIGITS


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _not_ours(text: str) -> DefectError:
    begin = text.split(SOH, 1)[0]
    if not begin.startswith("8=FIX"):
        return _malformed(text, "a message begins with BeginString(8)")
    rule = f"one of {', '.join(sorted(BEGIN_STRINGS))} is required"
    return defect_error("unknown_value", label("8"), _shown(begin[2:]), rule, "Check the venue's format.")


def _malformed(text: str, rule: str) -> DefectError:
    return defect_error("malformed", "message", _shown(text), rule, "Ask the venue to resend it.")


def _shown(text: str) -> str:
    # stored as text, and Postgres keeps no NUL
    return text.replace(SOH, "|").replace("\x00", "�")
