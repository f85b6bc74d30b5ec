CREATE SCHEMA IF NOT EXISTS execution;

CREATE TABLE execution.orders (
    venue TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    action TEXT NOT NULL,
    orig_msg_id TEXT,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    order_qty NUMERIC NOT NULL,
    limit_price NUMERIC,
    decision_price NUMERIC,
    currency TEXT,
    routed_ns BIGINT NOT NULL,
    routed_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(routed_ns::double precision / 1e9)) VIRTUAL,
    venue_order_id TEXT,
    PRIMARY KEY (venue, msg_id)
);

CREATE INDEX orders_correlation ON execution.orders (correlation_id);

CREATE INDEX orders_routed ON execution.orders (routed_ns);

CREATE INDEX orders_venue_order ON execution.orders (venue, venue_order_id) WHERE venue_order_id IS NOT NULL;

COMMENT ON TABLE execution.orders IS 'Acknowledged routed messages (order intents): new, replace, cancel.';

CREATE TABLE execution.fills (
    report_id UUID NOT NULL,
    content UUID NOT NULL,
    trade_date DATE NOT NULL,
    venue TEXT NOT NULL,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    exec_ref_id TEXT,
    cl_ord_id TEXT,
    venue_order_id TEXT,
    correlation_id TEXT,
    side TEXT NOT NULL,
    last_qty NUMERIC NOT NULL,
    last_px NUMERIC NOT NULL,
    cum_qty NUMERIC,
    leaves_qty NUMERIC,
    avg_px NUMERIC,
    currency TEXT,
    fee NUMERIC,
    fee_currency TEXT,
    liquidity TEXT,
    transact_ns BIGINT NOT NULL,
    transact_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(transact_ns::double precision / 1e9)) VIRTUAL,
    received_ns BIGINT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(received_ns::double precision / 1e9)) VIRTUAL,
    landed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    feed TEXT NOT NULL,
    raw BYTEA NOT NULL,
    PRIMARY KEY (report_id, content, trade_date)
)
 PARTITION BY RANGE (trade_date);

CREATE INDEX fills_landed ON execution.fills USING brin (landed_at);

CREATE INDEX fills_referring ON execution.fills (trade_date) WHERE kind <> 'fill';

COMMENT ON TABLE execution.fills IS 'Every distinct report of a trade, bust or correct, immutable, with its raw bytes.';

CREATE TABLE execution.executions (
    execution_id UUID NOT NULL,
    trade_date DATE NOT NULL,
    correlation_id TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    venue TEXT NOT NULL,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    last_exec_id TEXT NOT NULL,
    status TEXT NOT NULL,
    last_qty NUMERIC NOT NULL,
    last_px NUMERIC NOT NULL,
    currency TEXT,
    fee NUMERIC,
    fee_currency TEXT,
    liquidity TEXT,
    transact_ns BIGINT NOT NULL,
    transact_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(transact_ns::double precision / 1e9)) VIRTUAL,
    chain UUID[],
    withheld UUID[],
    PRIMARY KEY (execution_id, trade_date)
)
 PARTITION BY RANGE (trade_date);

CREATE INDEX executions_correlation ON execution.executions (correlation_id);

COMMENT ON TABLE execution.executions IS 'Fills tied to their orders, as they stand after every bust and correct.';

COMMENT ON COLUMN execution.executions.chain IS 'reports that refer to the fill: corrects, then the bust';

COMMENT ON COLUMN execution.executions.withheld IS 'reports whose events wait for the order''s hold to end';

CREATE TABLE execution.slippage_metrics (
    execution_id UUID NOT NULL,
    kind TEXT NOT NULL,
    trade_date DATE NOT NULL,
    bps NUMERIC,
    benchmark NUMERIC,
    benchmark_ns BIGINT,
    benchmark_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(benchmark_ns::double precision / 1e9)) VIRTUAL,
    snapshot_id TEXT,
    quality TEXT NOT NULL,
    quality_reason TEXT,
    PRIMARY KEY (execution_id, kind, trade_date)
)
 PARTITION BY RANGE (trade_date);

COMMENT ON TABLE execution.slippage_metrics IS 'Slippage of each execution in bps, positive = cost, with the benchmark it was measured against.';

