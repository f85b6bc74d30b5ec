-- The story of an order, for a person. Parameters by name, as psycopg reads them. Not for the live path: what is
-- looked for by ExecID is looked for in all days.

-- name: named
-- The orders that a name stands for: a correlation id, a ClOrdID, an OrderID, an ExecID.
SELECT correlation_id, 'correlation id' AS what FROM execution.orders
WHERE correlation_id = %(name)s AND (%(venue)s::text IS NULL OR venue = %(venue)s)
UNION
SELECT correlation_id, 'ClOrdID' FROM execution.orders
WHERE msg_id = %(name)s AND (%(venue)s::text IS NULL OR venue = %(venue)s)
UNION
SELECT correlation_id, CASE kind WHEN 'v' THEN 'OrderID' ELSE 'ClOrdID' END FROM execution.order_references
WHERE reference = %(name)s AND (%(venue)s::text IS NULL OR venue = %(venue)s)
UNION
SELECT correlation_id, 'OrderID' FROM execution.orders
WHERE venue_order_id = %(name)s AND (%(venue)s::text IS NULL OR venue = %(venue)s)
UNION
SELECT correlation_id, 'ExecID' FROM execution.executions
WHERE (exec_id = %(name)s OR last_exec_id = %(name)s) AND (%(venue)s::text IS NULL OR venue = %(venue)s)

-- name: reports_named
-- Reports with this ExecID, and the order each is tied to: of a trade by its execution, while it waits by its row.
SELECT f.*, coalesce(e.correlation_id, p.correlation_id) AS order_id, p.reason AS waits_for, p.since_ns
FROM execution.fills f
LEFT JOIN LATERAL (
    SELECT correlation_id FROM execution.executions WHERE f.kind = 'fill' AND execution_id = f.report_id
    UNION ALL
    SELECT correlation_id FROM execution.executions WHERE f.kind <> 'fill' AND f.report_id = ANY(chain)
) e ON true
LEFT JOIN execution.fills_pending p ON p.report_id = f.report_id AND p.content = f.content
WHERE f.exec_id = %(name)s AND (%(venue)s::text IS NULL OR f.venue = %(venue)s)

-- name: reports_waiting
-- Reports that wait and name their order so; `kind` is c for a ClOrdID alone, v for an OrderID, null for either.
SELECT f.*, p.correlation_id AS order_id, p.reason AS waits_for, p.since_ns
FROM execution.fills_pending p
JOIN execution.fills f ON f.report_id = p.report_id AND f.content = p.content
WHERE (%(venue)s::text IS NULL OR p.venue = %(venue)s)
  AND ((f.cl_ord_id = %(name)s AND %(kind)s::text IS DISTINCT FROM 'v')
       OR (f.venue_order_id = %(name)s AND %(kind)s::text IS DISTINCT FROM 'c'))

-- name: order_reports_named
SELECT * FROM execution.order_reports
WHERE (%(venue)s::text IS NULL OR venue = %(venue)s)
  AND ((exec_id = %(name)s AND %(kind)s::text IS NULL)
       OR (%(name)s IN (cl_ord_id, orig_cl_ord_id) AND %(kind)s::text IS DISTINCT FROM 'v')
       OR (venue_order_id = %(name)s AND %(kind)s::text IS DISTINCT FROM 'c'))

-- name: owners
SELECT DISTINCT o.correlation_id
FROM unnest(%(venues)s::text[], %(kinds)s::text[], %(references)s::text[]) AS r(venue, kind, reference)
JOIN LATERAL (
    SELECT correlation_id FROM execution.orders WHERE r.kind = 'c' AND venue = r.venue AND msg_id = r.reference
    UNION ALL
    SELECT correlation_id FROM execution.order_references
    WHERE venue = r.venue AND kind = r.kind AND reference = r.reference
) o ON true

-- name: orders
SELECT * FROM execution.orders WHERE correlation_id = %(correlation_id)s ORDER BY routed_ns, msg_id

