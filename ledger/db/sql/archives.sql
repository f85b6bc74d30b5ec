-- What an archive keeps of a trading date and a venue, a query a table: its columns are the file's, its order is that
-- of the rows in the file. `tied_to` is the order that a report was tied to. Columns that change later without a new
-- fact (replays of dead letters) are left out, computed ones (*_at) too. Audit events are in the order of the log's
-- leaves: that in which the outbox gives them out.

-- name: venues
-- DISTINCT in each: without it all rows of a day are sorted.
SELECT DISTINCT venue FROM execution.fills WHERE trade_date = %(day)s
UNION SELECT DISTINCT venue FROM execution.order_reports WHERE trade_date = %(day)s
UNION SELECT DISTINCT venue FROM execution.executions WHERE trade_date = %(day)s
UNION SELECT DISTINCT venue FROM execution.orders WHERE routed_ns >= %(start_ns)s AND routed_ns < %(end_ns)s
UNION SELECT DISTINCT source FROM execution.dead_letters WHERE received_ns >= %(start_ns)s AND received_ns < %(end_ns)s
ORDER BY 1

-- name: fills
SELECT coalesce(t.correlation_id, o.correlation_id, f.correlation_id) AS tied_to,
       f.report_id, f.content, f.trade_date, f.venue, f.account, f.symbol, f.exec_id, f.kind, f.exec_ref_id,
       f.cl_ord_id, f.venue_order_id, f.correlation_id, f.side, f.last_qty, f.last_px, f.cum_qty, f.leaves_qty,
       f.avg_px, f.currency, f.fee, f.fee_currency, f.liquidity, f.transact_ns, f.part_of, f.trade_report_id,
       f.received_ns, f.landed_at, f.feed, f.raw
FROM execution.fills f
LEFT JOIN execution.executions t ON t.trade_date = %(day)s AND t.venue = %(venue)s AND t.execution_id = f.report_id
LEFT JOIN execution.orders o ON o.venue = f.venue AND o.msg_id = f.cl_ord_id
WHERE f.trade_date = %(day)s AND f.venue = %(venue)s
ORDER BY f.received_ns, f.report_id, f.content

-- name: order_reports
SELECT coalesce(o.correlation_id, r.correlation_id) AS tied_to,
       r.report_id, r.trade_date, r.venue, r.account, r.symbol, r.exec_id, r.exec_type, r.ord_status, r.cl_ord_id,
       r.orig_cl_ord_id, r.venue_order_id, r.correlation_id, r.side, r.order_qty, r.limit_price, r.cum_qty,
       r.leaves_qty, r.avg_px, r.reason, r.transact_ns, r.received_ns, r.landed_at, r.feed, r.raw
FROM execution.order_reports r
LEFT JOIN execution.orders o ON o.venue = r.venue AND o.msg_id = r.cl_ord_id
WHERE r.trade_date = %(day)s AND r.venue = %(venue)s
ORDER BY r.received_ns, r.report_id

-- name: executions
SELECT execution_id, trade_date, correlation_id, msg_id, venue, account, symbol, side, exec_id, last_exec_id, status,
       last_qty, last_px, currency, fee, fee_currency, liquidity, transact_ns, match_rule, fee_bps, chain, withheld
FROM execution.executions
WHERE trade_date = %(day)s AND venue = %(venue)s
ORDER BY transact_ns, execution_id

-- name: slippage_metrics
SELECT e.correlation_id, e.venue, e.account, e.symbol, s.execution_id, s.kind, s.trade_date, s.bps, s.benchmark,
       s.benchmark_ns, s.snapshot_id, s.quality, s.quality_reason
FROM execution.slippage_metrics s
JOIN execution.executions e ON e.trade_date = s.trade_date AND e.execution_id = s.execution_id
WHERE s.trade_date = %(day)s AND e.trade_date = %(day)s AND e.venue = %(venue)s
ORDER BY e.transact_ns, s.execution_id, s.kind