CREATE TABLE execution.fills_pending (
    report_id UUID NOT NULL,
    content UUID NOT NULL,
    trade_date DATE NOT NULL,
    venue TEXT NOT NULL,
    reason TEXT NOT NULL,
    reference_kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    correlation_id TEXT,
    since_ns BIGINT NOT NULL,
    since_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(since_ns::double precision / 1e9)) VIRTUAL,
    PRIMARY KEY (report_id, content)
);

CREATE INDEX fills_pending_correlation ON execution.fills_pending (correlation_id);

CREATE INDEX fills_pending_reference ON execution.fills_pending (venue, reference_kind, reference);

COMMENT ON TABLE execution.fills_pending IS 'Reports that wait for their intent or for the report they refer to.';

CREATE TABLE execution.benchmark_snapshots (
    snapshot_id TEXT NOT NULL,
    taken_on DATE NOT NULL,
    symbol TEXT NOT NULL,
    bid NUMERIC NOT NULL,
    ask NUMERIC NOT NULL,
    bid_size NUMERIC,
    ask_size NUMERIC,
    at_ns BIGINT NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(at_ns::double precision / 1e9)) VIRTUAL,
    PRIMARY KEY (snapshot_id, taken_on)
)
 PARTITION BY RANGE (taken_on);

CREATE INDEX benchmark_snapshots_at ON execution.benchmark_snapshots (symbol, at_ns, snapshot_id);

COMMENT ON TABLE execution.benchmark_snapshots IS 'Best bid and ask of each symbol over time, as the MarketDataAgent gave them.';

CREATE TABLE execution.breaks (
    break_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    report_id UUID,
    ours TEXT NOT NULL,
    theirs TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (break_id)
);

CREATE INDEX breaks_correlation ON execution.breaks (correlation_id);

COMMENT ON TABLE execution.breaks IS 'Disagreements between reports and orders; an open break holds its order''s events.';

CREATE TABLE execution.dead_letters (
    dead_letter_id UUID NOT NULL,
    source TEXT NOT NULL,
    feed TEXT NOT NULL,
    reason TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    rule TEXT NOT NULL,
    remedy TEXT NOT NULL,
    raw BYTEA NOT NULL,
    received_ns BIGINT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(received_ns::double precision / 1e9)) VIRTUAL,
    replayed_at TIMESTAMP WITH TIME ZONE,
    replay_outcome TEXT,
    PRIMARY KEY (dead_letter_id)
);

CREATE INDEX dead_letters_received ON execution.dead_letters (received_ns);

COMMENT ON TABLE execution.dead_letters IS 'What came in and is no fact, whole, with the reason and the remedy.';

CREATE TABLE execution.feed_positions (
    feed TEXT NOT NULL,
    stream TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    position BIGINT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (feed, stream)
);

COMMENT ON TABLE execution.feed_positions IS 'Where each feed stands, written with the rows it stands for.';

CREATE TABLE execution.feed_counts (
    feed TEXT NOT NULL,
    counted_on DATE DEFAULT (now() AT TIME ZONE 'UTC')::date NOT NULL,
    duplicates BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (feed, counted_on)
);

COMMENT ON TABLE execution.feed_counts IS 'Duplicates recognised, by feed and day, counted in the transaction that recognised them.';

CREATE TABLE execution.audit_events (
    position BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1000),
    recorded_on DATE DEFAULT (now() AT TIME ZONE 'UTC')::date NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    event_id UUID NOT NULL,
    event_type TEXT NOT NULL,
    key TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (position, recorded_on)
)
 PARTITION BY RANGE (recorded_on);

CREATE INDEX audit_events_outbox ON execution.audit_events (xid, position);

COMMENT ON TABLE execution.audit_events IS 'Every decision, as the bytes that are published: the outbox and the audit trail.';

CREATE TABLE execution.audit_checkpoints (
    tree_size BIGINT NOT NULL,
    root_hash BYTEA NOT NULL,
    note TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (tree_size)
);

COMMENT ON TABLE execution.audit_checkpoints IS 'Signed tree heads over the audit events.';

CREATE TABLE execution.publish_cursors (
    publisher TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    xid xid8 NOT NULL,
    position BIGINT NOT NULL,
    tails TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (publisher)
);

COMMENT ON TABLE execution.publish_cursors IS 'How far the outbox is published, and from where to read the topics'' tails after a crash.';

COMMENT ON COLUMN execution.publish_cursors.tails IS 'JSON: topic/partition -> next offset to read at a restart';

