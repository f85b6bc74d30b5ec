"""``execution_fill_lag``: fills that wait or come late become alerts and tags of the day's run. ``judge`` decides.

The failures it prevents: a day that is derived and read while its fills still wait somewhere, with nobody told; an
alert over a handful of reports whose p95 is chance; a streaming process that died and therefore reports no lag.
"""

import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from execution_assets.jobs import DERIVE_DAY
from execution_assets.resources import LedgerResource
from execution_assets.settings import BACKLOG_VARIABLE, SLO_VARIABLE, metrics_url, positive, slo_us
from ledger.domain.times import NANOS
from sensors.alerting import Alert, AlertSink, Known, deliver, plan_notices
from sensors.cursors import read_stored, write_cursor
from sensors.reading import rows

WINDOW_SECONDS = 900.0  # of the p95: long enough for a thin venue, short enough to end when it is over
LEAST_REPORTS = 20  # a p95 of fewer is one report
SCRAPE_SECONDS = 3.0
TAG = "execution_agent/fill_lag"
_PAGE = "docs/alerts.md"
_ALERT = "execution-fill-lag"
_TAG_LIMIT = 200
_METRICS_BYTES = 4 << 20


class VenueLag(msgspec.Struct, frozen=True):
    """How a venue's fills do. Times in UTC seconds; ``p95`` in seconds, None without a report."""

    venue: str
    waiting: int = 0
    oldest: float | None = None
    reports: int = 0
    p95: float | None = None
    first: float | None = None


class Measured(msgspec.Struct, frozen=True):
    """All that is known at a tick. ``inbox_age``: of the streaming process's oldest arrival; None: not asked."""

    venues: tuple[VenueLag, ...] = ()
    marks: dict[str, str] = {}  # by publisher with events behind its cursor, where that stands
    inbox_age: float | None = None
    unreachable: str | None = None


class Limits(msgspec.Struct, frozen=True):
    """When it is too much: seconds."""

    backlog: float = 120.0
    p95: float = 0.15


class Cursor(msgspec.Struct, frozen=True):
    """The alerts that were told, and by publisher where it stands with events behind it, and since when."""

    known: Known = {}
    stuck: dict[str, tuple[str, float]] = {}


def stuck_since(
    before: Mapping[str, tuple[str, float]], marks: Mapping[str, str], now: float
) -> dict[str, tuple[str, float]]:
    """Note since when each publisher has events behind a cursor that does not move."""
    return {
        publisher: before[publisher] if before.get(publisher, ("",))[0] == mark else (mark, now)
        for publisher, mark in marks.items()
    }


def judge(
    measured: Measured, limits: Limits, now: float, stuck: Mapping[str, tuple[str, float]] | None = None
) -> list[Alert]:
    """Decide what is beyond its limit; ``stuck``: of ``stuck_since``."""
    found = [alert for venue in measured.venues for alert in _of_venue(venue, limits, now)]
    found += [
        _alert(
            f"publisher {publisher}", "events wait and are not published", since,
            f"{now - since:.0f} s", f"{limits.backlog:g} s ({BACKLOG_VARIABLE})",
            "Look at publisher in /status and at the broker; landing goes on.", "fill-lag-publisher",
        )
        for publisher, (_, since) in (stuck or {}).items()
        if now - since > limits.backlog
    ]  # fmt: skip
    if measured.inbox_age is not None and measured.inbox_age > limits.backlog:
        found.append(_alert(
            "inbox", "arrivals wait to be landed", now - measured.inbox_age, f"{measured.inbox_age:.0f} s",
            f"{limits.backlog:g} s ({BACKLOG_VARIABLE})",
            "Look at /readyz of the streaming process, then at Postgres.", "fill-lag-inbox",
        ))  # fmt: skip
    if measured.unreachable is not None:
        found.append(_alert(
            "streaming process", f"its metrics cannot be read: {measured.unreachable}", now, "no answer",
            f"{SCRAPE_SECONDS:g} s", "Is it running? Venues keep what is not acknowledged.",
            "fill-lag-unreachable",
        ))  # fmt: skip
    return found