-- name: orders
SELECT venue, msg_id, correlation_id, action, orig_msg_id, account, symbol, side, order_qty, limit_price,
       decision_price, currency, routed_ns, venue_order_id
FROM execution.orders
WHERE venue = %(venue)s AND (
    (routed_ns >= %(start_ns)s AND routed_ns < %(end_ns)s)
    OR correlation_id IN (SELECT correlation_id FROM execution.executions
                          WHERE trade_date = %(day)s AND venue = %(venue)s))
ORDER BY routed_ns, msg_id

-- name: dead_letters
SELECT dead_letter_id, source AS venue, feed, reason, field, value, rule, remedy, received_ns, raw
FROM execution.dead_letters
WHERE source = %(venue)s AND received_ns >= %(start_ns)s AND received_ns < %(end_ns)s
ORDER BY received_ns, dead_letter_id

-- name: audit_events
SELECT position, recorded_on, xid::text::bigint AS xid, event_id, event_type, key, body, recorded_by
FROM execution.audit_events
WHERE recorded_on = %(day)s
ORDER BY audit_events.xid, position

-- name: has_audit_events
SELECT EXISTS (SELECT 1 FROM execution.audit_events WHERE recorded_on = %(day)s)

-- name: audit_day_before
SELECT max(d.day)::date FROM generate_series(%(day)s::date - 31, %(day)s::date - 1, interval '1 day') AS d(day)
WHERE (SELECT true FROM execution.audit_events WHERE recorded_on = d.day::date LIMIT 1)

-- name: day_before
-- Day by day, and LIMIT: each looks at one partition's first row.
SELECT max(d.day)::date FROM generate_series(%(day)s::date - 31, %(day)s::date - 1, interval '1 day') AS d(day)
CROSS JOIN LATERAL (SELECT extract(epoch FROM d.day)::bigint * 1000000000 AS start_ns,
                           extract(epoch FROM d.day)::bigint * 1000000000 + 86400000000000 AS end_ns) AS n
WHERE (SELECT true FROM execution.fills WHERE trade_date = d.day::date LIMIT 1)
   OR (SELECT true FROM execution.order_reports WHERE trade_date = d.day::date LIMIT 1)
   OR (SELECT true FROM execution.orders WHERE routed_ns >= n.start_ns AND routed_ns < n.end_ns LIMIT 1)
   OR (SELECT true FROM execution.dead_letters WHERE received_ns >= n.start_ns AND received_ns < n.end_ns LIMIT 1)

-- name: unarchived
-- Days that are over, have records, and were not archived since they were over. LIMIT: one row of one partition.
WITH days AS (
    SELECT d.day::date AS day, extract(epoch FROM d.day)::bigint * 1000000000 AS start_ns,
           extract(epoch FROM d.day + interval '1 day')::bigint * 1000000000 AS end_ns,
           (d.day + interval '1 day') AT TIME ZONE 'UTC' AS over
    FROM generate_series((now() AT TIME ZONE 'UTC')::date - %(days)s::int, (now() AT TIME ZONE 'UTC')::date - 1,
                         interval '1 day') AS d(day))
SELECT 'fills', n.day,
       n.traded AND NOT (EXISTS (SELECT 1 FROM execution.executions_derived v WHERE v.trade_date = n.day)
                         AND EXISTS (SELECT 1 FROM execution.derivations v WHERE v.trade_date = n.day)
                         AND EXISTS (SELECT 1 FROM execution.check_outcomes c
                                     WHERE c.trade_date = n.day AND c.blocking)),
       EXISTS (SELECT 1 FROM execution.check_outcomes c WHERE c.trade_date = n.day AND c.blocking AND NOT c.passed)
FROM (SELECT days.*, coalesce((SELECT true FROM execution.fills WHERE trade_date = days.day LIMIT 1), false) AS traded
      FROM days) AS n
