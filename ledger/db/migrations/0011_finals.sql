-- What a day amounts to once its future is known: final slippages, shortfalls, aged breaks, venues' quality.

CREATE TABLE execution.slippage_finals (
    execution_id UUID NOT NULL,
    trade_date DATE NOT NULL,
    correlation_id TEXT NOT NULL,
    markout_1s_bps NUMERIC,
    markout_1s_mid NUMERIC,
    markout_1s_snapshot_id TEXT,
    markout_1s_reason TEXT,
    markout_10s_bps NUMERIC,
    markout_10s_mid NUMERIC,
    markout_10s_snapshot_id TEXT,
    markout_10s_reason TEXT,
    markout_60s_bps NUMERIC,
    markout_60s_mid NUMERIC,
    markout_60s_snapshot_id TEXT,
    markout_60s_reason TEXT,
    markout_5min_bps NUMERIC,
    markout_5min_mid NUMERIC,
    markout_5min_snapshot_id TEXT,
    markout_5min_reason TEXT,
    interval_twap_bps NUMERIC,
    PRIMARY KEY (execution_id, trade_date)
)
 PARTITION BY RANGE (trade_date);
COMMENT ON TABLE execution.slippage_finals IS 'What of an execution''s slippage only the later market can say: markouts, in bps, positive = cost.';
COMMENT ON COLUMN execution.slippage_finals.interval_twap_bps IS 'against the order''s interval_twap';

CREATE TABLE execution.order_costs (
    correlation_id TEXT NOT NULL,
    trade_date DATE NOT NULL,
    venue TEXT NOT NULL,
    account TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    currency TEXT,
    state TEXT NOT NULL,
    order_qty NUMERIC NOT NULL,
    filled_qty NUMERIC NOT NULL,
    avg_px NUMERIC,
    decision_price NUMERIC,
    arrival_price NUMERIC,
    arrival_snapshot_id TEXT,
    closing_price NUMERIC,
    closing_snapshot_id TEXT,
    paper NUMERIC,
    explicit NUMERIC,
    delay NUMERIC,
    trading NUMERIC,
    opportunity NUMERIC,
    total NUMERIC,
    total_bps NUMERIC,
    quality TEXT NOT NULL,
    quality_reason TEXT,
    interval_vwap NUMERIC,
    interval_vwap_reason TEXT,
    interval_twap NUMERIC,
    interval_twap_reason TEXT,
    PRIMARY KEY (correlation_id, trade_date)
)
 PARTITION BY RANGE (trade_date);
COMMENT ON TABLE execution.order_costs IS 'Implementation shortfall of each order of a day as of its end, in the price''s currency.';
COMMENT ON COLUMN execution.order_costs.state IS 'filled, closed, open';
COMMENT ON COLUMN execution.order_costs.avg_px IS 'of the executions, volume-weighted';
COMMENT ON COLUMN execution.order_costs.arrival_price IS 'mid when the order was routed';
COMMENT ON COLUMN execution.order_costs.closing_price IS 'mid when the order ended, or at the end of the day';
COMMENT ON COLUMN execution.order_costs.paper IS 'order_qty at the decision price';
COMMENT ON COLUMN execution.order_costs.explicit IS 'fees; a rebate is negative';
COMMENT ON COLUMN execution.order_costs.delay IS 'arrival against decision price, on what traded';
COMMENT ON COLUMN execution.order_costs.trading IS 'executions against arrival price';
COMMENT ON COLUMN execution.order_costs.opportunity IS 'closing against decision price, on what never traded';
COMMENT ON COLUMN execution.order_costs.total_bps IS 'total over paper';
COMMENT ON COLUMN execution.order_costs.quality_reason IS 'what is missing or only best effort, joined by commas';
COMMENT ON COLUMN execution.order_costs.interval_vwap IS 'of the market''s trades from arrival to the last execution';
COMMENT ON COLUMN execution.order_costs.interval_vwap_reason IS 'why there is none';
COMMENT ON COLUMN execution.order_costs.interval_twap IS 'mid weighted by time, from arrival to the last execution';

