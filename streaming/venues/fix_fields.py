"""A FIX message as its fields: tag=value pairs between SOH (FIX 4.4, volume 1, "Message format")."""

from __future__ import annotations

from typing import TypeAlias

from ledger.domain.errors import DefectError, defect_error

Fields: TypeAlias = dict[str, str]

_SOH = "\x01"
_BEGIN = "8=FIX.4.4\x01"
_NAMES = {
    "1": "Account",
    "6": "AvgPx",
    "8": "BeginString",
    "11": "ClOrdID",
    "12": "Commission",
    "13": "CommType",
    "14": "CumQty",
    "15": "Currency",
    "17": "ExecID",
    "19": "ExecRefID",
    "31": "LastPx",
    "32": "LastQty",
    "35": "MsgType",
    "37": "OrderID",
    "54": "Side",
    "55": "Symbol",
    "60": "TransactTime",
    "75": "TradeDate",
    "150": "ExecType",
    "151": "LeavesQty",
    "479": "CommCurrency",
    "851": "LastLiquidityInd",
}
# a field of type data may hold SOH and "=": the field before it gives its length in bytes
_DATA_OF_LENGTH = {
    b"90": b"91",
    b"93": b"89",
    b"95": b"96",
    b"212": b"213",
    b"348": b"349",
    b"350": b"351",
    b"352": b"353",
    b"354": b"355",
    b"356": b"357",
    b"358": b"359",
    b"360": b"361",
    b"362": b"363",
    b"364": b"365",
    b"445": b"446",
    b"618": b"619",
    b"621": b"622",
}
_LENGTHS = frozenset(tag.decode() for tag in _DATA_OF_LENGTH)


def label(tag: str) -> str:
    """``LastQty(32)``: the field as people name it."""
    return f"{_NAMES.get(tag, 'tag')}({tag})"


def split(raw: bytes) -> Fields:
    """Give the fields by tag; of a repeated one that no report is read from, the last. Raises ``DefectError``."""
    text = _text(raw)
    if not text.startswith(_BEGIN):
        raise _not_ours(text)
    pairs = text.split(_SOH)
    try:
        fields = dict([pair.split("=", 1) for pair in pairs[:-1]])
    except ValueError:
        return _split_data(raw)
    if not _LENGTHS.isdisjoint(fields):
        return _split_data(raw)
    if not pairs[-2].startswith("10=") or pairs[-1]:
        raise _malformed(text, "a message ends with CheckSum(10)")
    if len(fields) != len(pairs) - 1:
        _check_once([pair.split("=", 1)[0] for pair in pairs])
    return fields


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _split_data(raw: bytes) -> Fields:
    tags: list[str] = []
    fields: Fields = {}
    start, data_tag, length = 0, b"", 0
    while start < len(raw):
        equals = raw.find(b"=", start)
        tag = raw[start:equals]
        end = equals + 1 + length if length and tag == data_tag else raw.find(b"\x01", equals)
        if equals < 0 or not tag.isdigit() or raw[end : end + 1] != b"\x01":
            raise _malformed(_text(raw[start:]), "fields are tag=value, each ended by SOH")
        value = raw[equals + 1 : end]
        data_tag = _DATA_OF_LENGTH.get(tag, b"")
        length = int(value) if data_tag and value.isdigit() and len(value) < 10 else 0  # noqa: PLR2004
        tags.append(tag.decode())
        fields[tags[-1]] = _text(value)
        start = end + 1
    if tags[-1] != "10":
        raise _malformed(_text(raw), "a message ends with CheckSum(10)")
    _check_once(tags)
    return fields


def _check_once(tags: list[str]) -> None:
    # none of the fields that a report is read from is in a repeating group: which of two would be the fact?
    # (Reject(3), SessionRejectReason 13)
    for tag in _NAMES:
        if tags.count(tag) > 1:
            raise defect_error(
                "repeated_field",
                label(tag),
                str(tags.count(tag)),
                "a field outside of a repeating group is given once",
                "Ask the venue to resend it.",
            )


def _not_ours(text: str) -> DefectError:
    begin = text.split(_SOH, 1)[0]
    if not begin.startswith("8=FIX"):
        return _malformed(text, "a message begins with BeginString(8)")
    return defect_error(
        "unknown_value", label("8"), _shown(begin[2:]), "FIX.4.4 is required", "Check the venue's format."
    )


def _malformed(text: str, rule: str) -> DefectError:
    return defect_error("malformed", "message", _shown(text), rule, "Ask the venue to resend it.")


def _shown(text: str) -> str:
    # stored as text, and Postgres keeps no NUL
    return text.replace(_SOH, "|").replace("\x00", "�")
