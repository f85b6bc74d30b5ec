-- What a day came to beside its executions: breaks with their age, the quality of venues (execution_assets).

-- name: breaks_of_day
-- Breaks that were open at any time of the day, as they stood at its end, or stand now where it has not ended.
SELECT replace(CAST(b.break_id AS text), '-', '') AS break_id, b.correlation_id, b.kind,
       coalesce(o.venue, split_part(b.correlation_id, ':', 1)) AS venue, o.symbol,
       replace(CAST(b.report_id AS text), '-', '') AS report_id, b.ours, b.theirs, owned.note AS owner,
       b.ended_at IS NOT NULL AND b.ended_at < t.until AS has_ended, b.ended_how,
       CAST(greatest(extract(epoch FROM least(coalesce(b.ended_at, t.until), t.until) - b.opened_at), 0) AS bigint)
           AS age_seconds
FROM execution.breaks b
CROSS JOIN (
    SELECT CAST(:day AS date)::timestamp AT TIME ZONE 'UTC' AS since,
           least((CAST(:day AS date) + 1)::timestamp AT TIME ZONE 'UTC', now()) AS until
) t
LEFT JOIN LATERAL (
    SELECT venue, symbol FROM execution.orders WHERE correlation_id = b.correlation_id
    ORDER BY routed_ns, msg_id LIMIT 1
) o ON true
LEFT JOIN LATERAL (
    SELECT note FROM execution.break_notes n
    WHERE n.break_id = b.break_id AND n.kind = 'owner' AND n.noted_at < t.until ORDER BY note_id DESC LIMIT 1
) owned ON true
WHERE b.opened_at < t.until AND (b.ended_at IS NULL OR b.ended_at >= t.since)
ORDER BY b.break_id

-- name: quality_of_day
-- Percentiles by nearest rank, in whole microseconds. A venue that was silent but routed to or halted has a row, too.
WITH told AS (
    SELECT venue, count(*) AS reports,
           percentile_disc(ARRAY[0.5, 0.95, 0.99, 1.0]) WITHIN GROUP (ORDER BY received_ns - transact_ns) AS latency,
           percentile_disc(0.95) WITHIN GROUP (
               ORDER BY CAST(extract(epoch FROM landed_at) * 1000000 AS bigint) - received_ns / 1000) AS commit_p95,
           count(*) FILTER (
               WHERE CAST(extract(epoch FROM landed_at) * 1000000 AS bigint) - received_ns / 1000 <= :slo_us
           ) AS within_slo
    FROM execution.fills WHERE trade_date = :day GROUP BY venue
), touched AS (
    SELECT DISTINCT correlation_id FROM execution.executions WHERE trade_date = :day
), ours AS (
    SELECT e.correlation_id, min(e.venue) AS venue,
           coalesce(sum(e.last_qty) FILTER (WHERE e.status = 'active'), 0) AS qty,
           bool_or(e.status = 'voided') AS is_voided,
           max((SELECT max(r.transact_ns) FROM execution.fills r
                WHERE e.chain IS NOT NULL AND r.report_id = ANY(e.chain))) AS amended_ns,
           max(e.transact_ns) AS newest_ns
    FROM execution.executions e JOIN touched USING (correlation_id) GROUP BY e.correlation_id
), claims AS (
    SELECT DISTINCT ON (correlation_id) correlation_id, cum_qty, transact_ns
    FROM (
        SELECT e.correlation_id, f.cum_qty, f.transact_ns
        FROM execution.executions e
        JOIN touched USING (correlation_id)
        JOIN execution.fills f ON f.report_id = e.execution_id AND f.trade_date = e.trade_date
        WHERE f.cum_qty > 0
        UNION ALL
        SELECT o.correlation_id, r.cum_qty, r.transact_ns
        FROM touched
        JOIN execution.orders o USING (correlation_id)
        JOIN execution.order_reports r ON r.venue = o.venue AND r.cl_ord_id = o.msg_id
        WHERE r.cum_qty > 0
    ) c
    ORDER BY correlation_id, transact_ns DESC, cum_qty DESC
), counted AS (
    -- by the rules of order_totals in checks.sql: a claim that says nothing about now is none
    SELECT o.venue, count(*) AS orders_claimed,
           count(*) FILTER (WHERE NOT (c.cum_qty > o.qty OR c.cum_qty < o.qty AND c.transact_ns >= o.newest_ns))
               AS orders_complete
    FROM ours o JOIN claims c USING (correlation_id)
    WHERE NOT (o.is_voided OR coalesce(o.amended_ns >= c.transact_ns, false))
    GROUP BY o.venue
), waiting AS (
    SELECT venue, count(*) FILTER (WHERE reason = 'awaiting_gap') AS gaps_open,
           count(*) FILTER (WHERE reason <> 'awaiting_gap') AS pending
    FROM execution.fills_pending WHERE trade_date = :day GROUP BY venue
), repeated AS (
    SELECT split_part(feed, '.', 1) AS venue, sum(duplicates) AS duplicates
    FROM execution.feed_counts WHERE counted_on = :day GROUP BY 1
), refused AS (
    SELECT split_part(source, '.', 1) AS venue, count(*) AS dead_letters
    FROM execution.dead_letters WHERE received_ns >= :start_ns AND received_ns < :end_ns GROUP BY 1
), broken AS (
    SELECT o.venue, count(*) AS breaks
    FROM execution.breaks b
    CROSS JOIN LATERAL (
        SELECT venue FROM execution.orders WHERE correlation_id = b.correlation_id
        UNION ALL SELECT split_part(b.correlation_id, ':', 1) LIMIT 1
    ) o
    WHERE b.opened_at >= to_timestamp(:start_ns / 1000000000.0) AND b.opened_at < to_timestamp(:end_ns / 1000000000.0)
    GROUP BY o.venue
), halted AS (
    SELECT venue, count(*) AS halts,
           sum((least(coalesce(resumed_ns, :now_ns), :end_ns) - greatest(halted_ns, :start_ns)) / 1000000000)
               AS halted_seconds
    FROM execution.halts
    WHERE halted_ns < :end_ns AND (resumed_ns IS NULL OR resumed_ns >= :start_ns) AND halted_ns < :now_ns
    GROUP BY venue
), audited AS (
    SELECT venue, count(*) AS audits, sum(missing) AS audit_missing
    FROM execution.look_back_audits WHERE until_ns > :start_ns AND until_ns <= :end_ns GROUP BY venue
), venues AS (
    SELECT venue FROM told UNION SELECT venue FROM halted UNION SELECT venue FROM audited
    UNION SELECT venue FROM execution.orders WHERE routed_ns >= :start_ns AND routed_ns < :end_ns
)
SELECT venue, coalesce(t.reports, 0) AS reports, t.latency[1] / 1000 AS latency_p50_us,
       t.latency[2] / 1000 AS latency_p95_us, t.latency[3] / 1000 AS latency_p99_us,
       t.latency[4] / 1000 AS latency_max_us, t.commit_p95 AS commit_p95_us, :slo_us AS slo_us,
       coalesce(t.within_slo, 0) AS within_slo, coalesce(c.orders_claimed, 0) AS orders_claimed,
       coalesce(c.orders_complete, 0) AS orders_complete, coalesce(w.gaps_open, 0) AS gaps_open,
       coalesce(w.pending, 0) AS pending, coalesce(r.duplicates, 0) AS duplicates,
       coalesce(d.dead_letters, 0) AS dead_letters, coalesce(b.breaks, 0) AS breaks,
       coalesce(h.halts, 0) AS halts, coalesce(h.halted_seconds, 0) AS halted_seconds,
       coalesce(a.audits, 0) AS audits, coalesce(a.audit_missing, 0) AS audit_missing
