-- Order states, releases and rejections, references that reports give, totals matched many-to-one.

ALTER TABLE execution.fills ADD COLUMN part_of TEXT;
ALTER TABLE execution.fills ADD COLUMN trade_report_id TEXT;
COMMENT ON COLUMN execution.fills.part_of IS 'ExecID of the report that this is a part of';
COMMENT ON COLUMN execution.fills.trade_report_id IS 'TradeReportID(571): another name of the report, beside its ExecID';
ALTER TABLE execution.executions ADD COLUMN match_rule TEXT;
ALTER TABLE execution.executions ADD COLUMN fee_bps NUMERIC;
ALTER TABLE execution.fills_pending ADD COLUMN overdue_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE execution.fills_pending ADD COLUMN venue_order_id TEXT;
ALTER TABLE execution.breaks ADD COLUMN ended_how TEXT;
COMMENT ON COLUMN execution.executions.match_rule IS 'one_to_many on a part of a split report, many_to_one on the whole that parts supersede';
COMMENT ON COLUMN execution.executions.fee_bps IS 'fee over notional in bps, positive = cost, where both are in one currency';
COMMENT ON COLUMN execution.fills_pending.overdue_at IS 'when its grace time was over: a break or a dead letter says so, and it still waits';
COMMENT ON COLUMN execution.breaks.ended_how IS 'facts, release or reject';
COMMENT ON TABLE execution.fills_pending IS 'Reports that wait for their intent or for the report they refer to, and orders that wait for a fill the venue counts.';

COMMENT ON COLUMN execution.fills_pending.venue_order_id IS 'a second name that ties the report, beside its ClOrdID';

CREATE INDEX fills_pending_order ON execution.fills_pending (venue, venue_order_id) WHERE venue_order_id IS NOT NULL;
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
