-- Breaks as people handle them. Parameters by name, as psycopg reads them.

-- name: listed
-- The oldest first. The venue of a break without an order is in its subject.
SELECT b.break_id, b.correlation_id, b.kind, b.report_id, b.ours, b.theirs, b.opened_at, b.ended_at, b.ended_how,
       extract(epoch FROM coalesce(b.ended_at, clock_timestamp()) - b.opened_at)::float8 AS seconds,
       coalesce(o.venue, split_part(b.correlation_id, ':', 1)) AS venue,
       owned.note AS owner,
       voted.releases, voted.rejects
FROM execution.breaks b
LEFT JOIN LATERAL (
    SELECT venue FROM execution.orders WHERE correlation_id = b.correlation_id LIMIT 1
) o ON true
LEFT JOIN LATERAL (
    SELECT note FROM execution.break_notes n WHERE n.break_id = b.break_id AND n.kind = 'owner'
    ORDER BY note_id DESC LIMIT 1
) owned ON true
LEFT JOIN LATERAL (  -- of each person the last vote on these values, as ledger.domain.verdicts.agreed has it
    SELECT count(*) FILTER (WHERE verdict = 'release') AS releases, count(*) FILTER (WHERE verdict = 'reject') AS rejects
    FROM (
        SELECT DISTINCT ON (v.person) v.verdict, v.ours, v.theirs FROM execution.break_votes v
        WHERE v.break_id = b.break_id AND v.at_ns >= (extract(epoch FROM b.opened_at) * 1000000000)::bigint
          AND NOT EXISTS (SELECT 1 FROM execution.desk_outcomes d
                          WHERE d.break_id = v.break_id AND v.vote_id = ANY(d.votes))
        ORDER BY v.person, v.vote_id DESC
    ) last_of_each
    WHERE (ours, theirs) = (b.ours, b.theirs)
) voted ON true
WHERE (%(all)s OR b.ended_at IS NULL)
  AND (%(venue)s::text IS NULL OR coalesce(o.venue, split_part(b.correlation_id, ':', 1)) = %(venue)s)
  AND (%(kind)s::text IS NULL OR b.kind = %(kind)s)
  AND (%(owner)s::text IS NULL OR owned.note = %(owner)s)
  AND (%(seconds)s::float8 IS NULL OR clock_timestamp() - b.opened_at >= make_interval(secs => %(seconds)s))
  AND (%(prefix)s::text IS NULL OR starts_with(replace(b.break_id::text, '-', ''), %(prefix)s))
ORDER BY b.opened_at, b.break_id

-- name: orders
SELECT venue, msg_id, action, orig_msg_id, account, symbol, side, order_qty, limit_price, routed_at
FROM execution.orders WHERE correlation_id = %(correlation_id)s ORDER BY routed_ns, msg_id

-- name: state
SELECT order_qty, cum_qty, leaves_qty, avg_px, execution_count, closed, pending, held, base
FROM execution.order_states WHERE correlation_id = %(correlation_id)s

-- name: executions
SELECT execution_id, exec_id, last_exec_id, status, side, last_qty, last_px, symbol, transact_at,
       coalesce(chain, '{}') AS chain, coalesce(withheld, '{}') AS withheld
FROM execution.executions WHERE correlation_id = %(correlation_id)s
ORDER BY transact_ns, exec_id

-- name: reports
-- The reports of the order's executions, and what the break itself is about.
SELECT f.report_id, f.content, f.kind, f.exec_id, f.exec_ref_id, f.side, f.last_qty, f.last_px, f.symbol,
       f.cum_qty, f.avg_px, f.transact_at, f.received_at, f.feed, f.raw
FROM execution.fills f
WHERE f.report_id = ANY(%(report_ids)s::uuid[])
ORDER BY f.transact_ns, f.received_ns, f.exec_id

-- name: pending_reports
SELECT p.report_id FROM execution.fills_pending p
WHERE p.correlation_id = %(correlation_id)s
   OR (p.venue || ':' || p.reference_kind || ':' || p.reference) = %(correlation_id)s

-- name: votes
SELECT v.vote_id, v.break_id, v.correlation_id, v.verdict, v.person, v.reason, v.ours, v.theirs, v.at_ns,
       v.voted_at, o.outcome, o.why, o.votes AS used
FROM execution.break_votes v
LEFT JOIN execution.desk_outcomes o ON o.break_id = v.break_id AND v.vote_id = ANY(o.votes)
WHERE v.break_id = %(break_id)s
ORDER BY v.vote_id

-- name: notes
SELECT person, kind, note, noted_at FROM execution.break_notes WHERE break_id = %(break_id)s ORDER BY note_id

-- name: vote
INSERT INTO execution.break_votes (break_id, verdict, reason, ours, theirs)
VALUES (%(break_id)s, %(verdict)s, %(reason)s, %(ours)s, %(theirs)s)
RETURNING vote_id, person

-- name: note
INSERT INTO execution.break_notes (break_id, kind, note)
VALUES (%(break_id)s, %(kind)s, %(note)s)
RETURNING person

-- name: outcome
SELECT outcome, why, xid::text AS xid FROM execution.desk_outcomes WHERE resolution_id = %(resolution_id)s

-- name: resolution
SELECT verdict, requested_by, approved_by, reason, voids FROM execution.break_resolutions
WHERE resolution_id = %(resolution_id)s

-- name: events_of
-- What was told in the transaction of a verdict, by the index of the outbox.
SELECT event_type, body FROM execution.audit_events
WHERE xid = %(xid)s::xid8 AND key = %(correlation_id)s
ORDER BY position

-- name: executions_of
SELECT execution_id, exec_id, status, side, last_qty, last_px, symbol FROM execution.executions
WHERE execution_id = ANY(%(execution_ids)s::uuid[]) ORDER BY transact_ns, exec_id

-- name: wordings
SELECT w.report_id, f.exec_id, f.side, f.last_qty, f.last_px, f.symbol
FROM unnest(%(report_ids)s::uuid[], %(contents)s::uuid[]) AS w(report_id, content)
JOIN execution.fills f USING (report_id, content)
ORDER BY f.received_ns, f.content

-- name: others_open
SELECT count(*) FILTER (WHERE break_id <> %(break_id)s::uuid) AS others,
       count(*) FILTER (WHERE break_id = %(break_id)s::uuid) > 0 AS itself
FROM execution.breaks
WHERE correlation_id = %(correlation_id)s AND ended_at IS NULL

-- name: is_written
-- Whether a session holds the writer's lease (ledger/db/sql/leases.sql).
SELECT EXISTS (
    SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('execution.writer:' || %(writer)s, 0)
) AS held

-- name: may_write
SELECT has_table_privilege('execution.fills', 'INSERT') AS allowed
