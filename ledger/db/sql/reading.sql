-- What the book asks for. No trade date is known: an order may span days.

-- name: owners
-- LATERAL with LIMIT: one index probe a reference, whatever the planner thinks of tables not yet analysed. A
-- reference that two orders share is the first one's, as in derivation.sql.
SELECT DISTINCT o.correlation_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS r(venue, kind, reference)
JOIN LATERAL (
    (SELECT correlation_id FROM execution.orders
     WHERE r.kind = 'c' AND venue = r.venue AND msg_id = r.reference LIMIT 1)
    UNION ALL
    (SELECT correlation_id FROM execution.order_references
     WHERE venue = r.venue AND kind = r.kind AND reference = r.reference
     ORDER BY routed_ns, msg_id COLLATE "C" LIMIT 1)
) o ON true

-- name: orders
SELECT * FROM execution.orders WHERE correlation_id = ANY($1::text[])

-- name: executions
SELECT * FROM execution.executions WHERE correlation_id = ANY($1::text[])

-- name: landed_lately
-- The orders of the newest fills, the newest first.
SELECT e.correlation_id
FROM (
    SELECT report_id, landed_at FROM execution.fills
    WHERE landed_at > now() - make_interval(secs => $1) AND kind = 'fill'
    ORDER BY landed_at DESC LIMIT $2
) f
JOIN execution.executions e ON e.execution_id = f.report_id
GROUP BY e.correlation_id
ORDER BY max(f.landed_at) DESC
LIMIT $3

-- name: waiting_references
SELECT correlation_id, report_id, overdue_at IS NOT NULL AS is_overdue FROM execution.fills_pending
WHERE correlation_id = ANY($1::text[]) AND reason = 'awaiting_reference'

-- name: gaps
-- Without a grace time there is a break at once, and no row is overdue.
SELECT report_id, correlation_id, since_ns, overdue_at IS NOT NULL AS is_overdue,
       EXISTS (SELECT 1 FROM execution.breaks b
               WHERE b.correlation_id = p.correlation_id AND b.ended_at IS NULL
                 AND b.kind IN ('cum_qty_differs', 'avg_px_differs')) AS is_break
FROM execution.fills_pending p
WHERE correlation_id = ANY($1::text[]) AND reason = 'awaiting_gap'

-- name: learned
SELECT * FROM execution.order_references WHERE correlation_id = ANY($1::text[])

-- name: resolutions
SELECT * FROM execution.break_resolutions WHERE correlation_id = ANY($1::text[]) ORDER BY at_ns, resolution_id

-- name: has_order_reports
SELECT EXISTS (SELECT 1 FROM execution.order_reports) AS has_order_reports

-- name: order_reports_of
-- Whatever names one of these references, the venue's order id included; told apart by whom it is tied to.
SELECT DISTINCT ON (o.report_id) o.*
FROM unnest($1::text[], $2::text[], $3::text[]) AS r(venue, kind, reference)
JOIN LATERAL (
    SELECT * FROM execution.order_reports WHERE r.kind = 'c' AND venue = r.venue AND cl_ord_id = r.reference
    UNION ALL
    SELECT * FROM execution.order_reports WHERE r.kind = 'c' AND venue = r.venue AND orig_cl_ord_id = r.reference
    UNION ALL
    SELECT * FROM execution.order_reports WHERE r.kind = 'v' AND venue = r.venue AND venue_order_id = r.reference
) o ON true

-- name: overdue
-- What has waited longer than its grace time, the oldest first.
SELECT p.report_id AS row_id, p.reason, p.correlation_id AS order_id, f.*
FROM execution.fills_pending p
JOIN execution.fills f
  ON f.report_id = p.report_id AND f.content = p.content AND f.trade_date = p.trade_date
WHERE p.overdue_at IS NULL
  AND ((p.reason = 'awaiting_intent' AND p.since_ns < $1)
    OR (p.reason = 'awaiting_reference' AND p.since_ns < $2))
