"""What the process measures: Prometheus series, and the recent latencies behind the live table."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily

from streaming.audit_metrics import AuditMetrics
from streaming.credential_metrics import CredentialMetrics
from streaming.delay_metrics import DelayMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streaming.backlog import Waiting

_LATENCY_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.05,
    0.08,
    0.1,
    0.15,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    120,
)  # fmt: skip  the SLO's 80 ms and 150 ms are edges
_RECENT = 5_000


class _Latencies:
    """A histogram by venue that takes a batch at once: observing fill by fill cost 2 us of each."""

    _name, _type, _labelnames = "execution_fill_commit_seconds", "histogram", ("venue",)

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_LATENCY_BUCKETS) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def observe(self, venue: str, latencies: Sequence[float]) -> None:
        """Count latencies, in seconds."""
        counts = self._counts[venue]
        for seconds in latencies:
            counts[bisect_left(_LATENCY_BUCKETS, seconds)] += 1
        self._sums[venue] += sum(latencies)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the series to a scrape."""
        family = HistogramMetricFamily(
            self._name,
            "From the first byte of a message in this process to the commit of what it holds.",
            labels=self._labelnames,
        )
        for venue, counts in self._counts.items():
            bounds = [*(str(float(bound)) for bound in _LATENCY_BUCKETS), "+Inf"]
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric([venue], buckets, self._sums[venue])
        yield family


