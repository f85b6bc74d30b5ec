"""Messages made hostile by their structure (JSON trees, FIX fields) and their bytes, from one seeded source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

LARGEST = 200_000  # bytes of a mutant; a feed's own limits come first
_SOH = b"\x01"
_BYTES = (b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x01", b"{", b"[", b'"', b"\\")
# as they stand in a JSON document
_VALUES = (
    "1e999999999", "-1e999999999", "1e-999999999", "1e400", "0e999999999", "1" * 5_000, "0." + "0" * 5_000 + "1",
    "-0", "NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10", "1_000", "true", "null", "{}",
    "[]", '""',
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\x00"', '"\\u202e"', '"1e999999999"', '"\u0661\u0662"',
    '"' + "9" * 10_000 + '"', '"' + "A" * 60_000 + '"', '"2026-02-30T25:61:61Z"', '"0000-01-01T00:00:00Z"',
    '"9999-12-31T23:59:60.999999999999Z"', "9223372036854775808", "-9223372036854775809", "18446744073709551616",
    "[" * 2_000 + "]" * 2_000, '{"a":' * 2_000 + "1" + "}" * 2_000, "[" * 50_000, '{"a":' * 20_000,
    "[" + "1," * 20_000 + "1]", '"\\', '"', "'x'", "--1", "1e", '"1e5"', '"1,000"', '" 1"', '"-1"', '"NaN"',
)  # fmt: skip
_FIX_VALUES = (
    b"", b"0", b"-1", b"NaN", b"1e999999999", b"9" * 5_000, b"0." + b"0" * 5_000 + b"1", b"\x00", b"\xff\xfe",
    b"=",
    b"|", b"A" * 60_000, b"999999999", b"4294967296", b"-0", b"00000000-00:00:00", b"20260230-25:61:61",
    b"20261102-09:30:60.999999999999999", b"99999999-23:59:59", b"\xed\xa0\x80", b"1 ", b" 1", b"+1", b"1_0",
    "\u0661".encode(),
)  # fmt: skip
_TAGS = (
    b"0", b"-1", b"99999999999999999999", b"", b"x", b"8", b"9", b"10", b"17", b"19", b"31", b"32", b"35", b"60",
    b"150", b"453", b"447", b"136", b"552", b"1362", b"555", b"213", b"212", b"95", b"96",
)  # fmt: skip


def mutant(source: random.Random, messages: list[bytes]) -> bytes:
    """Give one hostile message made of real ones: at most ``LARGEST`` bytes."""
    raw = source.choice(messages)
    for _ in range(source.choice((1, 1, 2, 4))):
        raw = source.choice((_by_structure, _by_structure, _by_bytes))(source, raw, messages)
        if len(raw) > LARGEST:
            raw = raw[:LARGEST]
    return raw


def _by_structure(source: random.Random, raw: bytes, messages: list[bytes]) -> bytes:
    if raw.startswith(b"8="):
        return _fix(source, raw)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return _by_bytes(source, raw, messages)
    return _json(source, document)


def _json(source: random.Random, document: Any) -> bytes:
    """Change one place of a tree; what stands there need not be JSON."""
    marks: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(marks) < 2_000:
        node = waiting.pop()
        pairs = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
        for key, value in pairs:
            marks.append((node, key))
            waiting.append(value)
    if not marks:
        return source.choice(_VALUES).encode("utf-8", "surrogatepass")
    node, key = source.choice(marks)
    mark = "\u2603here\u2603"
    kind = source.randrange(5)
    if kind == 0 and isinstance(node, dict):
        del node[key]
    elif kind == 1 and isinstance(node, dict):  # a key twice, or many keys
        node[mark] = 0
        extra = f"{json.dumps(key)}: {source.choice(_VALUES)}"
        if source.random() < 0.2:
            extra = ", ".join(f'"k{n}": {n}' for n in range(10_000))
        return _written(document).replace(f'"{mark}": 0', extra).encode("utf-8", "surrogatepass")
    elif kind == 2 and isinstance(node, list):
        node.extend([node[key]] * source.choice((1, 10, 300)))
    else:
        node[key] = mark
    return _written(document).replace(f'"{mark}"', source.choice(_VALUES)).encode("utf-8", "surrogatepass")


def _written(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


def _fix(source: random.Random, raw: bytes) -> bytes:
    fields = raw.split(_SOH)
    at = source.randrange(len(fields))
    tag, _, _ = fields[at].partition(b"=")
    match source.randrange(8):
        case 0:
            fields[at] = tag + b"=" + source.choice(_FIX_VALUES)
        case 1:
            fields.insert(at, source.choice(_TAGS) + b"=" + source.choice(_FIX_VALUES))
        case 2:
            del fields[at]
        case 3:
            fields.insert(source.randrange(len(fields)), fields[at])
        case 4:
            fields[at : at + 1] = [fields[at]] * source.choice((2, 100, 5_000))
        case 5:
            other = source.randrange(len(fields))
            fields[at], fields[other] = fields[other], fields[at]
        case 6:  # a group that says it has more, or many
            fields[at:at] = [b"453=" + source.choice(_FIX_VALUES)] + [b"448=P\x01452=24"] * source.choice(
                (0, 3, 2_000)
            )
        case _:
            fields[at] = source.choice(_TAGS) + b"=" + fields[at].partition(b"=")[2]
    return _SOH.join(fields)


def _by_bytes(source: random.Random, raw: bytes, messages: list[bytes]) -> bytes:
    if not raw:
        return source.randbytes(source.randrange(1, 64))
    at, until = sorted((source.randrange(len(raw) + 1), source.randrange(len(raw) + 1)))
    match source.randrange(7):
        case 0:
            at = min(at, len(raw) - 1)
            return raw[:at] + bytes([raw[at] ^ (1 << source.randrange(8))]) + raw[at + 1 :]
        case 1:
            return raw[:at] + source.randbytes(source.choice((1, 2, 8, 100))) + raw[at:]
        case 2:
            return raw[:at] + raw[until:]
        case 3:
            return raw[:at]
        case 4:
            other = source.choice(messages)
            return raw[:at] + other[source.randrange(len(other) + 1) :]
        case 5:
            return raw[:at] + raw[at:until] * source.choice((2, 20, 200)) + raw[until:]
        case _:
            byte = source.choice(
                (b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x01", b"{", b"[", b'"', b"\\")
            )
            return raw[:at] + byte * source.choice((1, 3, 5_000)) + raw[at:]