WHERE (n.traded
       OR (SELECT true FROM execution.order_reports WHERE trade_date = n.day LIMIT 1)
       OR (SELECT true FROM execution.orders WHERE routed_ns >= n.start_ns AND routed_ns < n.end_ns LIMIT 1)
       OR (SELECT true FROM execution.dead_letters
           WHERE received_ns >= n.start_ns AND received_ns < n.end_ns LIMIT 1))
  AND NOT EXISTS (SELECT 1 FROM execution.archives a
                  WHERE a.record_class = 'fills' AND a.trade_date = n.day AND a.archived_at >= n.over)
UNION ALL
SELECT 'audit', n.day, false, false FROM days AS n
WHERE (SELECT true FROM execution.audit_events WHERE recorded_on = n.day LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM execution.archives a
                  WHERE a.record_class = 'audit' AND a.trade_date = n.day AND a.archived_at >= n.over)
ORDER BY 2, 1

-- name: record
INSERT INTO execution.archives (
    object_key, object_version, record_class, table_name, trade_date, venue, revision, digest, sha256, size_bytes,
    row_count, key_id, retain_until, schema_version, manifest_key, verified_at)
VALUES (
    %(object_key)s, %(object_version)s, %(record_class)s, %(table_name)s, %(trade_date)s, %(venue)s, %(revision)s,
    %(digest)s, %(sha256)s, %(size_bytes)s, %(row_count)s, %(key_id)s, %(retain_until)s, %(schema_version)s,
    %(manifest_key)s, NULL)
ON CONFLICT (object_key, object_version) DO NOTHING

-- name: recorded
SELECT object_key, object_version, sha256, digest, row_count FROM execution.archives
WHERE record_class = %(record_class)s AND trade_date BETWEEN %(first)s AND %(last)s
  AND (%(venues)s::text[] = '{}' OR venue = ANY(%(venues)s))

-- name: was_dropped
SELECT EXISTS (SELECT 1 FROM execution.archives
               WHERE record_class = %(record_class)s AND trade_date = %(day)s AND dropped_at IS NOT NULL)

-- name: verified
UPDATE execution.archives SET verified_at = clock_timestamp()
WHERE (object_key, object_version) = (%(key)s, %(version)s)

-- name: held
UPDATE execution.archives SET legal_hold = %(on)s WHERE (object_key, object_version) = (%(key)s, %(version)s)

-- name: rewrapped
UPDATE execution.archives SET key_id = %(key_id)s WHERE (object_key, object_version) = (%(key)s, %(version)s)

-- name: dropped
UPDATE execution.archives SET dropped_at = clock_timestamp()
WHERE record_class = %(record_class)s AND trade_date = %(day)s

-- name: access
SELECT execution.record_archive_access(%(event_id)s, %(event)s, %(detail)s::jsonb)

-- name: hand_in
SELECT execution.hand_in_archive_access(%(event_id)s, %(event)s, %(detail)s::jsonb)

-- name: show_login
-- Held as long as the session: other sessions of this database can see whose it is.
SELECT pg_advisory_lock(%(number)s)

-- name: shown_login
SELECT a.usename::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = %(number)s

-- name: login
SELECT session_user::text

-- name: unfinished
SELECT (SELECT count(*) FROM execution.fills_pending WHERE trade_date = %(day)s) AS pending,
       (SELECT count(*) FROM execution.executions WHERE trade_date = %(day)s AND withheld IS NOT NULL) AS withheld,
       (SELECT count(*) FROM execution.breaks b WHERE b.ended_at IS NULL AND EXISTS (
            SELECT 1 FROM execution.executions e
            WHERE e.trade_date = %(day)s AND e.correlation_id = b.correlation_id)) AS breaks

-- name: unpublished
SELECT count(*) AS events FROM execution.audit_events a
WHERE a.recorded_on = %(day)s AND EXISTS (
    SELECT 1 FROM execution.publish_cursors c WHERE (c.xid, c.position) < (a.xid, a.position))
