"""Whether we have all that a venue says it told: its own list of fills against ours. Pure.

A feed that is connected and has its heartbeats may still leave fills out, so only a comparison tells. What the
venue lists and we have not is **missing**: it is handed in. What we have and the venue does not list is
**unconfirmed**: it is flagged, and never taken out. Both are findings, which stand until the fill has landed or is
listed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.events import COMPLIANCE_FLAG, control_event, order_event
from ledger.domain.identity import identify
from ledger.domain.times import NANOS, format_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ledger.domain.records import AuditEvent

MISSING, CONFIRMED, UNCONFIRMED = "completeness_missing", "completeness_confirmed", "completeness_unconfirmed"
NOT_LISTED = "not_at_venue"  # as compliance flags name it
_NAMED = 20  # ExecIDs that an event names: the findings have them all
_FETCH = "nothing: they are handed in; ask the venue why its feed left them out"
_ASK = "ask the venue about this fill: it stays as it is until the venue lists it or busts it"


class FindingKind(StrEnum):
    """On which side a fill was not found."""

    MISSING = "missing"
    UNCONFIRMED = "unconfirmed"


class AuditReason(StrEnum):
    """Why the list was asked for."""

    AUDIT = "audit"
    ORDER = "order"
    REQUEST = "request"
    RECOVERY = "recovery"


class AuditPolicy(msgspec.Struct, frozen=True):
    """When one venue is audited, ns: every ``every_ns`` (0: never), at most ``window_ns`` at once.

    A window begins ``overlap_ns`` before the end of the last one, and none ends later than ``grace_ns`` before
    now: what is newer may be on its way.
    """

    every_ns: int = 300 * NANOS
    window_ns: int = 3600 * NANOS
    overlap_ns: int = 60 * NANOS
    grace_ns: int = 15 * NANOS


class Listed(msgspec.Struct, frozen=True):
    """A fill as either side names it. ``correlation_id`` is its order's, where it is known."""

    report_id: str
    exec_id: str
    symbol: str
    transact_ns: int
    correlation_id: str | None = None


class Missing(msgspec.Struct, frozen=True, tag="completeness_missing"):
    """Fills that the venue lists and we have not, as it is landed before they are handed in.

    ``feeds`` are the states of the venue's feeds; ``is_hidden`` where one of them said that all is well.
    """

    token: str
    audit_id: str
    venue: str
    reason: AuditReason
    from_ns: int
    until_ns: int
    at_ns: int
    feeds: str
    is_hidden: bool
    fills: tuple[Listed, ...]


class Audited(msgspec.Struct, frozen=True, tag="completeness_audited"):
    """What one comparison came to, as it is landed when all that was missing has landed.

    ``theirs`` and ``ours`` are the fills of the window on either side, before anything was handed in. ``present``
    are the report ids of both sides' fills among those that were found missing or unconfirmed before.
    """

    token: str
    audit_id: str
    venue: str
    reason: AuditReason
    from_ns: int
    until_ns: int
    at_ns: int
    theirs: int
    ours: int
    missing: int
    handed_in: int
    unconfirmed: int
    unlisted: tuple[Listed, ...] = ()
    present: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """A row of ``completeness_findings`` that begins."""

    finding_id: str
    audit_id: str
    kind: FindingKind
    venue: str
    report_id: str
    exec_id: str
    symbol: str
    correlation_id: str | None
    transact_ns: int
    found_ns: int


class FindingEnded(msgspec.Struct, frozen=True):
    """A row of ``completeness_findings`` that ends."""

    finding_id: str
    ended_ns: int


class AuditRow(msgspec.Struct, frozen=True):
    """A row of ``look_back_audits``."""

    audit_id: str
    venue: str
    reason: AuditReason
    from_ns: int
    until_ns: int
    compared_ns: int
    theirs: int
    ours: int
    missing: int
    handed_in: int
    unconfirmed: int


class Open(msgspec.Struct, frozen=True):
    """A finding that stands."""

    finding_id: str
    kind: FindingKind
    venue: str
    fill: Listed


class CompletenessRows(msgspec.Struct):
    """What a batch changes about findings and audits; ``noted`` are the tokens of what was landed."""

    findings: list[Finding] = msgspec.field(default_factory=list)
    ended: list[FindingEnded] = msgspec.field(default_factory=list)
    audits: list[AuditRow] = msgspec.field(default_factory=list)
    noted: list[str] = msgspec.field(default_factory=list)


OpenFindings = dict[tuple[FindingKind, str], Open]  # by kind and report id


def take_missing(told: Missing, standing: OpenFindings, rows: CompletenessRows, events: list[AuditEvent]) -> None:
    """Write down what is missing and say so, once: what is known to be missing is not told again."""
    rows.noted.append(told.token)
    fresh = [fill for fill in told.fills if (FindingKind.MISSING, fill.report_id) not in standing]
    for fill in fresh:
        _open(FindingKind.MISSING, fill, told, standing, rows)
    if fresh:
        detail: dict[str, str | None] = {
            "venue": told.venue,
            "found_by": told.reason,
            "from": format_utc(told.from_ns),
            "to": format_utc(told.until_ns),
            "missing": str(len(fresh)),
            "exec_ids": _named(fresh),
            "feeds": told.feeds,
            "is_hidden": "true" if told.is_hidden else "false",
            "remedy": _FETCH,
        }
        event_id = identify(MISSING, told.token)
        events.append(control_event(MISSING, event_id, told.venue, told.audit_id, detail))