-- name: references
SELECT * FROM execution.order_references WHERE correlation_id = %(correlation_id)s ORDER BY kind, reference

-- name: executions
SELECT * FROM execution.executions WHERE correlation_id = %(correlation_id)s ORDER BY transact_ns, exec_id

-- name: pending
SELECT * FROM execution.fills_pending WHERE correlation_id = %(correlation_id)s ORDER BY since_ns

-- name: fills
SELECT * FROM execution.fills WHERE report_id = ANY(%(report_ids)s::uuid[])

-- name: busts
-- The second bust of a fill is in no chain: it has no effect, and belongs to the story.
SELECT * FROM execution.fills
WHERE kind = 'bust' AND venue = %(venue)s AND exec_ref_id = ANY(%(exec_ids)s::text[])

-- name: order_reports
SELECT DISTINCT ON (o.report_id) o.*
FROM unnest(%(venues)s::text[], %(kinds)s::text[], %(references)s::text[]) AS r(venue, kind, reference)
JOIN LATERAL (
    SELECT * FROM execution.order_reports WHERE r.kind = 'c' AND venue = r.venue AND cl_ord_id = r.reference
    UNION ALL
    SELECT * FROM execution.order_reports WHERE r.kind = 'c' AND venue = r.venue AND orig_cl_ord_id = r.reference
    UNION ALL
    SELECT * FROM execution.order_reports WHERE r.kind = 'v' AND venue = r.venue AND venue_order_id = r.reference
) o ON true

-- name: metrics
SELECT m.*, b.bid, b.ask, b.at_ns
FROM execution.slippage_metrics m
LEFT JOIN execution.benchmark_snapshots b ON b.snapshot_id = m.snapshot_id
WHERE m.execution_id = ANY(%(report_ids)s::uuid[])
ORDER BY m.kind

-- name: totals
SELECT * FROM execution.order_totals WHERE correlation_id = %(correlation_id)s ORDER BY matched_at

-- name: breaks
SELECT * FROM execution.breaks WHERE correlation_id = ANY(%(subjects)s::text[]) ORDER BY opened_at, break_id

-- name: resolutions
SELECT * FROM execution.break_resolutions WHERE correlation_id = %(correlation_id)s ORDER BY at_ns, resolution_id

-- name: votes
SELECT break_id, person, verdict, reason, ours, theirs, at_ns FROM execution.break_votes
WHERE break_id = ANY(%(break_ids)s::uuid[]) ORDER BY vote_id

-- name: notes
SELECT break_id, person, kind, note, noted_at FROM execution.break_notes
WHERE break_id = ANY(%(break_ids)s::uuid[]) ORDER BY note_id

-- name: events
-- By day, since events are found by their order in no index. An event is published when a cursor has passed it.
SELECT e.event_id, e.event_type, e.recorded_on, e.body,
       (SELECT bool_or((e.xid, e.position) <= (c.xid, c.position)) FROM execution.publish_cursors c) AS is_published
FROM execution.audit_events e
WHERE e.key = ANY(%(keys)s::text[]) AND e.recorded_on >= %(since)s::date
ORDER BY e.xid, e.position

-- name: dead_letters
-- Those of the order's own reports, whose grace time ended, all of them; and the oldest of those whose bytes hold one
-- of these names.
SELECT dead_letter_id::text, source, feed, received_ns, reason, field, value, rule, remedy, replayed_at, replay_outcome
FROM execution.dead_letters
WHERE dead_letter_id = ANY(%(ids)s::uuid[]) OR dead_letter_id IN (
    SELECT d.dead_letter_id FROM execution.dead_letters d
    WHERE EXISTS (SELECT FROM unnest(%(names)s::bytea[]) AS n(name) WHERE position(n.name IN d.raw) > 0)
    ORDER BY d.received_ns LIMIT 20)
ORDER BY received_ns, dead_letter_id
