-- What the report of a day shows (execution_assets/report). Sums and ranks only, which numeric takes exactly: the
-- divisions are the domain's. Parameters by name, as psycopg reads them.

-- name: landed
SELECT count(*) FILTER (WHERE kind = 'fill') AS fills, count(*) FILTER (WHERE kind = 'bust') AS busts,
       count(*) FILTER (WHERE kind = 'correct') AS corrects, count(DISTINCT venue) AS venues
FROM execution.fills WHERE trade_date = %(day)s

-- name: derivation
SELECT derived_digest, execution_count, difference_count, high_water,
       coalesce((differences::jsonb->>'beyond_before')::bigint, 0) AS beyond_before
FROM execution.executions_derived WHERE trade_date = %(day)s

-- name: derivations
SELECT asset, digest, row_count FROM execution.derivations WHERE trade_date = %(day)s ORDER BY asset

-- name: executions
SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'busted') AS busted,
       count(*) FILTER (WHERE status NOT IN ('active', 'busted')) AS withdrawn,
       count(DISTINCT correlation_id) FILTER (WHERE status = 'active') AS orders
FROM execution.executions WHERE trade_date = %(day)s

-- name: notionals
-- In quote: of an inverse contract quantity x units at any price. A symbol without reference data is taken for spot.
SELECT coalesce(e.currency, '') AS currency, count(*) AS executions,
       sum(CASE WHEN e.side = 'buy' THEN n.notional ELSE 0 END) AS bought,
       sum(CASE WHEN e.side = 'buy' THEN 0 ELSE n.notional END) AS sold
FROM execution.executions e
LEFT JOIN execution.instruments own ON own.venue = e.venue AND own.symbol = e.symbol
LEFT JOIN execution.instruments anyones ON anyones.venue = '*' AND anyones.symbol = e.symbol
CROSS JOIN LATERAL (
    SELECT e.last_qty
           * coalesce(own.contract_size * own.multiplier, anyones.contract_size * anyones.multiplier, 1)
           * CASE WHEN coalesce(own.kind, anyones.kind) = 'inverse' THEN 1 ELSE e.last_px END AS notional
) n
WHERE e.trade_date = %(day)s AND e.status = 'active'
GROUP BY 1 ORDER BY 1

-- name: fees
SELECT coalesce(fee_currency, '') AS currency, sum(fee) AS fee, count(fee) AS executions
FROM execution.executions WHERE trade_date = %(day)s AND status = 'active' AND fee IS NOT NULL
GROUP BY 1 ORDER BY 1