CREATE TABLE execution.reconciliation_breaks (
    break_id UUID NOT NULL,
    trade_date DATE NOT NULL,
    correlation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT,
    report_id UUID,
    ours TEXT NOT NULL,
    theirs TEXT NOT NULL,
    owner TEXT,
    state TEXT NOT NULL,
    ended_how TEXT,
    age_seconds BIGINT NOT NULL,
    age TEXT NOT NULL,
    PRIMARY KEY (break_id, trade_date)
);
COMMENT ON TABLE execution.reconciliation_breaks IS 'Breaks that were open at any time of a day, as they stood at its end, with their age.';
COMMENT ON COLUMN execution.reconciliation_breaks.owner IS 'who has it, by the last note of the day';
COMMENT ON COLUMN execution.reconciliation_breaks.state IS 'open, ended';
COMMENT ON COLUMN execution.reconciliation_breaks.age_seconds IS 'until it ended, or the end of the day';
COMMENT ON COLUMN execution.reconciliation_breaks.age IS 'bucket: < 2 min, < 1 h, < 1 day, older';

CREATE TABLE execution.venue_quality (
    venue TEXT NOT NULL,
    trade_date DATE NOT NULL,
    reports BIGINT NOT NULL,
    latency_p50_us BIGINT,
    latency_p95_us BIGINT,
    latency_p99_us BIGINT,
    latency_max_us BIGINT,
    commit_p95_us BIGINT,
    slo_us BIGINT NOT NULL,
    within_slo BIGINT NOT NULL,
    orders_claimed BIGINT NOT NULL,
    orders_complete BIGINT NOT NULL,
    gaps_open BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    dead_letters BIGINT NOT NULL,
    breaks BIGINT NOT NULL,
    halts BIGINT NOT NULL,
    halted_seconds BIGINT NOT NULL,
    audits BIGINT NOT NULL,
    audit_missing BIGINT NOT NULL,
    PRIMARY KEY (venue, trade_date)
);
COMMENT ON TABLE execution.venue_quality IS 'How well each venue and its feeds served a day.';
COMMENT ON COLUMN execution.venue_quality.reports IS 'of trades, busts and corrects';
COMMENT ON COLUMN execution.venue_quality.latency_p50_us IS 'received less transacted, by the venue''s clock';
COMMENT ON COLUMN execution.venue_quality.commit_p95_us IS 'landed less received: our own share';
COMMENT ON COLUMN execution.venue_quality.within_slo IS 'landed within the SLO of being received';
COMMENT ON COLUMN execution.venue_quality.orders_claimed IS 'orders of which the venue claims a CumQty';
COMMENT ON COLUMN execution.venue_quality.orders_complete IS 'of these, those whose CumQty is ours';
COMMENT ON COLUMN execution.venue_quality.gaps_open IS 'orders that wait for a fill that the venue counts';
COMMENT ON COLUMN execution.venue_quality.pending IS 'reports of the day that wait';
COMMENT ON COLUMN execution.venue_quality.breaks IS 'opened this day';
COMMENT ON COLUMN execution.venue_quality.halts IS 'that stood at any time of the day';
COMMENT ON COLUMN execution.venue_quality.audits IS 'look-backs that ended in the day';
COMMENT ON COLUMN execution.venue_quality.audit_missing IS 'reports that these found missing here';

CREATE TABLE execution.derivations (
    asset TEXT NOT NULL,
    trade_date DATE NOT NULL,
    digest TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    changed_count BIGINT NOT NULL,
    removed_count BIGINT NOT NULL,
    derived_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (asset, trade_date)
);
COMMENT ON TABLE execution.derivations IS 'The last derivation of each derived table and day: equal digests are equal rows.';
COMMENT ON COLUMN execution.derivations.digest IS 'of the day''s rows as derived';
COMMENT ON COLUMN execution.derivations.changed_count IS 'rows that this derivation added or changed';

CREATE TABLE execution.slippage_finals_default PARTITION OF execution.slippage_finals DEFAULT;
CREATE TABLE execution.order_costs_default PARTITION OF execution.order_costs DEFAULT;

-- Makes the partitions of one day. Serialised by an advisory lock; a day that exists is left alone. So is a day of
-- which the default partition already holds rows: it goes on there.
CREATE OR REPLACE FUNCTION execution.ensure_partitions(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('execution.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['fills', 'executions', 'slippage_metrics', 'benchmark_snapshots', 'audit_events',
                                'order_reports', 'slippage_finals', 'order_costs']
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
