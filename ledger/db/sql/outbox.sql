-- The landed audit events as an outbox. (xid, position) with xid below every running transaction: an event
-- that commits late cannot fall behind the cursor.

-- name: cursor
SELECT incarnation, xid::text::bigint AS xid, position, tails FROM execution.publish_cursors WHERE publisher = $1

-- name: save_cursor
INSERT INTO execution.publish_cursors (publisher, incarnation, xid, position, tails)
VALUES ($1, $2, $3::text::xid8, $4, $5)
ON CONFLICT (publisher) DO UPDATE
SET incarnation = excluded.incarnation, xid = excluded.xid, position = excluded.position,
    tails = excluded.tails, updated_at = clock_timestamp()

-- name: page
SELECT xid::text::bigint AS xid, position, event_id, event_type
FROM execution.audit_events
WHERE (xid, position) > ($1::text::xid8, $2::bigint) AND xid < $4::text::xid8
ORDER BY audit_events.xid, position
LIMIT $3

-- name: bodies
SELECT e.event_id, e.event_type, e.key, e.body, d.raw
FROM execution.audit_events e
LEFT JOIN execution.dead_letters d ON e.event_type = 'dead_letter' AND d.dead_letter_id = e.event_id
WHERE e.position = ANY($1::bigint[])
ORDER BY e.xid, e.position

-- name: horizon
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS all_before,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS none_from

-- name: refill_start
-- Where no event is of those days, there is nothing to fill topics with.
SELECT coalesce(min(xid), pg_snapshot_xmin(pg_current_snapshot()))::text::bigint AS xid FROM execution.audit_events
WHERE recorded_on >= (now() AT TIME ZONE 'UTC' - make_interval(secs => $1))::date
