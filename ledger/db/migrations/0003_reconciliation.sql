-- Order states, releases and rejections, references that reports give, totals matched many-to-one.

ALTER TABLE execution.fills ADD COLUMN part_of TEXT;
ALTER TABLE execution.executions ADD COLUMN match_rule TEXT;
ALTER TABLE execution.executions ADD COLUMN fee_bps NUMERIC;
ALTER TABLE execution.fills_pending ADD COLUMN overdue_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE execution.breaks ADD COLUMN ended_how TEXT;
COMMENT ON COLUMN execution.executions.match_rule IS 'one_to_many on a part of a split report, many_to_one on the whole that parts supersede';
COMMENT ON COLUMN execution.executions.fee_bps IS 'fee over notional in bps, positive = cost, where both are in one currency';
COMMENT ON COLUMN execution.fills_pending.overdue_at IS 'when its grace time was over: a break or a dead letter says so, and it still waits';
COMMENT ON COLUMN execution.breaks.ended_how IS 'facts, release or reject';
COMMENT ON TABLE execution.fills_pending IS 'Reports that wait for their intent or for the report they refer to, and orders that wait for a fill the venue counts.';

CREATE INDEX fills_pending_since ON execution.fills_pending (since_ns) WHERE overdue_at IS NULL;

CREATE TABLE execution.order_reports (
    report_id UUID NOT NULL,
    trade_date DATE NOT NULL,
    venue TEXT NOT NULL,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    exec_id TEXT,
    exec_type TEXT NOT NULL,
    ord_status TEXT,
    cl_ord_id TEXT,
    orig_cl_ord_id TEXT,
    venue_order_id TEXT,
    correlation_id TEXT,
    side TEXT,
    order_qty NUMERIC,
    limit_price NUMERIC,
    cum_qty NUMERIC,
    leaves_qty NUMERIC,
    avg_px NUMERIC,
    reason TEXT,
    transact_ns BIGINT NOT NULL,
    transact_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(transact_ns::double precision / 1e9)) VIRTUAL,
    received_ns BIGINT NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(received_ns::double precision / 1e9)) VIRTUAL,
    landed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    feed TEXT NOT NULL,
    raw BYTEA NOT NULL,
    PRIMARY KEY (report_id, trade_date)
)
 PARTITION BY RANGE (trade_date);
CREATE TABLE execution.order_reports_default PARTITION OF execution.order_reports DEFAULT;
CREATE INDEX order_reports_message ON execution.order_reports (venue, cl_ord_id);
CREATE INDEX order_reports_original ON execution.order_reports (venue, orig_cl_ord_id) WHERE orig_cl_ord_id IS NOT NULL;
CREATE INDEX order_reports_venue_order ON execution.order_reports (venue, venue_order_id) WHERE venue_order_id IS NOT NULL;
COMMENT ON TABLE execution.order_reports IS 'Every distinct report of an order''s state (accepted, canceled, replaced, restated ...), immutable, with its raw bytes.';

CREATE TABLE execution.order_references (
    venue TEXT NOT NULL,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    routed_ns BIGINT NOT NULL,
    PRIMARY KEY (venue, kind, reference, correlation_id)
);
CREATE INDEX order_references_correlation ON execution.order_references (correlation_id);
COMMENT ON TABLE execution.order_references IS 'What reports may name an order by beside its messages: the venue''s order ids (v), ClOrdIDs only reports gave (c).';
INSERT INTO execution.order_references (venue, kind, reference, correlation_id, msg_id, routed_ns)
SELECT DISTINCT ON (venue, venue_order_id, correlation_id)
       venue, 'v', venue_order_id, correlation_id, msg_id, routed_ns
FROM execution.orders WHERE venue_order_id IS NOT NULL
ORDER BY venue, venue_order_id, correlation_id, routed_ns, msg_id;

CREATE TABLE execution.order_standings (
    correlation_id TEXT NOT NULL,
    order_qty NUMERIC,
    closed TEXT,
    closed_ns BIGINT NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(closed_ns::double precision / 1e9)) VIRTUAL,
    leaves BOOLEAN NOT NULL,
    pending TEXT,
    held TEXT,
    base TEXT NOT NULL,
    PRIMARY KEY (correlation_id)
);
COMMENT ON TABLE execution.order_standings IS 'Where orders stand at their venues, by their order reports; orders without any have no row.';
COMMENT ON COLUMN execution.order_standings.order_qty IS 'OrderQty as last accepted or restated; null where no report says';
COMMENT ON COLUMN execution.order_standings.closed IS 'OrdStatus that ended the order';
COMMENT ON COLUMN execution.order_standings.leaves IS 'whether the remainder of a closed order lives on';
COMMENT ON COLUMN execution.order_standings.pending IS 'OrdStatus while a cancel or replace request is not answered';
COMMENT ON COLUMN execution.order_standings.held IS 'Stopped or Suspended';
COMMENT ON COLUMN execution.order_standings.base IS 'OrdStatus while nothing has traded';