-- name: spreads
-- Slippage against the arrival mid by venue, by symbol (each with currency), by hour, and of all.
SELECT * FROM (
SELECT CASE GROUPING(venue, symbol, hour) WHEN 3 THEN 'venue' WHEN 5 THEN 'symbol' WHEN 6 THEN 'hour' ELSE 'all' END
           AS dimension,
       coalesce(venue, symbol, lpad(hour::text, 2, '0'), '') AS name, coalesce(currency, '') AS currency,
       count(*) AS executions, count(bps) AS measured, count(*) FILTER (WHERE quality <> 'exact') AS best_effort,
       coalesce(sum(bps), 0) AS bps_sum,
       coalesce(sum(notional) FILTER (WHERE bps IS NOT NULL), 0) AS notional,
       coalesce(sum(bps * notional), 0) AS bps_notional,
       percentile_disc(ARRAY[0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) WITHIN GROUP (ORDER BY bps) AS ranks
FROM (
    SELECT e.venue, e.symbol, coalesce(e.currency, '') AS currency, m.bps, m.quality,
           (e.transact_ns / 3600000000000 %% 24) AS hour,
           e.last_qty
           * coalesce(own.contract_size * own.multiplier, anyones.contract_size * anyones.multiplier, 1)
           * CASE WHEN coalesce(own.kind, anyones.kind) = 'inverse' THEN 1 ELSE e.last_px END AS notional
    FROM execution.slippage_metrics m
    JOIN execution.executions e ON e.execution_id = m.execution_id AND e.trade_date = m.trade_date
    LEFT JOIN execution.instruments own ON own.venue = e.venue AND own.symbol = e.symbol
    LEFT JOIN execution.instruments anyones ON anyones.venue = '*' AND anyones.symbol = e.symbol
    WHERE m.trade_date = %(day)s AND m.kind = 'arrival_mid' AND e.status = 'active'
) x
GROUP BY GROUPING SETS ((venue, currency), (symbol, currency), (hour), ())
HAVING count(*) > 0
) g
ORDER BY dimension, name COLLATE "C", currency COLLATE "C"

-- name: benchmarks
-- Slippage by what it is measured against: the live kinds, and the market's averages while the order worked.
SELECT 'benchmark' AS dimension, kind AS name, currency, count(*) AS executions, count(bps) AS measured,
       count(*) FILTER (WHERE quality <> 'exact') AS best_effort, coalesce(sum(bps), 0) AS bps_sum,
       coalesce(sum(notional) FILTER (WHERE bps IS NOT NULL), 0) AS notional,
       coalesce(sum(bps * notional), 0) AS bps_notional,
       percentile_disc(ARRAY[0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) WITHIN GROUP (ORDER BY bps) AS ranks
FROM (
    SELECT f.kind, f.bps, f.quality, coalesce(e.currency, '') AS currency,
           e.last_qty
           * coalesce(own.contract_size * own.multiplier, anyones.contract_size * anyones.multiplier, 1)
           * CASE WHEN coalesce(own.kind, anyones.kind) = 'inverse' THEN 1 ELSE e.last_px END AS notional
    FROM (
        SELECT execution_id, kind, bps, quality FROM execution.slippage_metrics
        WHERE trade_date = %(day)s AND kind IN ('arrival_mid', 'decision_price', 'fill_mid')
        UNION ALL
        SELECT execution_id, average.kind, average.bps, 'exact' FROM execution.slippage_finals
        CROSS JOIN LATERAL (VALUES ('interval_twap', interval_twap_bps), ('interval_vwap', interval_vwap_bps))
            AS average(kind, bps)
        WHERE trade_date = %(day)s
    ) f
    JOIN execution.executions e ON e.execution_id = f.execution_id AND e.trade_date = %(day)s
    LEFT JOIN execution.instruments own ON own.venue = e.venue AND own.symbol = e.symbol
    LEFT JOIN execution.instruments anyones ON anyones.venue = '*' AND anyones.symbol = e.symbol
    WHERE e.status = 'active'
) x
GROUP BY kind, currency
HAVING count(bps) > 0
ORDER BY array_position(ARRAY['arrival_mid', 'decision_price', 'fill_mid', 'interval_twap', 'interval_vwap'], kind),
         currency COLLATE "C"

-- name: histogram
-- Bucket 0 is below low, bucket `count + 1` from high on.
SELECT m.kind, width_bucket(m.bps, %(low)s::numeric, %(high)s::numeric, %(count)s::int) AS bucket,
       count(*) AS executions
FROM execution.slippage_metrics m
JOIN execution.executions e ON e.execution_id = m.execution_id AND e.trade_date = m.trade_date
WHERE m.trade_date = %(day)s AND m.kind IN ('arrival_mid', 'fill_mid') AND m.bps IS NOT NULL
  AND e.status = 'active'
GROUP BY m.kind, bucket ORDER BY m.kind, bucket

-- name: horizons
-- An execution against the mid when it filled, and later.
WITH measured AS (
    SELECT e.venue, m.bps AS at_fill, f.markout_1s_bps, f.markout_10s_bps, f.markout_60s_bps, f.markout_5min_bps
    FROM execution.executions e
    LEFT JOIN execution.slippage_metrics m
        ON m.execution_id = e.execution_id AND m.trade_date = e.trade_date AND m.kind = 'fill_mid'
    LEFT JOIN execution.slippage_finals f ON f.execution_id = e.execution_id AND f.trade_date = e.trade_date
    WHERE e.trade_date = %(day)s AND e.status = 'active'
)
SELECT venue, ARRAY[count(at_fill), count(markout_1s_bps), count(markout_10s_bps), count(markout_60s_bps),
                    count(markout_5min_bps)] AS counts,
       ARRAY[coalesce(sum(at_fill), 0), coalesce(sum(markout_1s_bps), 0), coalesce(sum(markout_10s_bps), 0),
             coalesce(sum(markout_60s_bps), 0), coalesce(sum(markout_5min_bps), 0)] AS sums
FROM measured GROUP BY venue ORDER BY venue COLLATE "C"

-- name: shortfalls
-- Of the orders of which everything is known.
SELECT coalesce(currency, '') AS currency, count(*) AS orders, count(total) AS measured,
       count(*) FILTER (WHERE total IS NOT NULL AND quality <> 'exact') AS best_effort,
       coalesce(sum(paper) FILTER (WHERE total IS NOT NULL), 0) AS paper,
       coalesce(sum(explicit) FILTER (WHERE total IS NOT NULL), 0) AS fees,
       coalesce(sum(delay) FILTER (WHERE total IS NOT NULL), 0) AS delay,
       coalesce(sum(trading) FILTER (WHERE total IS NOT NULL), 0) AS trading,
       coalesce(sum(opportunity) FILTER (WHERE total IS NOT NULL), 0) AS opportunity,
       coalesce(sum(total), 0) AS total
FROM execution.order_costs WHERE trade_date = %(day)s GROUP BY 1 ORDER BY 1

-- name: reasons
-- Of how many figures of each kind it is said that they are only best effort, or why there is none.
WITH figures AS (
    SELECT m.kind, m.quality_reason AS reason, m.bps IS NULL AS is_missing, count(*) AS figures
    FROM execution.slippage_metrics m
    JOIN execution.executions e ON e.execution_id = m.execution_id AND e.trade_date = m.trade_date
    WHERE m.trade_date = %(day)s AND e.status = 'active' GROUP BY 1, 2, 3
    UNION ALL
    SELECT h.kind, h.reason, h.bps IS NULL, count(*)
    FROM execution.slippage_finals f
    CROSS JOIN LATERAL (VALUES ('markout_1s', markout_1s_reason, markout_1s_bps),
                               ('markout_10s', markout_10s_reason, markout_10s_bps),
                               ('markout_60s', markout_60s_reason, markout_60s_bps),
                               ('markout_5min', markout_5min_reason, markout_5min_bps)) AS h(kind, reason, bps)
    WHERE f.trade_date = %(day)s GROUP BY 1, 2, 3
    UNION ALL
    SELECT 'shortfall', quality_reason, total IS NULL, count(*)
    FROM execution.order_costs WHERE trade_date = %(day)s GROUP BY 1, 2, 3
), totals AS (
    SELECT kind, sum(figures) AS of_all FROM figures GROUP BY kind
)
SELECT kind, reason, is_missing, figures, of_all::bigint AS of_all
FROM figures JOIN totals USING (kind)
WHERE reason IS NOT NULL ORDER BY kind, figures DESC, reason COLLATE "C", is_missing

-- name: venues
SELECT * FROM execution.venue_quality WHERE trade_date = %(day)s ORDER BY venue COLLATE "C"

-- name: letters
SELECT reason, count(*) AS letters, count(*) FILTER (WHERE replayed_at IS NULL) AS waiting
FROM execution.dead_letters WHERE received_ns >= %(start_ns)s AND received_ns < %(end_ns)s
GROUP BY reason ORDER BY letters DESC, reason COLLATE "C"

-- name: break_ages
SELECT kind, age, count(*) AS breaks, count(*) FILTER (WHERE state = 'open') AS open
FROM execution.reconciliation_breaks WHERE trade_date = %(day)s GROUP BY kind, age ORDER BY kind, age

-- name: oldest_breaks
SELECT kind, venue, coalesce(symbol, '') AS symbol, correlation_id, ours, theirs, coalesce(owner, '') AS owner, age_seconds
FROM execution.reconciliation_breaks WHERE trade_date = %(day)s AND state = 'open'
ORDER BY age_seconds DESC, break_id LIMIT 20

-- name: outcomes
SELECT asset, check_name, passed, severity, blocking, row_count, failing, findings, skipped, description, remedy,
       of_digest
FROM execution.check_outcomes WHERE trade_date = %(day)s ORDER BY passed, asset, check_name
