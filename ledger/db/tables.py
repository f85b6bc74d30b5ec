"""The schema ``execution`` as declared metadata; ``migrations`` must end here (a test compares).

Facts (orders, fills, snapshots, audit events) are only ever inserted. Identities are primary keys: "once" is
a property of the database. ``*_ns`` columns are UTC nanoseconds; a virtual ``*_at`` beside each is for
people.
Big tables are partitioned by day; ``execution.ensure_partitions`` makes the days.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

SCHEMA = "execution"
metadata = MetaData(schema=SCHEMA)


class Xid8(UserDefinedType[int]):
    """Postgres ``xid8``: the 64-bit transaction id that the outbox sweep compares with snapshots."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return "xid8"


def _ns(name: str, *, nullable: bool = False, comment: str | None = None) -> list[Column[Any]]:
    """Nanoseconds, and the same instant as timestamptz to read (computed when read, takes no room)."""
    shown = {"at_ns": "taken_at"}.get(name, name.removesuffix("_ns") + "_at")
    return [
        Column(name, BigInteger, nullable=nullable, comment=comment),
        Column(
            shown,
            DateTime(timezone=True),
            Computed(f"to_timestamp({name}::double precision / 1e9)", persisted=False),
        ),
    ]


orders = Table(
    "orders",
    metadata,
    Column("venue", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("orig_msg_id", Text),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("order_qty", Numeric, nullable=False),
    Column("limit_price", Numeric),
    Column("decision_price", Numeric),
    Column("currency", Text),
    *_ns("routed_ns"),
    Column("venue_order_id", Text),
    PrimaryKeyConstraint("venue", "msg_id"),
    Index("orders_correlation", "correlation_id"),
    Index("orders_venue_order", "venue", "venue_order_id", postgresql_where=text("venue_order_id IS NOT NULL")),
    Index("orders_routed", "routed_ns"),
    comment="Acknowledged routed messages (order intents): new, replace, cancel.",
)

fills = Table(
    "fills",
    metadata,
    Column("report_id", Uuid, nullable=False),
    Column("content", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("exec_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("exec_ref_id", Text),
    Column("cl_ord_id", Text),
    Column("venue_order_id", Text),
    Column("correlation_id", Text),
    Column("side", Text, nullable=False),
    Column("last_qty", Numeric, nullable=False),
    Column("last_px", Numeric, nullable=False),
    Column("cum_qty", Numeric),
    Column("leaves_qty", Numeric),
    Column("avg_px", Numeric),
    Column("currency", Text),
    Column("fee", Numeric),
    Column("fee_currency", Text),
    Column("liquidity", Text),
    *_ns("transact_ns"),
    Column("part_of", Text, comment="ExecID of the report that this is a part of"),
    Column("trade_report_id", Text, comment="TradeReportID(571): another name of the report, beside its ExecID"),
    *_ns("received_ns"),
    Column("landed_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("feed", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    PrimaryKeyConstraint("report_id", "content", "trade_date"),
    Index("fills_busts", "venue", "exec_ref_id", postgresql_where=text("kind = 'bust'")),
    # the sensor asks what has landed since; a day's derivation asks for what refers to its fills
    Index("fills_landed", "landed_at", postgresql_using="brin"),
    # an audit asks what traded in a span of time, by the venue's clock
    Index(
        "fills_transacted",
        "transact_ns",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    ),
    Index("fills_referring", "trade_date", postgresql_where=text("kind <> 'fill'")),
    postgresql_partition_by="RANGE (trade_date)",
    comment="Every distinct report of a trade, bust or correct, immutable, with its raw bytes.",
)

executions = Table(
    "executions",
    metadata,
    Column("execution_id", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("exec_id", Text, nullable=False),
    Column("last_exec_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("last_qty", Numeric, nullable=False),
    Column("last_px", Numeric, nullable=False),
    Column("currency", Text),
    Column("fee", Numeric),
    Column("fee_currency", Text),
    Column("liquidity", Text),
    *_ns("transact_ns"),
    Column(
        "match_rule",
        Text,
        comment="one_to_many on a part of a split report, many_to_one on the whole that parts supersede",
    ),
    Column(
        "fee_bps", Numeric, comment="fee over notional in bps, positive = cost, where both are in one currency"
    ),
    Column("chain", ARRAY(Uuid), comment="reports that refer to the fill: corrects, then the bust"),
    Column("withheld", ARRAY(Uuid), comment="reports whose events wait for the order's hold to end"),
    PrimaryKeyConstraint("execution_id", "trade_date"),
    Index("executions_correlation", "correlation_id"),
    postgresql_partition_by="RANGE (trade_date)",
    comment="Fills tied to their orders, as they stand after every bust and correct.",
)

slippage_metrics = Table(
    "slippage_metrics",
    metadata,
    Column("execution_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("bps", Numeric),
    Column("benchmark", Numeric),
    *_ns("benchmark_ns", nullable=True),
    Column("snapshot_id", Text),
    Column("quality", Text, nullable=False),
    Column("quality_reason", Text),
    PrimaryKeyConstraint("execution_id", "kind", "trade_date"),
    postgresql_partition_by="RANGE (trade_date)",
    comment="Slippage of each execution in bps, positive = cost, with the benchmark it was measured against.",
)

fills_pending = Table(
    "fills_pending",
    metadata,
    Column("report_id", Uuid, nullable=False),
    Column("content", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("venue", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reference_kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("correlation_id", Text),
    *_ns("since_ns"),
    Column(
        "overdue_at",
        DateTime(timezone=True),
        comment="when its grace time was over: a break or a dead letter says so, and it still waits",
    ),
    Column("venue_order_id", Text, comment="a second name that ties the report, beside its ClOrdID"),
    PrimaryKeyConstraint("report_id", "content"),
    Index("fills_pending_reference", "venue", "reference_kind", "reference"),
    Index("fills_pending_correlation", "correlation_id"),
    Index(
        "fills_pending_order",
        "venue",
        "venue_order_id",
        postgresql_where=text("venue_order_id IS NOT NULL"),
    ),
    Index("fills_pending_since", "since_ns", postgresql_where=text("overdue_at IS NULL")),
    comment="Reports that wait for their intent or for the report they refer to, and orders that wait for a fill "
    "the venue counts.",
)

benchmark_snapshots = Table(
    "benchmark_snapshots",
    metadata,
    Column("snapshot_id", Text, nullable=False),
    Column("taken_on", Date, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("bid", Numeric, nullable=False),
    Column("ask", Numeric, nullable=False),
    Column("bid_size", Numeric),
    Column("ask_size", Numeric),
    *_ns("at_ns"),
    Column("traded_qty", Numeric),
    Column("traded_notional", Numeric),
    PrimaryKeyConstraint("snapshot_id", "taken_on"),
    Index("benchmark_snapshots_at", "symbol", "at_ns", "snapshot_id"),
    postgresql_partition_by="RANGE (taken_on)",
    comment="Best bid and ask of each symbol over time, as the MarketDataAgent gave them.",
)

breaks = Table(
    "breaks",
    metadata,
    Column("break_id", Uuid, primary_key=True),
    Column("correlation_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("report_id", Uuid),
    Column("ours", Text, nullable=False),
    Column("theirs", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_how", Text, comment="facts, release or reject"),
    Index("breaks_correlation", "correlation_id"),
    comment="Disagreements between reports and orders; an open break holds its order's events.",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", Uuid, primary_key=True),
    Column("source", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    *_ns("received_ns"),
    Column("replayed_at", DateTime(timezone=True)),
    Column("replay_outcome", Text),
    Index("dead_letters_received", "received_ns"),
    comment="What came in and is no fact, whole, with the reason and the remedy.",
)

feed_positions = Table(
    "feed_positions",
    metadata,
    Column("feed", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("feed", "stream"),
    comment="Where each feed stands, written with the rows it stands for.",
)

leases = Table(
    "leases",
    metadata,
    Column("writer", Text, primary_key=True),
    Column(
        "token",
        BigInteger,
        nullable=False,
        comment="one more each time the lease is taken; checked by every landing transaction",
    ),
    Column("holder", Text, nullable=False),
    Column("taken_at", DateTime(timezone=True), nullable=False),
    Column("renewed_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="after it another may take it"),
    comment="Who writes: one process a writer's name.",
)

feed_counts = Table(
    "feed_counts",
    metadata,
    Column("feed", Text, nullable=False),
    Column("counted_on", Date, nullable=False, server_default=text("(now() AT TIME ZONE 'UTC')::date")),
    Column("duplicates", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("feed", "counted_on"),
    comment="Duplicates recognised, by feed and day, counted in the transaction that recognised them.",
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("position", BigInteger, Identity(always=True, cache=1000), nullable=False),
    Column("recorded_on", Date, nullable=False, server_default=text("(now() AT TIME ZONE 'UTC')::date")),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("event_id", Uuid, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column(
        "recorded_by",
        Text,
        nullable=False,
        server_default=text(
            "SESSION_USER::text || coalesce(' ' || nullif(current_setting('execution.process', true), ''), '')"
        ),
        comment="the login that wrote it, set by the database, and the SPIFFE id of its process, as that says",
    ),
    PrimaryKeyConstraint("position", "recorded_on"),
    Index("audit_events_outbox", "xid", "position"),
    Index("audit_events_event", "event_id"),
    postgresql_partition_by="RANGE (recorded_on)",
    comment="Every decision, as the bytes that are published: the outbox and the audit trail.",
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("tree_size", BigInteger, primary_key=True, autoincrement=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="Signed tree heads over the audit events.",
)

audit_tree = Table(
    "audit_tree",
    metadata,
    Column("log", Text, primary_key=True),
    Column("origin", Text, nullable=False, comment="the log's name, first line of its checkpoints"),
    Column("tree_size", BigInteger, nullable=False),
    Column("xid", Xid8, nullable=False, comment="of the last leaf: leaves are in the order of (xid, position)"),
    Column("position", BigInteger, nullable=False),
    Column(
        "stored_size",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="of the last checkpoint in the locked bucket",
    ),
    Column(
        "tiled_size",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="leaves whose full tiles are in the locked bucket",
    ),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="How far the audit events are in the Merkle tree: one row.",
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, nullable=False, comment="tiles of level n hold the nodes of height 8 n"),
    Column("number", BigInteger, nullable=False),
    Column(
        "hashes",
        LargeBinary,
        nullable=False,
        comment="SHA-256, 32 bytes each, from the left; fewer than 256 where the tree ends",
    ),
    Column("first_xid", Xid8, comment="of its first leaf, level 0 only"),
    Column("first_position", BigInteger, comment="of its first leaf, level 0 only"),
    PrimaryKeyConstraint("level", "number"),
    Index("audit_tiles_first", "first_xid", "first_position", postgresql_where=text("level = 0")),
    comment="The Merkle tree over the audit events in tiles of 256 hashes, laid out as c2sp.org/tlog-tiles says.",
)

audit_dropped_leaves = Table(
    "audit_dropped_leaves",
    metadata,
    Column("first_leaf", BigInteger, primary_key=True, autoincrement=False),
    Column("last_leaf", BigInteger, nullable=False),
    Column("recorded_on", Date, nullable=False, comment="the day of the partition: its archive has the rows"),
    Column("dropped_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="Leaves of audit events whose partition was dropped: from first to last. Append-only.",
)

audit_verifications = Table(
    "audit_verifications",
    metadata,
    Column("verification_id", BigInteger, Identity(always=True), primary_key=True),
    Column("verified_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column(
        "from_size",
        BigInteger,
        nullable=False,
        comment="events that an earlier one had verified: their root was compared",
    ),
    Column(
        "tree_size", BigInteger, nullable=False, comment="events of the checkpoint in the bucket that it went to"
    ),
    Column("root_hash", LargeBinary, nullable=False),
    Column("problems", ARRAY(Text), nullable=False, comment="what is not as it was logged; {} is good"),
    Column("faults", ARRAY(Text), nullable=False, comment="what somebody put into the bucket beside the log"),
    comment="Each scheduled verification of the audit log. Append-only.",
)

publish_cursors = Table(
    "publish_cursors",
    metadata,
    Column("publisher", Text, primary_key=True),
    Column("incarnation", Text, nullable=False),
    Column("xid", Xid8, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("tails", Text, nullable=False, comment="JSON: topic/partition -> next offset to read at a restart"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="How far the outbox is published, and from where to read the topics' tails after a crash.",
)

halts = Table(
    "halts",
    metadata,
    Column("halt_id", Uuid, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("cause", Text, nullable=False, comment="latency_p95, late_in_a_row, silence, person"),
    Column("reason", Text, nullable=False),
    Column("figure", BigInteger, comment="what was beyond the limit: ns, of late_in_a_row reports; null by hand"),
    Column("limit_value", BigInteger, comment="the limit, in the unit of the figure"),
    *_ns("since_ns"),
    *_ns("halted_ns"),
    Column("halted_by", Text, nullable=False, comment="a person's login, or execution-agent"),
    *_ns("resumed_ns", nullable=True),
    Column("resumed_by", Text),
    Column("resume_reason", Text),
    Index("halts_open", "venue", unique=True, postgresql_where=text("resumed_ns IS NULL")),
    comment="Venues that are halted or were. A venue has one open row at most.",
)

clock_alerts = Table(
    "clock_alerts",
    metadata,
    Column("alert_id", Uuid, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("offset_ns", BigInteger, nullable=False, comment="ours less the venue's: negative is a clock ahead"),
    Column("limit_ns", BigInteger, nullable=False),
    *_ns("began_ns"),
    *_ns("ended_ns", nullable=True),
    Column("ended_offset_ns", BigInteger),
    Index("clock_alerts_open", "venue", unique=True, postgresql_where=text("ended_ns IS NULL")),
    comment="Times in which a venue's clock was off by more than the limit.",
)

feed_outages = Table(
    "feed_outages",
    metadata,
    Column("outage_id", Uuid, primary_key=True),
    Column("venue", Text, nullable=False, comment="of the snapshot feed: market-data"),
    Column("feed", Text, nullable=False, comment="of the snapshots of one symbol: market-data.SYMBOL"),
    Column("cause", Text, nullable=False, comment="silence, quiet, gap, snapshots"),
    Column("reason", Text, nullable=False),
    *_ns("began_ns", comment="the last that was heard of it"),
    *_ns("told_ns", comment="when that was long enough to be an outage"),
    *_ns("ended_ns", nullable=True, comment="from when on it was well"),
    Index("feed_outages_open", "venue", "feed", unique=True, postgresql_where=text("ended_ns IS NULL")),
    Index("feed_outages_began", "began_ns"),
    comment="Feeds that are out or were. A feed has one open row at most.",
)

feed_switches = Table(
    "feed_switches",
    metadata,
    Column("switch_id", Uuid, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("from_feed", Text, nullable=False),
    Column("to_feed", Text, nullable=False),
    Column("cause", Text, nullable=False, comment="silence, quiet, gap"),
    Column("reason", Text, nullable=False),
    *_ns("switched_ns"),
    *_ns("returned_ns", nullable=True),
    Column("return_reason", Text),
    Index("feed_switches_open", "venue", unique=True, postgresql_where=text("returned_ns IS NULL")),
    comment="Times in which a venue's backup feed is counted on. A venue has one open row at most.",
)

fill_delays = Table(
    "fill_delays",
    metadata,
    Column("delay_id", Uuid, primary_key=True),
    Column("correlation_id", Text, nullable=False),
    Column("episode", Integer, nullable=False, comment="which delay of the order, from 1"),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("order_type", Text, nullable=False, comment="market, limit"),
    Column("leaves_qty", Numeric, nullable=False),
    Column("cum_qty", Numeric, nullable=False),
    Column("feed", Text, nullable=False, comment="the state of the venue's feed"),
    Column("samples", Integer, nullable=False, comment="past orders that the time is learned from; 0: configured"),
    Column("expected_ns", BigInteger, nullable=False, comment="how long such an order was expected to take"),
    *_ns("since_ns"),
    *_ns("began_ns"),
    *_ns("ended_ns", nullable=True),
    Column("outcome", Text, comment="filled, partially_filled, closed, working"),
    Column("filled_qty", Numeric, comment="what filled since the delay began"),
    Index("fill_delays_episode", "correlation_id", "episode", unique=True),
    Index("fill_delays_open", "correlation_id", unique=True, postgresql_where=text("ended_ns IS NULL")),
    comment="Orders in flight that were late, and what ended it. An order has one open row at most.",
)

provisional_hedges = Table(
    "provisional_hedges",
    metadata,
    Column("hedge_id", Uuid, primary_key=True),
    Column("delay_id", Uuid, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False, comment="the hedge's: the other one than the order's"),
    Column("quantity", Numeric, nullable=False),
    Column("price", Numeric, nullable=False, comment="of the estimated fill"),
    Column("exposure", Numeric, nullable=False, comment="LeavesQty at the mid"),
    Column("currency", Text, nullable=False, comment="of the exposure and the limit"),
    Column("limit_value", Numeric, nullable=False, comment="the venue's limit, which the exposure passed"),
    Column("snapshot_id", Text, nullable=False),
    Column("snapshot_age_ns", BigInteger, nullable=False),
    Column("confidence", Text, nullable=False, comment="high, medium, low"),
    Column("basis", Text, nullable=False),
    Column("status", Text, nullable=False, comment="requested, confirmed, adjusted, withdrawn"),
    *_ns("requested_ns"),
    *_ns("settled_ns", nullable=True),
    Column("filled_qty", Numeric, comment="what filled since the delay began"),
    Column("difference", Numeric, comment="filled_qty less quantity"),
    Index("provisional_hedges_delay", "delay_id", unique=True),
    Index("provisional_hedges_open", "correlation_id", unique=True, postgresql_where=text("settled_ns IS NULL")),
    comment="Hedges asked for on an estimated fill, and what became of them: one a delay at most.",
)

archives = Table(
    "archives",
    metadata,
    Column("object_key", Text, nullable=False),
    Column("object_version", Text, nullable=False),
    Column("record_class", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("venue", Text, nullable=False),
    Column("digest", Text, nullable=False, comment="of the rows: equal digests are equal rows"),
    Column("row_count", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("retain_until", DateTime(timezone=True), nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("verified_at", DateTime(timezone=True), comment="when it was last read back, decrypted and compared"),
    Column("legal_hold", Boolean, nullable=False, server_default=text("false")),
    Column("table_name", Text, nullable=False),
    Column("revision", Integer, nullable=False, comment="from 1; late facts of a day make another"),
    Column("sha256", Text, nullable=False, comment="of the object's bytes"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("manifest_key", Text, nullable=False),
    Column("archived_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column(
        "dropped_at",
        DateTime(timezone=True),
        comment="when the day's partitions were dropped from this database",
    ),
    PrimaryKeyConstraint("object_key", "object_version"),
    Index("archives_day", "record_class", "trade_date", "venue"),
    comment="Manifest of the encrypted retention archives.",
)

archive_accesses = Table(
    "archive_accesses",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("person", Text, nullable=False, comment="the login that recorded it"),
    Column("detail", JSONB, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="Who opened, held or rotated archives, and why. Append-only.",
)

executions_derived = Table(
    "executions_derived",
    metadata,
    Column("trade_date", Date, primary_key=True),
    Column("derived_digest", Text, nullable=False),
    Column("live_digest", Text, nullable=False),
    Column("execution_count", BigInteger, nullable=False),
    Column("difference_count", BigInteger, nullable=False),
    Column("differences", Text, nullable=False, comment="JSON sample of the executions that differ"),
    Column("high_water", BigInteger, nullable=False, comment="received_ns up to which reports were read"),
    Column("derived_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="The day's executions derived again from the landed reports, compared with the live rows.",
)

order_reports = Table(
    "order_reports",
    metadata,
    Column("report_id", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("exec_id", Text),
    Column("exec_type", Text, nullable=False),
    Column("ord_status", Text),
    Column("cl_ord_id", Text),
    Column("orig_cl_ord_id", Text),
    Column("venue_order_id", Text),
    Column("correlation_id", Text),
    Column("side", Text),
    Column("order_qty", Numeric),
    Column("limit_price", Numeric),
    Column("cum_qty", Numeric),
    Column("leaves_qty", Numeric),
    Column("avg_px", Numeric),
    Column("reason", Text),
    *_ns("transact_ns"),
    *_ns("received_ns"),
    Column("landed_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("feed", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    PrimaryKeyConstraint("report_id", "trade_date"),
    Index("order_reports_message", "venue", "cl_ord_id"),
    Index("order_reports_landed", "landed_at", postgresql_using="brin"),
    Index(
        "order_reports_original",
        "venue",
        "orig_cl_ord_id",
        postgresql_where=text("orig_cl_ord_id IS NOT NULL"),
    ),
    Index(
        "order_reports_venue_order",
        "venue",
        "venue_order_id",
        postgresql_where=text("venue_order_id IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (trade_date)",
    comment="Every distinct report of an order's state (accepted, canceled, replaced, restated ...), immutable, "
    "with its raw bytes.",
)

order_references = Table(
    "order_references",
    metadata,
    Column("venue", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("routed_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("venue", "kind", "reference", "correlation_id"),
    Index("order_references_correlation", "correlation_id"),
    comment="What reports may name an order by beside its messages: the venue's order ids (v), ClOrdIDs only "
    "reports gave (c).",
)

order_standings = Table(
    "order_standings",
    metadata,
    Column("correlation_id", Text, primary_key=True),
    Column("order_qty", Numeric, comment="OrderQty as last accepted or restated; null where no report says"),
    Column("closed", Text, comment="OrdStatus that ended the order"),
    *_ns("closed_ns"),
    Column("leaves", Boolean, nullable=False, comment="whether the remainder of a closed order lives on"),
    Column("pending", Text, comment="OrdStatus while a cancel or replace request is not answered"),
    Column("held", Text, comment="Stopped or Suspended"),
    Column("base", Text, nullable=False, comment="OrdStatus while nothing has traded"),
    comment="Where orders stand at their venues, by their order reports; orders without any have no row.",
)

order_totals = Table(
    "order_totals",
    metadata,
    Column("report_id", Uuid, primary_key=True),
    Column("correlation_id", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("cum_qty", Numeric, nullable=False),
    Column("avg_px", Numeric, nullable=False),
    Column("execution_ids", ARRAY(Uuid), nullable=False),
    Column("matched_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("order_totals_correlation", "correlation_id"),
    comment="Totals of orders as venues reported them, matched with the executions that make them up.",
)

break_resolutions = Table(
    "break_resolutions",
    metadata,
    Column("resolution_id", Uuid, primary_key=True),
    Column("break_id", Uuid, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("ours", Text, nullable=False),
    Column("theirs", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column(
        "decided_at",
        DateTime(timezone=True),
        Computed("to_timestamp(at_ns::double precision / 1e9)", persisted=False),
    ),
    Column("voids", JSONB, nullable=False),
    Index("break_resolutions_correlation", "correlation_id"),
    comment="What two persons decided of a break, and what a rejection voided: (report id, content) pairs.",
)

PARTITIONED = {
    "fills": "trade_date",
    "executions": "trade_date",
    "slippage_metrics": "trade_date",
    "benchmark_snapshots": "taken_on",
    "audit_events": "recorded_on",
    "order_reports": "trade_date",
    "slippage_finals": "trade_date",
    "order_costs": "trade_date",
}

instruments = Table(
    "instruments",
    metadata,
    Column("venue", Text, nullable=False, comment="a venue's name in the settings; * is any venue"),
    Column("symbol", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="spot, linear, inverse"),
    Column("base", Text, nullable=False),
    Column("quote", Text, nullable=False, comment="the currency of the price"),
    Column("settlement", Text, nullable=False, comment="what it is paid in; of an inverse contract its base"),
    Column("contract_size", Numeric, nullable=False, server_default=text("1")),
    Column("multiplier", Numeric, nullable=False, server_default=text("1")),
    Column("tick", Numeric),
    Column("lot", Numeric),
    PrimaryKeyConstraint("venue", "symbol"),
    comment="What a quantity of one stands for at a venue, and in which currencies it is priced and paid.",
)


def _person() -> Column[Any]:
    return Column(
        "person",
        Text,
        nullable=False,
        server_default=text("SESSION_USER"),
        comment="the role that was logged in, set by the database",
    )


Index("breaks_open", breaks.c.opened_at, postgresql_where=text("ended_at IS NULL"))

break_votes = Table(
    "break_votes",
    metadata,
    Column("vote_id", BigInteger, Identity(always=True), primary_key=True),
    Column("break_id", Uuid, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ours", Text, nullable=False, comment="as the break stood when the vote was cast"),
    Column("theirs", Text, nullable=False, comment="as the break stood when the vote was cast"),
    _person(),
    Column("at_ns", BigInteger, nullable=False),
    Column(
        "voted_at",
        DateTime(timezone=True),
        Computed("to_timestamp(at_ns::double precision / 1e9)", persisted=False),
    ),
    Index("break_votes_break", "break_id"),
    comment="Persons' verdicts on breaks: two who agree release or reject. Append-only.",
)

break_notes = Table(
    "break_notes",
    metadata,
    Column("note_id", BigInteger, Identity(always=True), primary_key=True),
    Column("break_id", Uuid, nullable=False),
    _person(),
    Column("kind", Text, nullable=False, comment="note, owner"),
    Column("note", Text, nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("break_notes_break", "break_id"),
    comment="What people noted on breaks, and who owns them: the last owner counts. Append-only.",
)

replay_requests = Table(
    "replay_requests",
    metadata,
    Column("request_id", BigInteger, Identity(always=True), primary_key=True),
    Column("dead_letter_id", Uuid, nullable=False),
    Column(
        "again",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="also where it was replayed with success",
    ),
    _person(),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("done_at", DateTime(timezone=True)),
    Column("outcome", Text, comment="landed, duplicate, pending, skipped, or dead letter again with the reason"),
    Index("replay_requests_open", "request_id", postgresql_where=text("done_at IS NULL")),
    comment="Dead letters that a person wants handed in again, and what became of each.",
)

desk_outcomes = Table(
    "desk_outcomes",
    metadata,
    Column("resolution_id", Uuid, primary_key=True),
    Column("break_id", Uuid, nullable=False),
    Column("votes", ARRAY(BigInteger), nullable=False, comment="the votes it answers: they are used up"),
    Column("outcome", Text, nullable=False, comment="applied, refused"),
    Column("why", Text, comment="of a refused one: why it does not apply, and what can be done"),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("answered_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("desk_outcomes_break", "break_id"),
    comment="What two persons' verdict came to, written with the rows that it changed.",
)

halt_requests = Table(
    "halt_requests",
    metadata,
    Column("request_id", BigInteger, Identity(always=True), primary_key=True),
    Column("venue", Text, nullable=False),
    Column("action", Text, nullable=False, comment="halt, resume"),
    Column("reason", Text, nullable=False),
    _person(),
    Column("at_ns", BigInteger, nullable=False),
    Column(
        "requested_at",
        DateTime(timezone=True),
        Computed("to_timestamp(at_ns::double precision / 1e9)", persisted=False),
    ),
    Column("done_at", DateTime(timezone=True)),
    Column("outcome", Text, comment="halted, resumed, or unchanged or refused with why"),
    Index("halt_requests_open", "request_id", postgresql_where=text("done_at IS NULL")),
    comment="Halts and resumes that persons asked for, and what became of each.",
)

look_back_audits = Table(
    "look_back_audits",
    metadata,
    Column("audit_id", Uuid, primary_key=True),
    Column("venue", Text, nullable=False),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="audit, order (a gap waited), request (of a person), recovery (after an outage)",
    ),
    *_ns("from_ns"),
    *_ns("until_ns"),
    *_ns("compared_ns"),
    Column("theirs", BigInteger, nullable=False, comment="reports of the window that the venue lists"),
    Column("ours", BigInteger, nullable=False, comment="fills of the window that we had or have now"),
    Column("missing", BigInteger, nullable=False, comment="reports that were not here"),
    Column("handed_in", BigInteger, nullable=False, comment="of these, those that have landed"),
    Column("unconfirmed", BigInteger, nullable=False, comment="our fills that the venue does not list"),
    Index("look_back_audits_last", "venue", "until_ns"),
    comment="Comparisons of a venue's own list of fills with ours, over [from, until) of its clock.",
)
completeness_findings = Table(
    "completeness_findings",
    metadata,
    Column("finding_id", Uuid, primary_key=True),
    Column("audit_id", Uuid, nullable=False),
    Column(
        "kind",
        Text,
        nullable=False,
        comment="missing: the venue lists it, we had it not; unconfirmed: the other way round",
    ),
    Column("venue", Text, nullable=False),
    Column("report_id", Uuid, nullable=False),
    Column("exec_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("correlation_id", Text),
    *_ns("transact_ns"),
    *_ns("found_ns"),
    *_ns("ended_ns", nullable=True),
    Index(
        "completeness_findings_open", "kind", "report_id", unique=True, postgresql_where=text("ended_ns IS NULL")
    ),
    comment="Fills that one side had and the other had not. They end when the fill has landed, or is listed.",
)
look_back_requests = Table(
    "look_back_requests",
    metadata,
    Column("request_id", BigInteger, Identity(always=True), primary_key=True),
    Column("venue", Text, nullable=False),
    Column("from_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    _person(),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("done_at", DateTime(timezone=True)),
    Column("outcome", Text, comment="done, or refused or failed with why"),
    Column("theirs", BigInteger),
    Column("ours", BigInteger),
    Column("missing", BigInteger),
    Column("handed_in", BigInteger),
    Column("unconfirmed", BigInteger),
    Index("look_back_requests_open", "request_id", postgresql_where=text("done_at IS NULL")),
    comment="Spans of time that persons want compared, and what became of each.",
)


def _markout(name: str) -> list[Column[Any]]:
    """A markout with its benchmark; what is missing or best effort has its reason."""
    return [
        Column(f"markout_{name}_bps", Numeric),
        Column(f"markout_{name}_mid", Numeric),
        Column(f"markout_{name}_snapshot_id", Text),
        Column(f"markout_{name}_reason", Text),
    ]


slippage_finals = Table(
    "slippage_finals",
    metadata,
    Column("execution_id", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("correlation_id", Text, nullable=False),
    *_markout("1s"),
    *_markout("10s"),
    *_markout("60s"),
    *_markout("5min"),
    Column("interval_twap_bps", Numeric, comment="against the order's interval_twap"),
    Column("interval_vwap_bps", Numeric, comment="against the order's interval_vwap"),
    PrimaryKeyConstraint("execution_id", "trade_date"),
    postgresql_partition_by="RANGE (trade_date)",
    comment="What of an execution's slippage only the later market can say: markouts, in bps, positive = cost.",
)

order_costs = Table(
    "order_costs",
    metadata,
    Column("correlation_id", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("currency", Text),
    Column("state", Text, nullable=False, comment="filled, closed, open"),
    Column("order_qty", Numeric, nullable=False),
    Column("filled_qty", Numeric, nullable=False),
    Column("avg_px", Numeric, comment="of the executions, volume-weighted"),
    Column("decision_price", Numeric),
    Column("arrival_price", Numeric, comment="mid when the order was routed"),
    Column("arrival_snapshot_id", Text),
    Column("closing_price", Numeric, comment="mid when the order ended, or at the end of the day"),
    Column("closing_snapshot_id", Text),
    Column("paper", Numeric, comment="order_qty at the decision price"),
    Column("explicit", Numeric, comment="fees; a rebate is negative"),
    Column("delay", Numeric, comment="arrival against decision price, on what traded"),
    Column("trading", Numeric, comment="executions against arrival price"),
    Column("opportunity", Numeric, comment="closing against decision price, on what never traded"),
    Column("total", Numeric),
    Column("total_bps", Numeric, comment="total over paper"),
    Column("quality", Text, nullable=False),
    Column("quality_reason", Text, comment="what is missing or only best effort, joined by commas"),
    Column("interval_vwap", Numeric, comment="of the market's trades from arrival to the last execution"),
    Column("interval_vwap_reason", Text, comment="why there is none"),
    Column("interval_twap", Numeric, comment="mid weighted by time, from arrival to the last execution"),
    Column("interval_twap_reason", Text),
    Column("interval_vwap_bps", Numeric, comment="avg_px against interval_vwap"),
    Column("interval_twap_bps", Numeric, comment="avg_px against interval_twap"),
    PrimaryKeyConstraint("correlation_id", "trade_date"),
    postgresql_partition_by="RANGE (trade_date)",
    comment="Implementation shortfall of each order of a day as of its end, in the price's currency.",
)

reconciliation_breaks = Table(
    "reconciliation_breaks",
    metadata,
    Column("break_id", Uuid, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("symbol", Text),
    Column("report_id", Uuid),
    Column("ours", Text, nullable=False),
    Column("theirs", Text, nullable=False),
    Column("owner", Text, comment="who has it, by the last note of the day"),
    Column("state", Text, nullable=False, comment="open, ended"),
    Column("ended_how", Text),
    Column("age_seconds", BigInteger, nullable=False, comment="until it ended, or the end of the day"),
    Column("age", Text, nullable=False, comment="bucket: < 2 min, < 1 h, < 1 day, older"),
    PrimaryKeyConstraint("break_id", "trade_date"),
    comment="Breaks that were open at any time of a day, as they stood at its end, with their age.",
)

venue_quality = Table(
    "venue_quality",
    metadata,
    Column("venue", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("reports", BigInteger, nullable=False, comment="of trades, busts and corrects"),
    Column("latency_p50_us", BigInteger, comment="received less transacted, by the venue's clock"),
    Column("latency_p95_us", BigInteger),
    Column("latency_p99_us", BigInteger),
    Column("latency_max_us", BigInteger),
    Column("commit_p95_us", BigInteger, comment="landed less received: our own share"),
    Column("slo_us", BigInteger, nullable=False),
    Column("within_slo", BigInteger, nullable=False, comment="landed within the SLO of being received"),
    Column("orders_claimed", BigInteger, nullable=False, comment="orders of which the venue claims a CumQty"),
    Column("orders_complete", BigInteger, nullable=False, comment="of these, those whose CumQty is ours"),
    Column("gaps_open", BigInteger, nullable=False, comment="orders that wait for a fill that the venue counts"),
    Column("pending", BigInteger, nullable=False, comment="reports of the day that wait"),
    Column("duplicates", BigInteger, nullable=False),
    Column("dead_letters", BigInteger, nullable=False),
    Column("breaks", BigInteger, nullable=False, comment="opened this day"),
    Column("halts", BigInteger, nullable=False, comment="that stood at any time of the day"),
    Column("halted_seconds", BigInteger, nullable=False),
    Column("audits", BigInteger, nullable=False, comment="look-backs that ended in the day"),
    Column("audit_missing", BigInteger, nullable=False, comment="reports that these found missing here"),
    PrimaryKeyConstraint("venue", "trade_date"),
    comment="How well each venue and its feeds served a day.",
)

derivations = Table(
    "derivations",
    metadata,
    Column("asset", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("digest", Text, nullable=False, comment="of the day's rows as derived"),
    Column("row_count", BigInteger, nullable=False),
    Column("changed_count", BigInteger, nullable=False, comment="rows that this derivation added or changed"),
    Column("removed_count", BigInteger, nullable=False),
    Column("derived_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("asset", "trade_date"),
    comment="The last derivation of each derived table and day: equal digests are equal rows.",
)

check_outcomes = Table(
    "check_outcomes",
    metadata,
    Column("trade_date", Date, nullable=False),
    Column("asset", Text, nullable=False),
    Column("check_name", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("severity", Text, nullable=False, comment="of a failure: ERROR, WARN"),
    Column("blocking", Boolean, nullable=False, comment="nothing downstream is made while it fails"),
    Column("row_count", BigInteger, nullable=False, comment="rows that were looked at"),
    Column("failing", BigInteger, nullable=False),
    Column("findings", JSONB, nullable=False, comment="at most twenty [row, what is wrong with it]"),
    Column("skipped", Text, comment="why there was nothing to judge"),
    Column("description", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("of_digest", Text, comment="derived_digest of the executions that were judged"),
    Column("checked_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("trade_date", "asset", "check_name"),
    comment="What each check of a day found when it last looked.",
)