ORDER BY p.since_ns
LIMIT $3

-- name: overdue_gaps
-- The row of a gap names the report that claims more as its content.
SELECT DISTINCT ON (p.report_id) p.report_id AS row_id, p.correlation_id AS order_id, false AS is_total, f.*
FROM execution.fills_pending p
JOIN execution.fills f ON f.report_id = p.content
WHERE p.overdue_at IS NULL AND p.reason = 'awaiting_gap' AND p.since_ns < $1
ORDER BY p.report_id, f.content
LIMIT $2

-- name: overdue_totals
SELECT p.report_id AS row_id, p.correlation_id AS order_id, true AS is_total, o.*
FROM execution.fills_pending p
JOIN execution.order_reports o ON o.report_id = p.content
WHERE p.overdue_at IS NULL AND p.reason = 'awaiting_gap' AND p.since_ns < $1
LIMIT $2

-- name: reports
-- Every wording but those that wait for another reference to become an order's.
SELECT * FROM execution.fills f
WHERE report_id = ANY($1::uuid[])
  AND NOT EXISTS (SELECT 1 FROM execution.fills_pending p
                  WHERE p.report_id = f.report_id AND p.content = f.content AND p.reason = 'awaiting_intent')

-- name: busts_of
-- The second bust of a fill is in no chain: it has no effect, but it may come again, or disagree.
SELECT f.*
FROM unnest($1::text[], $2::text[]) AS r(venue, exec_id)
JOIN execution.fills f ON f.kind = 'bust' AND f.venue = r.venue AND f.exec_ref_id = r.exec_id

-- name: metrics
SELECT * FROM execution.slippage_metrics WHERE execution_id = ANY($1::uuid[])

-- name: all_pending
SELECT f.*, p.overdue_at IS NOT NULL AS is_overdue
FROM execution.fills_pending p
JOIN execution.fills f ON f.report_id = p.report_id AND f.content = p.content AND f.trade_date = p.trade_date
WHERE p.reason = 'awaiting_intent'
LIMIT $1

-- name: pending
-- By the reference that ties it, and by the OrderID beside a ClOrdID that nobody knows.
SELECT f.*, w.is_overdue
FROM (
    SELECT p.report_id, p.content, p.trade_date, p.overdue_at IS NOT NULL AS is_overdue
    FROM unnest($1::text[], $2::text[], $3::text[]) AS r(venue, kind, reference)
    JOIN execution.fills_pending p
      ON p.venue = r.venue AND p.reference_kind = r.kind AND p.reference = r.reference
     AND p.reason = 'awaiting_intent'
    UNION
    SELECT p.report_id, p.content, p.trade_date, p.overdue_at IS NOT NULL
    FROM unnest($1::text[], $2::text[], $3::text[]) AS r(venue, kind, reference)
    JOIN execution.fills_pending p
      ON r.kind = 'v' AND p.venue = r.venue AND p.venue_order_id = r.reference AND p.reason = 'awaiting_intent'
) w
JOIN execution.fills f ON f.report_id = w.report_id AND f.content = w.content AND f.trade_date = w.trade_date

-- name: known_snapshots
SELECT snapshot_id FROM execution.benchmark_snapshots WHERE snapshot_id = ANY($1::text[])

-- name: known_dead_letters
SELECT dead_letter_id FROM execution.dead_letters WHERE dead_letter_id = ANY($1::uuid[])

-- name: snapshots_at
SELECT w.symbol AS wanted_symbol, w.at_ns AS wanted_ns, s.*
FROM unnest($1::text[], $2::bigint[]) AS w(symbol, at_ns)
LEFT JOIN LATERAL (
    SELECT * FROM execution.benchmark_snapshots b
    WHERE b.symbol = w.symbol AND b.at_ns <= w.at_ns
    ORDER BY b.at_ns DESC, b.snapshot_id COLLATE "C" DESC  -- as memory compares them
    LIMIT 1
) s ON true