CREATE TABLE execution.order_totals (
    report_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    cum_qty NUMERIC NOT NULL,
    avg_px NUMERIC NOT NULL,
    execution_ids UUID[] NOT NULL,
    matched_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (report_id)
);
CREATE INDEX order_totals_correlation ON execution.order_totals (correlation_id);
COMMENT ON TABLE execution.order_totals IS 'Totals of orders as venues reported them, matched with the executions that make them up.';

CREATE TABLE execution.break_resolutions (
    resolution_id UUID NOT NULL,
    break_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    verdict TEXT NOT NULL,
    ours TEXT NOT NULL,
    theirs TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    approved_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ns BIGINT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(at_ns::double precision / 1e9)) VIRTUAL,
    voids JSONB NOT NULL,
    PRIMARY KEY (resolution_id)
);
CREATE INDEX break_resolutions_correlation ON execution.break_resolutions (correlation_id);
COMMENT ON TABLE execution.break_resolutions IS 'What two persons decided of a break, and what a rejection voided: (report id, content) pairs.';

-- Makes the partitions of one day. Serialised by an advisory lock; a day that exists is left alone. So is a day of
-- which the default partition already holds rows: it goes on there.
CREATE OR REPLACE FUNCTION execution.ensure_partitions(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('execution.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['fills', 'executions', 'slippage_metrics', 'benchmark_snapshots', 'audit_events',
                                'order_reports']
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

-- What each order amounts to now: computed, so that landing only ever inserts. OrdStatus is the rules' business
-- (ledger.domain.standing); `closed`, `pending` and `held` are what it is made of.
DROP VIEW execution.order_states;
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
           correlation_id, venue, account, symbol, side, msg_id, routed_at, decision_price, order_qty
    FROM execution.orders
    ORDER BY correlation_id, (action <> 'new'), routed_ns, msg_id COLLATE "C"
), states AS (
    SELECT r.correlation_id, r.venue, r.account, r.symbol, r.side, r.msg_id, r.routed_at, r.decision_price,
           coalesce(s.order_qty, r.order_qty) AS order_qty,
           coalesce(f.cum_qty, 0) AS cum_qty,
           f.notional,
           coalesce(f.execution_count, 0) AS execution_count,
           f.last_transact_ns,
           -- done for the day, and trading on a later one: open again
           CASE WHEN s.closed = 'DoneForDay' AND f.last_transact_ns / 86400000000000 > s.closed_ns / 86400000000000
                THEN NULL ELSE s.closed END AS closed,
           coalesce(s.leaves, true) AS leaves, s.pending, s.held, coalesce(s.base, 'PendingNew') AS base
    FROM routed r
    LEFT JOIN filled f USING (correlation_id)
    LEFT JOIN execution.order_standings s USING (correlation_id)
)
SELECT correlation_id, venue, account, symbol, side, msg_id, routed_at, decision_price, order_qty, cum_qty,
       CASE WHEN closed IS NOT NULL AND NOT leaves THEN 0 ELSE greatest(order_qty - cum_qty, 0) END AS leaves_qty,
       CASE WHEN cum_qty = 0 THEN 0 ELSE round(notional / cum_qty, 12) END AS avg_px,
       execution_count, last_transact_ns, closed, pending, held, base,
       EXISTS (SELECT 1 FROM execution.breaks b
               WHERE b.correlation_id = states.correlation_id AND b.ended_at IS NULL) AS on_hold
FROM states;
COMMENT ON VIEW execution.order_states IS 'OrderQty, CumQty, LeavesQty and AvgPx of every order, and where it stands at its venue, as of now.';