FROM venues
LEFT JOIN told t USING (venue) LEFT JOIN counted c USING (venue) LEFT JOIN waiting w USING (venue)
LEFT JOIN repeated r USING (venue) LEFT JOIN refused d USING (venue) LEFT JOIN broken b USING (venue)
LEFT JOIN halted h USING (venue) LEFT JOIN audited a USING (venue)
ORDER BY venue

-- name: slippage_by_analyst
-- The analysts' file: an execution with its order's measures, every figure a column of its own.
SELECT e.trade_date, e.venue, e.account, e.symbol, e.side, e.correlation_id, e.msg_id,
       replace(CAST(e.execution_id AS text), '-', '') AS execution_id, e.exec_id, e.status, e.last_qty, e.last_px,
       e.currency, e.fee, e.fee_currency, e.fee_bps, e.liquidity, e.transact_ns,
       a.bps AS arrival_mid_bps, a.benchmark AS arrival_mid, a.snapshot_id AS arrival_snapshot_id,
       coalesce(a.quality_reason, '') AS arrival_reason,
       d.bps AS decision_price_bps, d.benchmark AS decision_price,
       m.bps AS fill_mid_bps, m.benchmark AS fill_mid, m.snapshot_id AS fill_snapshot_id,
       coalesce(m.quality_reason, '') AS fill_reason, r.bps AS fee_rate_bps,
       f.markout_1s_bps, f.markout_1s_snapshot_id, coalesce(f.markout_1s_reason, '') AS markout_1s_reason,
       f.markout_10s_bps, f.markout_10s_snapshot_id, coalesce(f.markout_10s_reason, '') AS markout_10s_reason,
       f.markout_60s_bps, f.markout_60s_snapshot_id, coalesce(f.markout_60s_reason, '') AS markout_60s_reason,
       f.markout_5min_bps, f.markout_5min_snapshot_id, coalesce(f.markout_5min_reason, '') AS markout_5min_reason,
       f.interval_twap_bps, f.interval_vwap_bps, c.interval_twap, c.interval_vwap, c.interval_vwap_reason
FROM execution.executions e
LEFT JOIN execution.slippage_metrics a
    ON a.execution_id = e.execution_id AND a.trade_date = e.trade_date AND a.kind = 'arrival_mid'
LEFT JOIN execution.slippage_metrics d
    ON d.execution_id = e.execution_id AND d.trade_date = e.trade_date AND d.kind = 'decision_price'
LEFT JOIN execution.slippage_metrics m
    ON m.execution_id = e.execution_id AND m.trade_date = e.trade_date AND m.kind = 'fill_mid'
LEFT JOIN execution.slippage_metrics r
    ON r.execution_id = e.execution_id AND r.trade_date = e.trade_date AND r.kind = 'fee'
LEFT JOIN execution.slippage_finals f ON f.execution_id = e.execution_id AND f.trade_date = e.trade_date
LEFT JOIN execution.order_costs c ON c.correlation_id = e.correlation_id AND c.trade_date = e.trade_date
WHERE e.trade_date = :day

-- name: day_states
-- Up to where each day has landed and been derived: the sensor and the backfill ask.
SELECT trade_date AS day, max(landed_at) AS landed_at, max(received_ns) AS high_water, count(*) AS reports
FROM execution.fills WHERE trade_date >= :first AND trade_date <= :last GROUP BY trade_date ORDER BY trade_date
