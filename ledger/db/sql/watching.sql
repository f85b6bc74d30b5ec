-- What the sensors watch (sensors). Parameters by name, as psycopg reads them.

-- name: fill_lag
-- By venue: since when its oldest report waits, and the p95 from received to landed of the last minutes.
WITH waiting AS (
    SELECT venue, min(since_ns) AS oldest_ns, count(*) AS waiting FROM execution.fills_pending GROUP BY venue
), recent AS (
    SELECT venue, count(*) AS reports,
           percentile_disc(0.95) WITHIN GROUP (
               ORDER BY (extract(epoch FROM landed_at) * 1000000)::bigint - received_ns / 1000) AS p95_us,
           min(received_ns) AS first_ns
    FROM execution.fills
    WHERE landed_at > %(since)s AND trade_date >= %(since)s::date - 1
    GROUP BY venue
)
SELECT coalesce(w.venue, r.venue) AS venue, w.oldest_ns, coalesce(w.waiting, 0) AS waiting,
       coalesce(r.reports, 0) AS reports, r.p95_us, r.first_ns
FROM waiting w FULL JOIN recent r USING (venue)
ORDER BY 1

-- name: unpublished
-- Publishers that have events behind their cursors, and where those stand. Events have no time of their own here:
-- how long one waits is how long its cursor has not moved.
SELECT c.publisher, c.xid::text || ':' || c.position AS mark
FROM execution.publish_cursors c
WHERE EXISTS (
    SELECT 1 FROM execution.audit_events a
    WHERE (a.xid, a.position) > (c.xid, c.position) AND a.xid < pg_snapshot_xmin(pg_current_snapshot()))
ORDER BY c.publisher

-- name: derived_since
-- The days whose derivation has ended since, each time it did; the oldest first.
SELECT trade_date AS day, (extract(epoch FROM derived_at) * 1000000)::bigint AS derived_us
FROM execution.executions_derived
WHERE derived_at > %(since)s
ORDER BY derived_at, trade_date
LIMIT %(limit)s

-- name: replayable
-- Dead letters that waited for what has landed since, in the reconciled days: a bust or correct whose ExecRefID is
-- there, a total whose venue waits for no fill any more. Never one that was replayed or asked for before. Only those
-- that can be facts now count towards the limit: letters that wait for ever must not hide the ones behind them.
WITH waited AS (
    SELECT d.dead_letter_id, d.source, d.field, d.value, d.received_ns, d.received_at
    FROM execution.dead_letters d
    WHERE d.reason = 'out_of_order' AND d.replayed_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM execution.replay_requests r WHERE r.dead_letter_id = d.dead_letter_id)
), due AS (
    SELECT w.dead_letter_id, w.received_ns
    FROM waited w JOIN execution.fills f ON f.venue = w.source AND f.exec_id = w.value
    WHERE w.field = 'exec_ref_id' AND f.trade_date = ANY(%(days)s)
    UNION  -- a fill may have several versions: a letter once
    SELECT w.dead_letter_id, w.received_ns
    FROM waited w
    WHERE w.field <> 'exec_ref_id' AND (w.received_at AT TIME ZONE 'UTC')::date = ANY(%(days)s)
      AND NOT EXISTS (SELECT 1 FROM execution.fills_pending p
                      WHERE p.venue = w.source AND p.reason = 'awaiting_gap')
)
SELECT dead_letter_id::text AS dead_letter_id FROM due ORDER BY received_ns, due.dead_letter_id LIMIT %(limit)s