-- The landing transaction in one statement: small batches whole; of large ones what COPY does not write.
-- `doc` has one key a table or kind of change (ledger.db.landing names them). Deletes come before inserts: a
-- report may stop waiting for its intent and begin to wait for another report in one decision.
CREATE OR REPLACE FUNCTION execution.land(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
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
            currency, fee, fee_currency, liquidity, transact_ns, part_of, feed, raw, received_ns)
        SELECT
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, part_of, feed, raw, received_ns
        FROM jsonb_to_recordset(doc->'fills') AS r(
            report_id uuid, content uuid, venue text, account text, symbol text, trade_date date, exec_id text,
            kind text, exec_ref_id text, cl_ord_id text, venue_order_id text, correlation_id text,
            side text, last_qty numeric, last_px numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, part_of text, feed text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'order_reports' THEN
        INSERT INTO execution.order_reports (
            report_id, trade_date, venue, account, symbol, exec_id, exec_type, ord_status, cl_ord_id,
            orig_cl_ord_id, venue_order_id, correlation_id, side, order_qty, limit_price, cum_qty, leaves_qty,
            avg_px, reason, transact_ns, feed, raw, received_ns)
        SELECT
            report_id, trade_date, venue, account, symbol, exec_id, exec_type, ord_status, cl_ord_id,
            orig_cl_ord_id, venue_order_id, correlation_id, side, order_qty, limit_price, cum_qty, leaves_qty,
            avg_px, reason, transact_ns, feed, raw, received_ns
        FROM jsonb_to_recordset(doc->'order_reports') AS r(
            report_id uuid, trade_date date, venue text, account text, symbol text, exec_id text, exec_type text,
            ord_status text, cl_ord_id text, orig_cl_ord_id text, venue_order_id text, correlation_id text,
            side text, order_qty numeric, limit_price numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, reason text, transact_ns bigint, feed text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'order_references' THEN
        INSERT INTO execution.order_references (venue, kind, reference, correlation_id, msg_id, routed_ns)
        SELECT venue, kind, reference, correlation_id, msg_id, routed_ns
        FROM jsonb_to_recordset(doc->'order_references') AS r(
            venue text, kind text, reference text, correlation_id text, msg_id text, routed_ns bigint);
    END IF;
    IF doc ? 'executions' THEN
        INSERT INTO execution.executions (
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, match_rule, fee_bps, chain, withheld)
        SELECT
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, match_rule, fee_bps, chain, withheld
        FROM jsonb_to_recordset(doc->'executions') AS r(
            execution_id uuid, correlation_id text, msg_id text, venue text, account text, symbol text, side
            text, trade_date date, exec_id text, last_exec_id text, status text, last_qty numeric,
            last_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, match_rule text, fee_bps numeric, chain uuid[], withheld uuid[]);
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
            liquidity = c.liquidity, transact_ns = c.transact_ns, match_rule = c.match_rule, fee_bps = c.fee_bps
        FROM jsonb_to_recordset(doc->'executions_changed') AS c(
            execution_id uuid, trade_date date, last_exec_id text, msg_id text, status text, last_qty numeric,
            last_px numeric, fee numeric, fee_currency text, venue text, account text, symbol text, side text,
            currency text, liquidity text, transact_ns bigint, match_rule text, fee_bps numeric)
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
        SET ours = excluded.ours, theirs = excluded.theirs, ended_at = NULL, ended_how = NULL,
            opened_at = CASE WHEN breaks.ended_at IS NULL THEN breaks.opened_at ELSE excluded.opened_at END;
    END IF;
    IF doc ? 'breaks_ended' THEN
        UPDATE execution.breaks b SET ended_at = clock_timestamp(), ended_how = c.how
        FROM jsonb_to_recordset(doc->'breaks_ended') AS c(break_id uuid, how text)
        WHERE b.break_id = c.break_id;
    END IF;
    IF doc ? 'break_resolutions' THEN
        INSERT INTO execution.break_resolutions (
            resolution_id, break_id, correlation_id, verdict, ours, theirs, requested_by, approved_by, reason,
            at_ns, voids)
        SELECT resolution_id, break_id, correlation_id, verdict, ours, theirs, requested_by, approved_by, reason,
               at_ns, voids
        FROM jsonb_to_recordset(doc->'break_resolutions') AS c(
            resolution_id uuid, break_id uuid, correlation_id text, verdict text, ours text, theirs text,
            requested_by text, approved_by text, reason text, at_ns bigint, voids jsonb);
    END IF;
    IF doc ? 'order_standings' THEN
        INSERT INTO execution.order_standings (
            correlation_id, order_qty, closed, closed_ns, leaves, pending, held, base)
        SELECT correlation_id, order_qty, closed, closed_ns, leaves, pending, held, base
        FROM jsonb_to_recordset(doc->'order_standings') AS c(
            correlation_id text, order_qty numeric, closed text, closed_ns bigint, leaves boolean, pending text,
            held text, base text)
        ON CONFLICT (correlation_id) DO UPDATE
        SET order_qty = excluded.order_qty, closed = excluded.closed, closed_ns = excluded.closed_ns,
            leaves = excluded.leaves, pending = excluded.pending, held = excluded.held, base = excluded.base;
    END IF;
    IF doc ? 'order_totals' THEN
        INSERT INTO execution.order_totals (report_id, correlation_id, rule, cum_qty, avg_px, execution_ids)
        SELECT report_id, correlation_id, rule, cum_qty, avg_px, execution_ids
        FROM jsonb_to_recordset(doc->'order_totals') AS c(
            report_id uuid, correlation_id text, rule text, cum_qty numeric, avg_px numeric, execution_ids uuid[])
        ON CONFLICT (report_id) DO UPDATE
        SET rule = excluded.rule, cum_qty = excluded.cum_qty, avg_px = excluded.avg_px,
            execution_ids = excluded.execution_ids, matched_at = clock_timestamp();
    END IF;
    IF doc ? 'pending_overdue' THEN
        UPDATE execution.fills_pending SET overdue_at = clock_timestamp()
        WHERE report_id IN (SELECT value::uuid FROM jsonb_array_elements_text(doc->'pending_overdue'));
    END IF;
    IF doc ? 'letters_ended' THEN
        UPDATE execution.dead_letters d SET replayed_at = clock_timestamp(), replay_outcome = c.outcome
        FROM jsonb_to_recordset(doc->'letters_ended') AS c(dead_letter_id uuid, outcome text)
        WHERE d.dead_letter_id = c.dead_letter_id;
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