CREATE TABLE execution.halts (
    halt_id UUID NOT NULL,
    venue TEXT NOT NULL,
    reason TEXT NOT NULL,
    halted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    halted_by TEXT NOT NULL,
    resumed_at TIMESTAMP WITH TIME ZONE,
    resumed_by TEXT,
    PRIMARY KEY (halt_id)
);

COMMENT ON TABLE execution.halts IS 'Venues that are halted or were.';

CREATE TABLE execution.provisional_hedges (
    hedge_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    quantity NUMERIC NOT NULL,
    price NUMERIC NOT NULL,
    basis TEXT NOT NULL,
    status TEXT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (hedge_id)
);

COMMENT ON TABLE execution.provisional_hedges IS 'Hedges asked for on an estimated fill, and what became of them.';

CREATE TABLE execution.archives (
    object_key TEXT NOT NULL,
    object_version TEXT NOT NULL,
    record_class TEXT NOT NULL,
    trade_date DATE NOT NULL,
    venue TEXT NOT NULL,
    digest TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    retain_until TIMESTAMP WITH TIME ZONE NOT NULL,
    schema_version INTEGER NOT NULL,
    verified_at TIMESTAMP WITH TIME ZONE,
    legal_hold BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (object_key, object_version)
);

COMMENT ON TABLE execution.archives IS 'Manifest of the encrypted retention archives.';

CREATE TABLE execution.executions_derived (
    trade_date DATE NOT NULL,
    derived_digest TEXT NOT NULL,
    live_digest TEXT NOT NULL,
    execution_count BIGINT NOT NULL,
    difference_count BIGINT NOT NULL,
    differences TEXT NOT NULL,
    high_water BIGINT NOT NULL,
    derived_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (trade_date)
);

COMMENT ON TABLE execution.executions_derived IS 'The day''s executions derived again from the landed reports, compared with the live rows.';

COMMENT ON COLUMN execution.executions_derived.differences IS 'JSON sample of the executions that differ';

COMMENT ON COLUMN execution.executions_derived.high_water IS 'received_ns up to which reports were read';

-- Rows of days for which no partition was made (older than ensure_partitions makes them) land here.
CREATE TABLE execution.fills_default PARTITION OF execution.fills DEFAULT;
CREATE TABLE execution.executions_default PARTITION OF execution.executions DEFAULT;
CREATE TABLE execution.slippage_metrics_default PARTITION OF execution.slippage_metrics DEFAULT;
CREATE TABLE execution.benchmark_snapshots_default PARTITION OF execution.benchmark_snapshots DEFAULT;
CREATE TABLE execution.audit_events_default PARTITION OF execution.audit_events DEFAULT;

