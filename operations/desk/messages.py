"""Files as messages: FIX between whatever else a log has on its lines, JSON documents, JSON lines.

A message keeps its own bytes. What a file holds beside messages is counted, so that nothing goes unseen: a line
that looks like the format and is not readable is a message, too, and its decoder says what is wrong.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from operations.desk.errors import InputError
from streaming.venues.canonical_defects import UNREADABLE
from streaming.venues.fix_text import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
# BeginString with what ends its value; a tag that only ends in 8 (108=, 18=) has a digit before it
_BEGIN = re.compile(rb"(?<![0-9])8=FIXT?\.[0-9]\.[0-9](?:SP[0-9])?(\x01|\||\^A)")
_PAIRS = re.compile(rb"(?:^|[\x01|])[0-9]{1,5}=[^\x01|]*[\x01|][0-9]{1,5}=")
_LENGTH = re.compile(rb"9=([0-9]{1,7})")
_JSON_LINE = re.compile(r"^[{\[]", re.MULTILINE)
_BLANK = re.compile(r"[\s,\x1e]*")
_json = json.JSONDecoder()


class Message(msgspec.Struct, frozen=True):
    """One raw message, and where it stands: ``file:line``."""

    raw: bytes
    place: str


class Found(msgspec.Struct):
    """The messages of the inputs, and the lines that hold none by their places."""

    messages: list[Message] = msgspec.field(default_factory=list)
    skipped: list[str] = msgspec.field(default_factory=list)


def read_input(name: str) -> bytes:
    """Read a file, or standard input for ``-``; gzip is taken apart. Raises ``InputError``."""
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{name} cannot be read: its gzip is damaged: {error}") from None
    return data.removeprefix(_BOM)


def find_messages(names: Iterable[str], *, is_fix: bool, raw_field: str | None = None) -> Found:
    """Take every input apart. ``raw_field``: the inputs are JSON lines that have the message as text in it.

    Raises ``InputError``.
    """
    found = Found()
    for name, data in [(name, read_input(name)) for name in names]:
        shown = "standard input" if name == STDIN else name
        if raw_field is not None:
            _take_rows(shown, data, raw_field, found, is_fix=is_fix)
        elif is_fix:
            _take_fix(shown, data, found)
        else:
            _take_json(shown, data, found)
    return found


def _take_fix(name: str, data: bytes, found: Found) -> None:
    place, line, counted = 0, 1, 0
    while True:
        begin = _BEGIN.search(data, place)
        until = len(data) if begin is None else begin.start()
        _take_rest(name, data[place:until], line, found, goes_on=place > 0, ends=begin is None)
        if begin is None:
            return
        line += data.count(b"\n", counted, until)
        counted = until
        place = _end_of_fix(data, begin)
        found.messages.append(Message(normalise(data[until:place].rstrip(b"\r\n")), f"{name}:{line}"))
        line += data.count(b"\n", counted, place)
        counted = place


def _end_of_fix(data: bytes, begin: re.Match[bytes]) -> int:
    """Where a message ends: by its BodyLength(9), else behind its CheckSum(10), else with its line."""
    separator = begin[1]
    length = _LENGTH.match(data, begin.end())
    if length is not None and len(separator) == 1:  # ^A counts twice in a text and once in the length
        at = length.end() + 1 + int(length[1])
        checksum = re.compile(rb"10=[0-9]{3}(?:" + re.escape(separator) + rb"|(?=\s|$))").match(data, at)
        if checksum is not None and data[at - 1 : at] == separator:
            return _end_of_tail(data, checksum.end(), separator)
    following = _BEGIN.search(data, begin.end())
    limit = len(data) if following is None else following.start()
    if separator != b"\x01":  # a text has one line a message; on the wire a value may hold a line feed
        newline = data.find(b"\n", begin.end(), limit)
        limit = newline if newline >= 0 else limit
    sign = re.escape(separator)
    ending = re.compile(sign + rb"10=[0-9]*(?:" + sign + rb"|(?=[\s\"]|$))")
    checksum = ending.search(data, begin.end() - len(separator), limit)
    if checksum is not None:
        return _end_of_tail(data, checksum.end(), separator)
    newline = data.find(b"\n", begin.end(), limit)
    return newline if newline >= 0 else limit


def _end_of_tail(data: bytes, end: int, separator: bytes) -> int:
    """Where the fields end that a log has put behind CheckSum(10): they are kept with their message."""
    sign = re.escape(separator)
    if data[end - len(separator) : end] != separator:
        return end
    tail = re.compile(rb"(?:(?!8=FIX)[0-9]{1,6}=[^\n\x01|]*?" + sign + rb")*").match(data, end)
    return end if tail is None else tail.end()


def _take_rest(name: str, data: bytes, line: int, found: Found, *, goes_on: bool, ends: bool) -> None:
    """What stands outside of messages: fields without a BeginString are a message, other lines are none.

    ``goes_on``: it begins behind a message, on its line; unless it ``ends`` the input, it ends before one.
    """
    lines = data.split(b"\n")
    for number, text in enumerate(lines):
        if not text.strip() or (goes_on and number == 0):
            continue
        place = f"{name}:{line + number}"
        if _PAIRS.search(text):
            found.messages.append(Message(normalise(text.strip()), place))
        elif ends or number < len(lines) - 1:
            found.skipped.append(place)


def _take_json(name: str, data: bytes, found: Found) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:  # line by line, so that a bad byte costs its own line
        for number, row in enumerate(data.split(b"\n"), 1):
            if row.strip():
                found.messages.append(Message(row.strip(), f"{name}:{number}"))
        return
    place, line, counted = 0, 1, 0
    while True:
        blank = _BLANK.match(text, place)
        start = blank.end() if blank is not None else place
        if start >= len(text):
            return
        line += text.count("\n", counted, start)
        counted = start
        start, place, is_document = _next_json(text, start)
        if is_document:
            _take_document(text[start:place], f"{name}:{line}", found)
        else:  # a venue that speaks JSON has sent something else: a message that is wrong, not one to pass over
            found.messages.append(Message(text[start:place].strip().encode(), f"{name}:{line}"))


def _next_json(text: str, start: int) -> tuple[int, int, bool]:
    """Give the next document's begin and end, behind a prefix on its line; else the line, which holds none."""
    newline = text.find("\n", start)
    end = newline if newline >= 0 else len(text)
    # behind a prefix such as "[10:00:01] "; what is deeper in a message that cannot be read is not another one
    begins = [at for at in (_first(text, "[{", start, end), _first(text, "{", start, end)) if at is not None]
    if not begins:
        return start, end, False
    for at in begins:
        try:
            return at, _json.raw_decode(text, at)[1], True
        except (ValueError, RecursionError):
            continue
    first = begins[0]
    if text[first:end].strip() in {"{", "["}:  # a document over many lines, cut off or misspelt: up to the next
        following = _JSON_LINE.search(text, end + 1)
        end = len(text) if following is None else following.start()
    return first, end, True


