"""What people are told: an alert when something begins, nothing while it lasts, a resolution when it ends. Pure.

The failures it prevents: the same alert at every tick, until nobody reads any; an alert that never ends; one that
is lost because the place it goes to was away (it is told again at the next tick, under the same id).
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REPEAT_SECONDS = 4 * 3600.0  # an alert that lasts is told again: who took the first one over may have gone home
KNOWN_LIMIT = 500  # alerts remembered; beyond it only the first count, and more of the same kind say nothing new


class State(StrEnum):
    """What a notice says of its alert."""

    RAISED = "raised"
    LASTS = "lasts"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """Something that a person should look at. ``docs`` is a page and section, ``since`` a UTC time in seconds."""

    name: str
    subject: str
    summary: str
    since: float
    figure: str
    limit: str
    remedy: str
    docs: str

    @property
    def key(self) -> str:
        """Say which alerts are one and the same."""
        return f"{self.name}/{self.subject}"


class Notice(msgspec.Struct, frozen=True):
    """One message about an alert. Told twice after a failure, it has the same ``id``."""

    id: str
    state: State
    alert: Alert
    at: float


class AlertSink(Protocol):
    """Where alerts go."""

    def send(self, notice: Notice) -> None:
        """Hand a notice over; raises ``OSError`` where it did not arrive everywhere."""


class Raised(msgspec.Struct, frozen=True):
    """An alert that was told, and when last."""

    alert: Alert
    told: float


Known = dict[str, Raised]


def make_notice(state: State, alert: Alert, at: float) -> Notice:
    """Make a notice. Its id follows from the alert and when it began: a resolution has another."""
    mark = f"{alert.key} {alert.since:.3f} {state}" + (f" {at:.0f}" if state is State.LASTS else "")
    return Notice(sha256(mark.encode()).hexdigest()[:32], state, alert, at)


def plan_notices(
    known: Mapping[str, Raised], found: Iterable[Alert], now: float, *, repeat: float = REPEAT_SECONDS
) -> list[Notice]:
    """Decide what to tell: what is new, what lasts and was told ``repeat`` seconds ago, what has ended."""
    notices: list[Notice] = []
    seen: set[str] = set()
    for alert in found:
        if alert.key in seen or (alert.key not in known and len(seen - known.keys()) + len(known) >= KNOWN_LIMIT):
            continue
        seen.add(alert.key)
        before = known.get(alert.key)
        if before is None:
            notices.append(make_notice(State.RAISED, alert, now))
        elif now - before.told >= repeat:
            lasting = msgspec.structs.replace(alert, since=before.alert.since)
            notices.append(make_notice(State.LASTS, lasting, now))
    notices += [make_notice(State.RESOLVED, raised.alert, now) for key, raised in known.items() if key not in seen]
    return notices


def after(known: Mapping[str, Raised], notice: Notice) -> Known:
    """Remember that a notice was delivered."""
    key = notice.alert.key
    if notice.state is State.RESOLVED:
        return {k: raised for k, raised in known.items() if k != key}
    return {**known, key: Raised(notice.alert, notice.at)}


def deliver(sink: AlertSink, known: Mapping[str, Raised], notices: Iterable[Notice]) -> tuple[Known, list[str]]:
    """Send notices, and give what is known then with what went wrong; an undelivered one is due again."""
    remembered, problems = dict(known), list[str]()
    for notice in notices:
        try:
            sink.send(notice)
        except OSError as error:
            problems.append(f"{notice.alert.key}: {error}")
        else:
            remembered = after(remembered, notice)
    return remembered, problems


def as_line(notice: Notice) -> str:
    """Say all of it in a line."""
    alert = notice.alert
    since = datetime.fromtimestamp(alert.since, UTC).isoformat(timespec="seconds")
    head = f"{notice.state.upper()} {alert.name} ({alert.subject}): {alert.summary}"
    return f"{head}; {alert.figure} against {alert.limit}, since {since}. {alert.remedy} See {alert.docs}."
