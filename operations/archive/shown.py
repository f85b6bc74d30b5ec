"""Archives, receipts and answers, as tables for people and JSON for programs."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import Listed
    from execution_assets.archives.verifying import Verification, Verified
    from operations.archive.pulling import Pulled
    from operations.archive.querying import Answer

_WIDEST = 60


def _json(data: Any) -> str:
    return msgspec.json.encode(data, enc_hook=str).decode()


def as_table(lines: Sequence[Sequence[str]]) -> str:
    """Align columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def manifests_as_table(listed: Sequence[Listed]) -> str:
    """One line a revision."""
    lines = [("class", "day", "venue", "revision", "rows", "bytes", "retain until", "archived at", "manifest")]
    lines += [
        (
            m.record_class, str(m.trade_date), m.venue, str(m.revision), f"{m.rows:,}", f"{m.size:,}",
            f"{m.retain_until:%Y-%m-%d}", f"{m.created_at:%Y-%m-%d %H:%M:%SZ}", m.key,
        )
        for m in (o.manifest for o in listed)
    ]  # fmt: skip
    return as_table(lines)


def keys_as_text(listed: Sequence[Listed], library: Library) -> str:
    """The public keys that count: a copy of them elsewhere lets somebody check the notes without us."""
    used = Counter(o.signed_by for o in listed)
    lines = [("verifier key", "manifests here")]
    lines += [(str(key), f"{used[str(key)]:,}") for key in library.verifiers]
    return as_table(lines)


def manifests_as_data(listed: Sequence[Listed]) -> str:
    """All that the manifests say, where they are, and the key that signed each."""
    return _json([
        {**msgspec.to_builtins(o.manifest), "manifest": o.stored._asdict(), "signed_by": o.signed_by}
        for o in listed
    ])  # fmt: skip


def pulled_as_text(done: Pulled) -> str:
    """One line a file, and where the receipt is."""
    lines = [("file", "rows", "sha256"), *((o["file"], o["rows"], o["sha256"]) for o in done.outputs)]
    return (
        f"{as_table(lines)}\nreceipt {done.receipt_path}, by {done.receipt.person}; "
        f"audit event {done.receipt.event_id} {done.receipt.ledger}"
    )


def pulled_as_data(done: Pulled) -> str:
    """The receipt, with its files."""
    return _json({**msgspec.to_builtins(done.receipt), "outputs": done.outputs, "receipt": str(done.receipt_path)})


def verification_as_table(found: Verification) -> str:
    """One line a file; then what is wrong, and what is only worth knowing."""
    lines = [("archive", "table", "rows", "locked until", "hold", "state")]
    lines += [
        (
            line.what, line.table, f"{line.rows:,}",
            "-" if line.retain_until is None else f"{line.retain_until:%Y-%m-%d}",
            "yes" if line.legal_hold else "", _state(line),
        )
        for line in found.lines
    ]  # fmt: skip
    said = [f"{_state(line)} {line.what}, {line.table}: {wrong}" for line in found.lines for wrong in line.wrong]
    said += [f"note: {note}" for note in found.notes]
    total = f"{len(found.manifests)} archives, {len(found.lines)} lines, {found.wrong} wrong"
    total += f", {found.missing} of them missing" if found.missing else ""
    return "\n".join([as_table(lines), *said, total])


def _state(line: Verified) -> str:
    return "MISSING" if line.is_missing else "WRONG" if line.wrong else "ok"


def verification_as_data(found: Verification) -> str:
    """The same for programs."""
    return _json({"lines": found.lines, "notes": found.notes, "wrong": found.wrong})


def answer_as_table(found: Answer) -> str:
    """The rows, aligned; long values cut."""
    return as_table([found.columns, *(tuple(_short(value) for value in row) for row in found.rows)])


def answer_as_data(found: Answer) -> str:
    """The rows as objects: decimals as strings, bytes as base64."""
    rows = [dict(zip(found.columns, map(_value, row), strict=True)) for row in found.rows]
    return _json({"rows": rows, "cut": found.is_cut, "receipt": found.receipt.event_id})


def _value(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _short(value: object) -> str:
    text = (
        "-"
        if value is None
        else value.decode("utf-8", "backslashreplace")
        if isinstance(value, bytes)
        else str(value)
    )
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "…"