-- name: snapshots_before
-- The last of every symbol before a time, with all of that instant; one index probe a symbol finds the next symbol.
WITH RECURSIVE symbols AS (
    (SELECT symbol FROM execution.benchmark_snapshots ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT b.symbol FROM execution.benchmark_snapshots b WHERE b.symbol > s.symbol ORDER BY b.symbol LIMIT 1)
    FROM symbols s WHERE s.symbol IS NOT NULL
)
SELECT before.*
FROM symbols
CROSS JOIN LATERAL (
    SELECT * FROM execution.benchmark_snapshots b
    WHERE b.symbol = symbols.symbol AND b.at_ns = (
        SELECT max(o.at_ns) FROM execution.benchmark_snapshots o
        WHERE o.symbol = symbols.symbol AND o.at_ns < $1
    )
) before

-- name: recent_snapshots
SELECT * FROM execution.benchmark_snapshots WHERE at_ns >= $1 AND taken_on >= $2 ORDER BY at_ns

-- name: open_counts
SELECT (SELECT count(*) FROM execution.fills_pending) AS pending,
       (SELECT count(*) FROM execution.breaks WHERE ended_at IS NULL) AS breaks

-- name: positions
SELECT feed, stream, incarnation, position FROM execution.feed_positions

-- name: open_halts
SELECT halt_id, venue, cause, halted_ns, halted_by, reason FROM execution.halts WHERE resumed_ns IS NULL

-- name: last_received
SELECT max(received_ns) AS received_ns FROM execution.fills
WHERE venue = $1 AND feed = $2 AND received_ns < $3 AND trade_date >= (now() AT TIME ZONE 'UTC')::date - 1

-- name: unrecovered
-- A switch to a backup, the return, a gap that was not filled, numbers that start over (a gap that ends when it
-- begins): each is followed by a look-back up to its time. An audit over it does as well.
WITH missed AS (
    SELECT s.venue, s.switched_ns AS until_ns, 'feed_switched' AS why, s.from_feed AS feed, (
        SELECT max(o.began_ns) FROM execution.feed_outages o
        WHERE o.venue = s.venue AND o.feed = s.from_feed AND o.began_ns <= s.switched_ns
          AND o.ended_ns IS DISTINCT FROM o.began_ns
    ) AS began_ns
    FROM execution.feed_switches s
    UNION ALL
    SELECT venue, returned_ns, 'feed_returned', NULL, switched_ns FROM execution.feed_switches
    UNION ALL
    SELECT venue, told_ns, 'feed_outage', feed, began_ns FROM execution.feed_outages WHERE cause = 'gap'
)
SELECT venue, coalesce(began_ns, until_ns) AS since_ns, until_ns, why, feed FROM missed
WHERE until_ns > (extract(epoch FROM now() - make_interval(secs => $1)) * 1000000000)::bigint
  AND NOT EXISTS (
    SELECT FROM execution.look_back_audits a
    WHERE a.venue = missed.venue AND a.reason IN ('recovery', 'audit')
      AND a.from_ns < missed.until_ns AND a.until_ns >= missed.until_ns
  )
ORDER BY until_ns

-- name: open_outages
SELECT outage_id, venue, feed, cause, began_ns FROM execution.feed_outages WHERE ended_ns IS NULL

-- name: open_switches
SELECT switch_id, venue, from_feed, to_feed, switched_ns, reason FROM execution.feed_switches WHERE returned_ns IS NULL

-- name: open_clock_alerts
SELECT alert_id, venue FROM execution.clock_alerts WHERE ended_ns IS NULL

-- name: open_orders
-- The newest first: there may be more than are asked for.
SELECT venue, correlation_id, symbol, (extract(epoch FROM routed_at) * 1000000000)::bigint AS routed_ns
FROM execution.order_states
WHERE leaves_qty > 0 AND routed_at > now() - make_interval(secs => $1)
ORDER BY routed_at DESC LIMIT $2
