"""Bytes to fields: the splitter, its groups, and the forms in which people keep messages."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.domain.errors import DefectError
from ledger.domain.records import FillReport
from streaming.venues.fix import decode
from streaming.venues.fix_fields import DATA_OF_LENGTH, pairs_of, split
from streaming.venues.fix_text import normalise
from tests.unit.streaming.test_fix import FILL, message, only, report

PARTIES = b"453=2\x01448=A\x01447=D\x01452=1\x01448=B\x01447=D\x01452=3\x01"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"no fix",
        b"8=FIX.4.4\x01",
        message()[:-1],
        message()[:-20],
        message().replace(b"\x0154=1\x01", b"\x01\x0154=1\x01"),
        message().replace(b"\x0154=1\x01", b"\x01side\x0154=1\x01"),
        message().replace(b"\x0154=1\x01", b"\x01=1\x0154=1\x01\x01"),
        message() + message(),
        message() + b"\n" + message(),
        message() + b"18990=1\x018=FIX.4.4\x01",
    ],
)
def test_bytes_that_are_no_whole_message_are_malformed(raw: bytes) -> None:
    ((found, kept),) = decode("venue", raw).defects
    assert found.reason == "malformed"
    assert kept is raw


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x0110=000\x01", b"\x0110=000\x0158=of the log\x01461=F\x01"),
        (b"\x0110=000\x01", b"\x0110=000\x01x"),
        (b"\x0110=000\x01", b"\x0110=000\x01\r\n"),
        (b"\x0110=000\x01", b"\x0110=7\x01"),
        (b"\x019=300\x01", b"\x019=0001\x01"),
        (b"\x0110=000\x01", b"\x01527=\x011\x0110124=\x0110=000\x01"),
        (b"\x0132=100\x01", b"\x0132=100\x0132=\x01"),
        (b"\x0132=100\x01", b"\x0132=\x0132=100\x01"),
        (b"\x0132=100\x01", b"\x0132\x0132=100\x01"),
        (b"\x0154=1\x01", b"\x01" + PARTIES + b"54=1\x01"),
        (b"\x0154=1\x01", b"\x01454=2\x01455=a\x01456=1\x01455=b\x01456=4\x0154=1\x01"),
        (b"\x0154=1\x01", b"\x01354=12\x01355=x\x0132=999\x01\x00\xc3\xa9\x0154=1\x01"),
        (b"\x0154=1\x01", b"\x011401=4\x011402=\x01=1=\x0154=1\x01"),
        (b"\x0154=1\x01", b"\x0158=a|b^Ac\x0154=1\x01"),
        (b"\x0154=1\x01", b"\x0158=\xff latin\x0154=1\x01"),
    ],
)
def test_what_says_nothing_of_the_trade_changes_nothing(old: bytes, new: bytes) -> None:
    assert old in message()
    assert only(message().replace(old, new)) == report()


@pytest.mark.parametrize("tag", ["17", "32", "31", "37", "150", "20", "60", "1", "41", "58"])
def test_a_field_given_twice_is_no_fact(tag: str) -> None:
    raw = message({tag: "1"}).replace(b"\x0110=", f"\x01{tag}=1\x0110=".encode())
    ((found, kept),) = decode("venue", raw).defects
    assert (found.reason, found.field.endswith(f"({tag})"), found.value) == ("repeated_field", True, "2")
    assert kept is raw


def test_lines_of_a_news_are_no_repeated_fields() -> None:
    raw = b"8=FIX.4.4\x0135=B\x0133=2\x0158=one\x0158=two\x0110=0\x01"
    assert decode("venue", raw).others == {"news": 1}


def test_a_data_field_longer_than_the_message_is_malformed() -> None:
    raw = message().replace(b"\x0154=1\x01", b"\x01354=9999\x01355=x\x0154=1\x01")
    assert decode("venue", raw).defects[0][0].reason == "malformed"


def test_the_fields_of_type_data_are_those_of_the_dictionary() -> None:
    root = ET.parse(Path(sys.prefix) / "share/quickfix/FIX50SP2.xml").getroot()  # noqa: S314
    fields = {each.get("name", ""): each for each in root.iterfind("fields/field")}
    expected = {}
    for name, field in fields.items():
        data = fields.get(name.removesuffix("Length").removesuffix("Len"))
        if field.get("type") == "LENGTH" and data is not None and data.get("type") in {"DATA", "XMLDATA"}:
            expected[field.get("number")] = data.get("number")
    assert len(expected) > 60
    assert expected.items() <= DATA_OF_LENGTH.items()


@given(st.binary(max_size=300))
@example(b"8=FIX.4.4\x01355")
@example(b"8=FIX.4.4\x01354=5\x01355=")
@example(b"8=FIX.4.4\x01354=5\x01355=a\xff\x01")
@example(b"8=FIX.4.4\x01354=99999999999999999999\x01355=a\x0110=1\x01")
@example("8=FIX.4.4\x01٣=1\x01²=1\x01354=²\x0110=1\x01".encode())
def test_arbitrary_bytes_are_always_decoded(raw: bytes) -> None:
    for each in (raw, b"8=FIX.4.4\x0135=8\x01" + raw + b"\x0110=000\x01"):
        decoded = decode("venue", each)
        assert decoded == decode("venue", each)
        assert len(decoded.reports) + len(decoded.defects) + len(decoded.others) == 1
        decode("venue", normalise(each))


_tags = st.sampled_from(
    [*FILL, "136", "137", "354", "355", "453", "448", "452", "552", "1362", "1363", "1365", "x", ""]
)
_values = st.sampled_from(["", "0", "1", "2", "3", "8", "AE", "F", "x", "5\x01", "100"]) | st.text(max_size=4)


@given(st.lists(st.tuples(_tags, _values), max_size=14), st.sampled_from(["8", "9", "AE", "B"]))
@example([("354", "3"), ("355", "a\x01b")], "8")
def test_fields_in_any_order_and_number_are_always_decoded(pairs: list[tuple[str, str]], kind: str) -> None:
    text = "".join(f"{tag}={value}\x01" for tag, value in [("8", "FIXT.1.1"), ("35", kind), *pairs, ("10", "0")])
    raw = text.encode()
    decoded = decode("venue", raw)
    assert decoded == decode("venue", raw)
    assert decoded.reports or decoded.defects or decoded.others
    assert all(kept is raw for _, kept in [*decoded.reports, *decoded.defects])


@given(st.lists(st.tuples(st.sampled_from(["11", "17", "5001", "453", "58", "354", "355"]), _values), max_size=8))
def test_the_quick_way_reads_what_the_careful_way_reads(pairs: list[tuple[str, str]]) -> None:
    fields = [("8", "FIX.4.4"), ("35", "B"), *pairs, ("10", "000")]
    raw = "".join(f"{tag}={value}\x01" for tag, value in fields).encode()
    try:
        careful = pairs_of(raw)
    except DefectError:
        return
    quick = split(raw)
    for tag in {tag for tag, _ in careful}:
        values = [value for each, value in careful if each == tag]
        assert quick[tag] in (*values, "")
        assert quick[tag] == values[-1] or fields[::-1][[each for each, _ in fields[::-1]].index(tag)][1] == ""


@pytest.mark.parametrize("separator", [b"|", b"^A"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("version", ["FIX.4.2", "FIX.4.4", "FIXT.1.1"])
def test_a_text_line_is_the_message_again(separator: bytes, end: bytes, is_cut: bool, version: str) -> None:
    raw = message({"8": version})
    line = raw.replace(b"\x01", separator)
    line = line.removesuffix(separator) if is_cut else line
    assert normalise(line + end) == raw
    assert isinstance(only(normalise(line + end)), FillReport)


def test_signs_in_a_value_are_kept() -> None:
    on_the_wire = message({"58": "a|b^Ac"})
    assert normalise(on_the_wire) is on_the_wire
    caret = message({"58": "a|b"})
    assert normalise(caret.replace(b"\x01", b"^A")) == caret
    pipe = message({"58": "a^Ab"})
    assert normalise(pipe.replace(b"\x01", b"|")) == pipe


@pytest.mark.parametrize("raw", [b"", b"{}", b"8=FIX.4.4;9=1;", b"a|b", b" 8=FIX|"])
def test_what_is_no_message_comes_back_as_it_is(raw: bytes) -> None:
    assert normalise(raw) is raw