def _of_venue(venue: VenueLag, limits: Limits, now: float) -> list[Alert]:
    found = []
    if venue.oldest is not None and now - venue.oldest > limits.backlog:
        found.append(_alert(
            f"backlog of {venue.venue}", f"{venue.waiting} reports of {venue.venue} wait", venue.oldest,
            f"{now - venue.oldest:.0f} s", f"{limits.backlog:g} s ({BACKLOG_VARIABLE})",
            "Ask the OrderAgent for the intents and the venue for the fills that are missing.", "fill-lag-backlog",
        ))  # fmt: skip
    if venue.p95 is not None and venue.reports >= LEAST_REPORTS and venue.p95 > limits.p95:
        found.append(_alert(
            f"latency of {venue.venue}", f"fills of {venue.venue} land late", venue.first or now,
            f"p95 {venue.p95 * 1000:.0f} ms of {venue.reports} reports",
            f"{limits.p95 * 1000:g} ms ({SLO_VARIABLE})",
            "Look at the backlog's age, the log of the streaming process, and Postgres.", "fill-lag-latency",
        ))  # fmt: skip
    return found


def _alert(subject: str, summary: str, since: float, figure: str, limit: str, remedy: str, section: str) -> Alert:
    return Alert(_ALERT, subject, summary, since, figure, limit, remedy, f"{_PAGE}#{section}")


def read_cursor(stored: str | None) -> tuple[Cursor, str | None]:
    """Read what the last tick wrote, and say what is wrong where it cannot be read."""
    return read_stored(stored, Cursor(), "started over, open alerts are told again")


def run_tag(alerts: Sequence[Alert]) -> str | None:
    """Give the tag that a day's run carries while its fills lag."""
    if not alerts:
        return None
    said = "; ".join(f"{alert.subject}: {alert.figure}" for alert in alerts)
    return said if len(said) <= _TAG_LIMIT else said[: _TAG_LIMIT - 1] + "…"


def read_metrics(text: str) -> float | None:
    """Give the age of the oldest arrival that a page of metrics tells; None where it tells none."""
    ages = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "execution_backlog_age_seconds"
    ]
    return max(ages, default=None)


def measure(ledger: LedgerResource, now: float, url: str | None) -> Measured:
    """Ask Postgres, and the streaming process where its address is set."""
    since = datetime.fromtimestamp(now - WINDOW_SECONDS, UTC)
    with ledger.reading() as connection:
        venues = tuple(
            VenueLag(
                row["venue"],
                row["waiting"],
                None if row["oldest_ns"] is None else row["oldest_ns"] / NANOS,
                row["reports"],
                None if row["p95_us"] is None else row["p95_us"] / 1e6,
                None if row["first_ns"] is None else row["first_ns"] / NANOS,
            )
            for row in rows(connection, "fill_lag", since=since)
        )
        marks = {row["publisher"]: row["mark"] for row in rows(connection, "unpublished")}
    if url is None:
        return Measured(venues, marks)
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS) as answer:  # noqa: S310  the operator's setting
            return Measured(venues, marks, read_metrics(answer.read(_METRICS_BYTES).decode()))
    except (OSError, ValueError) as error:
        return Measured(venues, marks, unreachable=str(error))


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Tells the alerts' sink when fills wait longer than two minutes or their p95 is beyond the SLO, and "
        "when that has ended; the day's last run is tagged meanwhile."
    ),
)
def execution_fill_lag(
    context: dg.SensorEvaluationContext, ledger: LedgerResource, alerts: dg.ResourceParam[AlertSink]
) -> dg.SensorResult:
    """Measure, judge, tell what has changed."""
    now = time.time()
    cursor, problem = read_cursor(context.cursor)
    if problem is not None:
        context.log.warning("%s", problem)
    limits = Limits(float(positive(BACKLOG_VARIABLE)), slo_us() / 1e6)
    measured = measure(ledger, now, metrics_url())
    stuck = stuck_since(cursor.stuck, measured.marks, now)
    found = judge(measured, limits, now, stuck)
    known, undelivered = deliver(alerts, cursor.known, plan_notices(cursor.known, found, now))
    for problem in undelivered:
        context.log.error("an alert was not delivered, it is due again at the next tick: %s", problem)
    tag = run_tag(found)
    if tag is not None:
        _tag_run(context.instance, datetime.fromtimestamp(now, UTC).date().isoformat(), tag)
    return dg.SensorResult(
        cursor=write_cursor(Cursor(known, stuck)),
        skip_reason=f"{len(found)} alerts are open" if found else "all within the limits",
    )


def _tag_run(instance: dg.DagsterInstance, day: str, tag: str) -> None:
    filters = dg.RunsFilter(job_name=DERIVE_DAY, tags={"dagster/partition": day})
    for record in instance.get_run_records(filters, limit=1):
        if record.dagster_run.tags.get(TAG) != tag:
            instance.add_run_tags(record.dagster_run.run_id, {TAG: tag})
