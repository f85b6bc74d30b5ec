-- Orders that are late, and what is expected of those in flight.

-- name: open_delays
SELECT d.delay_id, d.correlation_id, d.episode, d.venue, d.cum_qty, d.began_ns, h.hedge_id, h.quantity
FROM execution.fill_delays d
LEFT JOIN execution.provisional_hedges h ON h.delay_id = d.delay_id AND h.settled_ns IS NULL
WHERE d.ended_ns IS NULL

-- name: past_delays
SELECT DISTINCT ON (correlation_id) correlation_id, episode, ended_ns, outcome
FROM execution.fill_delays
WHERE correlation_id = ANY($1::text[]) AND ended_ns IS NOT NULL
ORDER BY correlation_id, episode DESC

-- name: open_orders
-- The newest first: there may be more than are asked for.
SELECT correlation_id
FROM execution.order_states
WHERE leaves_qty > 0 AND routed_at > now() - make_interval(secs => $1)
ORDER BY routed_at DESC LIMIT $2

-- name: first_fills
-- When the newest orders were first filled; of limit orders those whose limit was at or beyond the arrival mid.
SELECT o.venue, o.limit_price IS NULL AS is_market, f.received_ns - o.routed_ns AS delay_ns
FROM (
    SELECT * FROM execution.orders WHERE action = 'new' AND routed_ns > $1 ORDER BY routed_ns DESC LIMIT $2
) o
JOIN LATERAL (
    SELECT f.received_ns, f.report_id
    FROM execution.executions e
    JOIN execution.fills f ON f.report_id = e.execution_id AND f.trade_date = e.trade_date
    WHERE e.correlation_id = o.correlation_id
    ORDER BY f.received_ns LIMIT 1
) f ON true
WHERE f.received_ns >= o.routed_ns
  AND (o.limit_price IS NULL OR EXISTS (
    SELECT 1 FROM execution.slippage_metrics m
    WHERE m.execution_id = f.report_id AND m.kind = 'arrival_mid'
      AND CASE o.side WHEN 'buy' THEN o.limit_price >= m.benchmark ELSE o.limit_price <= m.benchmark END))
ORDER BY o.routed_ns