class Metrics:
    """All series of the process, in a registry of their own (tests run several in one process)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._latency = _Latencies()
        self.registry.register(self._latency)
        self._landed = self._counter("execution_reports_landed", "Distinct reports landed.", "venue")
        self._duplicates = self._counter("execution_duplicates", "Duplicates recognised.", "feed")
        self._dead = self._counter("execution_dead_letters", "Inputs that are no fact.", "feed")
        self._others = self._counter(
            "execution_other_messages", "Valid messages that are no fill.", "venue", "kind"
        )
        self._published = self._counter("execution_events_published", "Events on Kafka.", "topic")
        self._restarts = self._counter("execution_recoveries", "Times a part of the process started over.", "part")
        self._pending = Gauge("execution_pending", "Reports that wait.", registry=self.registry)
        self._breaks = Gauge("execution_breaks_open", "Open breaks.", registry=self.registry)
        self._open = (0, 0)
        self.backlog = Gauge("execution_backlog", "Arrivals not yet landed.", registry=self.registry)
        self.backlog_age = Gauge(
            "execution_backlog_age_seconds", "Age of the oldest arrival not yet landed.", registry=self.registry
        )
        self._waiting = self._of_source("execution_waiting", "Arrivals not yet landed.")
        self._waiting_age = self._of_source(
            "execution_waiting_age_seconds", "Age of the oldest of all that waits."
        )
        self._beyond = self._of_source(
            "execution_waiting_at_source", "Messages that the source says it still holds."
        )
        self.waiting: dict[str, Waiting] = {}
        self.clock_step = Gauge(
            "execution_clock_step_seconds",
            "By how much the system's clock was set since the start: times go on as before.",
            registry=self.registry,
        )
        self.feed_up = Gauge("execution_feed_up", "1 while the feed is live.", ["feed"], registry=self.registry)
        self.feed_active = Gauge(
            "execution_feed_active",
            "1 for the feed that its venue is counted on.",
            ["venue", "feed"],
            registry=self.registry,
        )
        self.feed_out = Gauge(
            "execution_feed_out", "1 while the feed is out, as told.", ["venue", "feed"], registry=self.registry
        )
        self.outage_seconds = self._counter(
            "execution_feed_outage_seconds", "Time in which the feed was out, as told.", "venue", "feed"
        )
        self.feed_switches = self._counter(
            "execution_feed_switches", "Switches to a venue's backup, and returns.", "venue", "to"
        )
        self.delays = DelayMetrics(self.registry)
        self.audit = AuditMetrics(self.registry)
        self.credentials = CredentialMetrics(self.registry)
        self.gaps_filled = self._counter(
            "execution_gaps_filled", "Sequence numbers that the venue has passed over.", "feed"
        )
        self.halts = self._counter("execution_halts", "Halts that began.", "venue", "cause")
        self.halted = Gauge("execution_halted", "1 while the venue is halted.", ["venue"], registry=self.registry)
        self.confirmation = Gauge(
            "execution_confirmation_p95_seconds",
            "p95 of the window from the venue's transact time, or from the routed order, to received.",
            ["venue", "since"],
            registry=self.registry,
        )
        self.clock_offset = Gauge(
            "execution_clock_offset_seconds",
            "Estimated offset of our clock from the venue's.",
            ["venue"],
            registry=self.registry,
        )
        self.clock_off = Gauge(
            "execution_clock_off", "1 while that is beyond the limit.", ["venue"], registry=self.registry
        )
        self.look_back_requests = self._counter(
            "execution_look_back_requests", "Requests of venues' lists of fills.", "venue", "outcome"
        )
        self.completeness_missing = self._counter(
            "execution_completeness_missing", "Fills that a venue listed and its feed had not brought.", "venue"
        )
        self.completeness_unconfirmed = Gauge(
            "execution_completeness_unconfirmed",
            "Our fills that the venue does not list.",
            ["venue"],
            registry=self.registry,
        )
        self.completeness_lag = Gauge(
            "execution_completeness_lag_seconds",
            "Age of the time up to which nothing is known to be missing.",
            ["venue"],
            registry=self.registry,
        )
        self.landed: dict[str, int] = defaultdict(int)
        self.received: dict[str, int] = defaultdict(int)
        self.duplicates: dict[str, int] = defaultdict(int)
        self.dead_letters: dict[str, int] = defaultdict(int)
        self.published: dict[str, int] = defaultdict(int)
        self.feed_states: dict[str, str] = {}
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    def _of_source(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, ["source"], registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def count_received(self, venue: str, number: int) -> None:
        """Count messages taken from the inbox."""
        self.received[venue] += number

    def count_landed(self, venue: str, latencies: list[float]) -> None:
        """Count distinct reports of a venue, with seconds from first byte to commit."""
        self.landed[venue] += len(latencies)
        self._landed.labels(venue).inc(len(latencies))
        self._latency.observe(venue, latencies)
        self._recent[venue].extend(latencies)

    def count_duplicates(self, by_feed: Mapping[str, int]) -> None:
        """Count duplicates recognised."""
        for feed, number in by_feed.items():
            self.duplicates[feed] += number
            self._duplicates.labels(feed).inc(number)

    def count_dead_letter(self, feed: str) -> None:
        """Count a dead letter."""
        self.dead_letters[feed] += 1
        self._dead.labels(feed).inc()

    def start_open(self, pending: int, breaks: int) -> None:
        """Note how many reports wait and how many breaks are open, as Postgres has it."""
        self._open = max(0, pending), max(0, breaks)
        self._pending.set(self._open[0])
        self._breaks.set(self._open[1])

    def move_open(self, pending: int, breaks: int) -> None:
        """Note by how much both have changed."""
        if pending or breaks:
            self.start_open(self._open[0] + pending, self._open[1] + breaks)

    def count_others(self, venue: str, kinds: Mapping[str, int]) -> None:
        """Count valid messages that are no fill."""
        for kind, number in kinds.items():
            self._others.labels(venue, kind).inc(number)

    def count_published(self, messages: Mapping[str, int]) -> None:
        """Count messages whose Kafka transaction has committed, by topic."""
        for topic, number in messages.items():
            self.published[topic] += number
            self._published.labels(topic).inc(number)

    def count_restart(self, part: str) -> None:
        """Count a part that had to start over."""
        self._restarts.labels(part).inc()

    def set_feed_state(self, feed: str, state: str) -> None:
        """Note a feed's state; "live" is up."""
        self.feed_states[feed] = state
        self.feed_up.labels(feed).set(state == "live")

    def forget_feed(self, feed: str) -> None:
        """Drop a feed that this process does not run now: the process that has the lease shows it."""
        if self.feed_states.pop(feed, None) is not None:
            self.feed_up.remove(feed)

    def observe_backlog(self, waiting: Mapping[str, Waiting]) -> None:
        """Note how much waits by source, and for how long the oldest has."""
        self.backlog.set(sum(found.count for found in waiting.values()))
        self.backlog_age.set(max((found.arrived_age for found in waiting.values()), default=0.0))
        for source in self.waiting.keys() - waiting.keys():
            for gauge in (self._waiting, self._waiting_age, self._beyond):
                gauge.remove(source)
        for source, found in waiting.items():
            self._waiting.labels(source).set(found.count)
            self._waiting_age.labels(source).set(found.age)
            self._beyond.labels(source).set(found.at_source)
        self.waiting = dict(waiting)

    def percentiles(self, venue: str) -> dict[str, float]:
        """Give p50, p95 and p99 of the last 5,000 latencies of a venue, in milliseconds."""
        recent = sorted(self._recent[venue])
        if not recent:
            return {}
        return {
            f"p{percent}": recent[min(len(recent) - 1, len(recent) * percent // 100)] * 1000
            for percent in (50, 95, 99)
        }