def take_audited(audit: Audited, standing: OpenFindings, rows: CompletenessRows, events: list[AuditEvent]) -> None:
    """Write down an audit, end the findings that it settles, and flag what the venue does not list."""
    rows.noted.append(audit.token)
    for report_id in audit.present:
        for kind in FindingKind:
            found = standing.pop((kind, report_id), None)
            if found is not None:
                _end(found, audit, rows, events)
    for fill in audit.unlisted:
        if (FindingKind.UNCONFIRMED, fill.report_id) not in standing:
            found = _open(FindingKind.UNCONFIRMED, fill, audit, standing, rows)
            _tell(UNCONFIRMED, "opened", found, audit, events)
    rows.audits.append(
        AuditRow(
            audit.audit_id,
            audit.venue,
            audit.reason,
            audit.from_ns,
            audit.until_ns,
            audit.at_ns,
            audit.theirs,
            audit.ours,
            audit.missing,
            audit.handed_in,
            audit.unconfirmed,
        )
    )


def apply_findings(standing: OpenFindings, rows: CompletenessRows) -> None:
    """Make landed rows the state; doing it again changes nothing."""
    ended = {row.finding_id for row in rows.ended}
    for row in rows.findings:
        if row.finding_id not in ended:
            standing[row.kind, row.report_id] = Open(row.finding_id, row.kind, row.venue, _listed(row))
    for key in [key for key, found in standing.items() if found.finding_id in ended]:
        del standing[key]


def next_window(audited_ns: int | None, now_ns: int, policy: AuditPolicy) -> tuple[int, int] | None:
    """Give the window that is to be compared next, [from, until); None while there is none.

    After a standstill windows follow each other without a pause until they have caught up.
    """
    last_ns = now_ns - policy.grace_ns
    first_ns = last_ns - policy.window_ns if audited_ns is None else audited_ns - policy.overlap_ns
    if audited_ns is not None and last_ns - audited_ns < policy.every_ns:
        return None
    until_ns = min(last_ns, (first_ns if audited_ns is None else audited_ns) + policy.window_ns)
    return (first_ns, until_ns) if first_ns < until_ns else None


def unlisted(theirs: set[bytes], ours: Iterable[Listed], lists: Callable[[str], bool]) -> Iterator[Listed]:
    """Give our fills that the venue does not list. ``lists`` says whether it was asked about a symbol at all."""
    return (fill for fill in ours if lists(fill.symbol) and bytes.fromhex(fill.report_id) not in theirs)


def complete_to(
    now_ns: int, audited_ns: int | None, hole_ns: int | None, gap_ns: int | None, *, is_audited: bool
) -> int | None:
    """Say up to which time nothing of a venue is missing, as far as is known; None where nothing is known.

    ``audited_ns`` is the end of the last audit, ``hole_ns`` since when no feed of the venue is without a hole,
    ``gap_ns`` since when a fill is waited for that the venue's CumQty counts. A venue that is not audited is taken
    at its feeds' word.
    """
    known = [audited_ns if is_audited else now_ns, hole_ns, gap_ns]
    if is_audited and audited_ns is None:
        return None
    return min(at_ns for at_ns in known if at_ns is not None)


def _open(
    kind: FindingKind, fill: Listed, about: Missing | Audited, standing: OpenFindings, rows: CompletenessRows
) -> Open:
    finding_id = identify("completeness", kind, fill.report_id, about.token)
    row = Finding(
        finding_id,
        about.audit_id,
        kind,
        about.venue,
        fill.report_id,
        fill.exec_id,
        fill.symbol,
        fill.correlation_id,
        fill.transact_ns,
        about.at_ns,
    )
    rows.findings.append(row)
    found = standing[kind, fill.report_id] = Open(finding_id, kind, about.venue, fill)
    return found


def _end(found: Open, audit: Audited, rows: CompletenessRows, events: list[AuditEvent]) -> None:
    rows.ended.append(FindingEnded(found.finding_id, audit.at_ns))
    if found.kind is FindingKind.UNCONFIRMED:
        _tell(CONFIRMED, "ended", found, audit, events)


def _tell(event: str, state: str, found: Open, audit: Audited, events: list[AuditEvent]) -> None:
    """Say it to the auditors, and to compliance."""
    fill = found.fill
    detail: dict[str, str | None] = {
        "venue": found.venue,
        "exec_id": fill.exec_id,
        "symbol": fill.symbol,
        "transact_time": format_utc(fill.transact_ns),
        "audit_id": audit.audit_id,
        "remedy": _ASK if event == UNCONFIRMED else None,
    }
    flag: dict[str, str | None] = {
        "state": state,
        "kind": NOT_LISTED,
        "venue": found.venue,
        "account": None,
        "symbol": fill.symbol,
        "exec_id": fill.exec_id,
        "ours": fill.exec_id,
        "theirs": fill.exec_id if event == CONFIRMED else "",
    }
    event_id = identify(event, found.finding_id)
    if fill.correlation_id is None:
        events.append(control_event(event, event_id, found.venue, found.finding_id, detail))
    else:
        events.append(order_event(event, event_id, fill.correlation_id, found.finding_id, detail))
    order = fill.correlation_id or f"{found.venue}:e:{fill.exec_id}"  # as of a break without an order
    flag_id = identify("flag", event_id)
    events.append(order_event(COMPLIANCE_FLAG, flag_id, order, found.finding_id, flag))


def _named(fills: list[Listed]) -> str:
    named = ", ".join(fill.exec_id for fill in fills[:_NAMED])
    return named if len(fills) <= _NAMED else f"{named} and {len(fills) - _NAMED} more"


def _listed(row: Finding) -> Listed:
    return Listed(row.report_id, row.exec_id, row.symbol, row.transact_ns, row.correlation_id)