def _first(text: str, signs: str, start: int, end: int) -> int | None:
    found = [at for sign in signs if (at := text.find(sign, start, end)) >= 0]
    return min(found, default=None)


def _take_document(text: str, place: str, found: Found) -> None:
    """A list of objects is a list of messages; anything else is one."""
    raw = text.encode()
    if text.startswith("["):
        try:
            items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        except UNREADABLE:
            items = []
        if items and all(bytes(item).startswith(b"{") for item in items):
            found.messages += [Message(bytes(item), place) for item in items]
            return
    found.messages.append(Message(raw, place))


def _take_rows(name: str, data: bytes, field: str, found: Found, *, is_fix: bool) -> None:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        raw = _text_in(line, field)
        if raw is None:
            found.skipped.append(f"{name}:{number}")
        else:
            found.messages.append(Message(normalise(raw) if is_fix else raw, f"{name}:{number}"))


def _text_in(line: bytes, field: str) -> bytes | None:
    """The message of a row: text, or the JSON that stands there."""
    try:
        value = msgspec.json.decode(line, type=dict[str, msgspec.Raw]).get(field)
        if value is None:
            return None
        found = bytes(value)
        return msgspec.json.decode(found, type=str).encode() if found.startswith(b'"') else found
    except (*UNREADABLE, UnicodeError):
        return None


def rows_of(name: str) -> Iterator[Message]:
    """The JSON objects of an input: lines, a list, or one. Raises ``InputError``."""
    found = Found()
    _take_json("standard input" if name == STDIN else name, read_input(name), found)
    for place in found.skipped:
        yield Message(b"", place)
    yield from found.messages