-- Makes the partitions of one day. Serialised by an advisory lock; a day that exists is left alone. So is a day of
-- which the default partition already holds rows: it goes on there.
CREATE FUNCTION execution.ensure_partitions(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('execution.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['fills', 'executions', 'slippage_metrics', 'benchmark_snapshots', 'audit_events']
    LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('execution.' || child) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE execution.%I PARTITION OF execution.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, day, day + 1);
            EXCEPTION WHEN check_violation THEN
                RAISE WARNING 'execution.% goes on in the default partition, which has rows of that day', child;
            END;
        END IF;
    END LOOP;
END
$$;

-- What each order amounts to now: computed, so that landing only ever inserts.
CREATE VIEW execution.order_states AS
WITH filled AS (
    SELECT correlation_id,
           sum(last_qty) FILTER (WHERE status = 'active') AS cum_qty,
           sum(last_qty * last_px) FILTER (WHERE status = 'active') AS notional,
           count(*) AS execution_count,
           max(transact_ns) AS last_transact_ns
    FROM execution.executions
    GROUP BY correlation_id
), routed AS (
    SELECT DISTINCT ON (correlation_id)
           correlation_id, venue, account, symbol, side, msg_id, routed_at, decision_price,
           max(order_qty) FILTER (WHERE action <> 'cancel') OVER (PARTITION BY correlation_id) AS order_qty
    FROM execution.orders
    ORDER BY correlation_id, (action <> 'new'), routed_ns, msg_id
)
SELECT r.correlation_id, r.venue, r.account, r.symbol, r.side, r.msg_id, r.routed_at, r.decision_price,
       coalesce(r.order_qty, 0) AS order_qty,
       coalesce(f.cum_qty, 0) AS cum_qty,
       greatest(coalesce(r.order_qty, 0) - coalesce(f.cum_qty, 0), 0) AS leaves_qty,
       CASE WHEN coalesce(f.cum_qty, 0) = 0 THEN 0 ELSE f.notional / f.cum_qty END AS avg_px,
       coalesce(f.execution_count, 0) AS execution_count,
       f.last_transact_ns,
       EXISTS (SELECT 1 FROM execution.breaks b
               WHERE b.correlation_id = r.correlation_id AND b.ended_at IS NULL) AS on_hold
FROM routed r
LEFT JOIN filled f USING (correlation_id);
COMMENT ON VIEW execution.order_states IS 'CumQty, LeavesQty and AvgPx of every order, as of now.';

-- The landing transaction in one statement: small batches whole; of large ones what COPY does not write.
-- `doc` has one key a table or kind of change (ledger.db.landing names them). Deletes come before inserts: a
-- report may stop waiting for its intent and begin to wait for another report in one decision.
CREATE FUNCTION execution.land(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    IF doc ? 'pending_gone' THEN
        DELETE FROM execution.fills_pending
        WHERE report_id IN (SELECT value::uuid FROM jsonb_array_elements_text(doc->'pending_gone'));
    END IF;
    IF doc ? 'metrics_gone' THEN
        DELETE FROM execution.slippage_metrics
        WHERE (execution_id, kind) IN (
            SELECT (value->>0)::uuid, value->>1 FROM jsonb_array_elements(doc->'metrics_gone'));
    END IF;
    IF doc ? 'orders' THEN
        INSERT INTO execution.orders (
            correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side, order_qty, limit_price,
            decision_price, currency, routed_ns, venue_order_id)
        SELECT
            correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side, order_qty, limit_price,
            decision_price, currency, routed_ns, venue_order_id
        FROM jsonb_to_recordset(doc->'orders') AS r(
            correlation_id text, msg_id text, action text, orig_msg_id text, venue text, account text, symbol
            text, side text, order_qty numeric, limit_price numeric, decision_price numeric,
            currency text, routed_ns bigint, venue_order_id text);
    END IF;
    IF doc ? 'benchmark_snapshots' THEN
        INSERT INTO execution.benchmark_snapshots (
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns)
        SELECT
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns
        FROM jsonb_to_recordset(doc->'benchmark_snapshots') AS r(
            snapshot_id text, taken_on date, symbol text, bid numeric, ask numeric, bid_size numeric, ask_size
            numeric, at_ns bigint);
    END IF;
    IF doc ? 'fills' THEN
        INSERT INTO execution.fills (
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, feed, raw, received_ns)
        SELECT
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, feed, raw, received_ns
        FROM jsonb_to_recordset(doc->'fills') AS r(
            report_id uuid, content uuid, venue text, account text, symbol text, trade_date date, exec_id text,
            kind text, exec_ref_id text, cl_ord_id text, venue_order_id text, correlation_id text,
            side text, last_qty numeric, last_px numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, feed text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'executions' THEN
        INSERT INTO execution.executions (
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, chain, withheld)
        SELECT
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, chain, withheld
        FROM jsonb_to_recordset(doc->'executions') AS r(
            execution_id uuid, correlation_id text, msg_id text, venue text, account text, symbol text, side
            text, trade_date date, exec_id text, last_exec_id text, status text, last_qty numeric,
            last_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, chain uuid[], withheld uuid[]);
    END IF;
    IF doc ? 'slippage_metrics' THEN
        INSERT INTO execution.slippage_metrics (
            execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason)
        SELECT
            execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason
        FROM jsonb_to_recordset(doc->'slippage_metrics') AS r(
            execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
            snapshot_id text, quality text, quality_reason text);
    END IF;
    IF doc ? 'fills_pending' THEN
        INSERT INTO execution.fills_pending (
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns)
        SELECT
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns
        FROM jsonb_to_recordset(doc->'fills_pending') AS r(
            report_id uuid, content uuid, trade_date date, venue text, reason text, reference_kind text,
            reference text, correlation_id text, since_ns bigint);
    END IF;
    IF doc ? 'dead_letters' THEN
        INSERT INTO execution.dead_letters (
            dead_letter_id, source, feed, reason, field, value, rule, remedy, raw, received_ns)
        SELECT
            dead_letter_id, source, feed, reason, field, value, rule, remedy, raw, received_ns
        FROM jsonb_to_recordset(doc->'dead_letters') AS r(
            dead_letter_id uuid, source text, feed text, reason text, field text, value text, rule text, remedy
            text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'audit_events' THEN
        INSERT INTO execution.audit_events (
            event_id, event_type, key, body)
        SELECT
            event_id, event_type, key, body
        FROM jsonb_to_recordset(doc->'audit_events') AS r(
            event_id uuid, event_type text, key text, body bytea);
    END IF;
    IF doc ? 'executions_changed' THEN
        UPDATE execution.executions e
        SET last_exec_id = c.last_exec_id, msg_id = c.msg_id, status = c.status, last_qty = c.last_qty,
            last_px = c.last_px, fee = c.fee, fee_currency = c.fee_currency, venue = c.venue,
            account = c.account, symbol = c.symbol, side = c.side, currency = c.currency,
            liquidity = c.liquidity, transact_ns = c.transact_ns
        FROM jsonb_to_recordset(doc->'executions_changed') AS c(
            execution_id uuid, trade_date date, last_exec_id text, msg_id text, status text, last_qty numeric,
            last_px numeric, fee numeric, fee_currency text, venue text, account text, symbol text, side text,
            currency text, liquidity text, transact_ns bigint)
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'chains' THEN
        UPDATE execution.executions e SET chain = c.chain
        FROM jsonb_to_recordset(doc->'chains') AS c(execution_id uuid, trade_date date, chain uuid[])
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'withheld' THEN
        UPDATE execution.executions e SET withheld = c.withheld
        FROM jsonb_to_recordset(doc->'withheld') AS c(execution_id uuid, trade_date date, withheld uuid[])
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'metrics_changed' THEN
        UPDATE execution.slippage_metrics m
        SET bps = c.bps, benchmark = c.benchmark, benchmark_ns = c.benchmark_ns, snapshot_id = c.snapshot_id,
            quality = c.quality, quality_reason = c.quality_reason
        FROM jsonb_to_recordset(doc->'metrics_changed') AS c(
            execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
            snapshot_id text, quality text, quality_reason text)
        WHERE m.execution_id = c.execution_id AND m.kind = c.kind AND m.trade_date = c.trade_date;
    END IF;
    IF doc ? 'breaks' THEN
        INSERT INTO execution.breaks (break_id, correlation_id, kind, report_id, ours, theirs)
        SELECT break_id, correlation_id, kind, report_id, ours, theirs
        FROM jsonb_to_recordset(doc->'breaks') AS c(
            break_id uuid, correlation_id text, kind text, report_id uuid, ours text, theirs text)
        ON CONFLICT (break_id) DO UPDATE
        SET ours = excluded.ours, theirs = excluded.theirs, ended_at = NULL,
            opened_at = CASE WHEN breaks.ended_at IS NULL THEN breaks.opened_at ELSE excluded.opened_at END;
    END IF;
    IF doc ? 'breaks_ended' THEN
        UPDATE execution.breaks SET ended_at = clock_timestamp()
        WHERE break_id IN (SELECT value::uuid FROM jsonb_array_elements_text(doc->'breaks_ended'));
    END IF;
    IF doc ? 'duplicates' THEN
        INSERT INTO execution.feed_counts (feed, duplicates)
        SELECT key, value::bigint FROM jsonb_each_text(doc->'duplicates')
        ON CONFLICT (feed, counted_on) DO UPDATE SET duplicates = feed_counts.duplicates + excluded.duplicates;
    END IF;
    IF doc ? 'positions' THEN
        INSERT INTO execution.feed_positions AS p (feed, stream, incarnation, position)
        SELECT feed, stream, incarnation, value
        FROM jsonb_to_recordset(doc->'positions') AS c(feed text, stream text, incarnation text, value bigint)
        ON CONFLICT (feed, stream) DO UPDATE
        SET incarnation = excluded.incarnation, position = excluded.position, updated_at = clock_timestamp()
        WHERE p.incarnation <> excluded.incarnation OR p.position <= excluded.position;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved <> jsonb_array_length(doc->'positions') THEN
            RAISE EXCEPTION 'positions only grow: one of % would go back', doc->'positions'
                USING ERRCODE = 'EA001';
        END IF;
    END IF;
END
$$;
