-- The Merkle tree over the audit events: its leaves in the order of the outbox, its tiles, its checkpoints.

-- name: leaves
-- The next leaves behind (xid, position), of transactions that have all ended: hashed here, so that the rows stay
-- where they are. The constant is 0, the mark of a leaf, then audit_event/1 and a newline; ledger.db.audit_entries
-- has the same bytes for whoever checks.
SELECT count(*) AS count,
       count(*) FILTER (WHERE p.event_type <> 'checkpoint') AS decisions,
       coalesce(string_agg(sha256(
           '\x0061756469745f6576656e742f310a'::bytea || int8send(p.position) || int4send(p.recorded_on - DATE '1970-01-01')
           || xid8send(p.xid) || uuid_send(p.event_id)
           || int4send(octet_length(p.event_type)) || convert_to(p.event_type, 'UTF8')
           || int4send(octet_length(p.key)) || convert_to(p.key, 'UTF8')
           || int4send(octet_length(p.recorded_by)) || convert_to(p.recorded_by, 'UTF8')
           || int4send(octet_length(p.body)) || p.body
       ), ''::bytea ORDER BY p.xid, p.position), ''::bytea) AS leaves,
       coalesce(array_agg(p.xid::text::bigint ORDER BY p.xid, p.position), '{}') AS xids,
       coalesce(array_agg(p.position ORDER BY p.xid, p.position), '{}') AS positions
FROM (
    SELECT * FROM execution.audit_events
    WHERE (xid, position) > ($1::text::xid8, $2::bigint)
      AND xid < least(pg_snapshot_xmin(pg_current_snapshot()), $4::text::xid8)
    ORDER BY audit_events.xid, position
    LIMIT $3
) p

-- name: tree
SELECT origin, tree_size, xid::text::bigint AS xid, position, stored_size, tiled_size
FROM execution.audit_tree WHERE log = $1

-- name: plant
INSERT INTO execution.audit_tree (log, origin, tree_size, xid, position) VALUES ($1, $2, 0, '0', 0)
ON CONFLICT (log) DO NOTHING

-- name: grow
-- Only from the size it was: a process that lost its lease cannot write over its successor's tree.
UPDATE execution.audit_tree
SET tree_size = $3, xid = $4::text::xid8, position = $5, updated_at = clock_timestamp()
WHERE log = $1 AND tree_size = $2
RETURNING tree_size

-- name: write_tiles
INSERT INTO execution.audit_tiles (level, number, hashes, first_xid, first_position)
SELECT t.level, t.number, t.hashes, t.first_xid::text::xid8, t.first_position
FROM unnest($1::int[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[])
    AS t(level, number, hashes, first_xid, first_position)
ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes

-- name: tiles
SELECT t.level, t.number, t.hashes, t.first_xid::text::bigint AS first_xid, t.first_position
FROM execution.audit_tiles t
JOIN unnest($1::int[], $2::bigint[]) AS w(level, number) USING (level, number)

-- name: record_checkpoint
INSERT INTO execution.audit_checkpoints (tree_size, root_hash, note) VALUES ($1, $2, $3)
ON CONFLICT (tree_size) DO NOTHING
RETURNING tree_size

-- name: record_event
INSERT INTO execution.audit_events (event_id, event_type, key, body) VALUES ($1, $2, $3, $4)

-- name: dropped
-- Leaves from $1 on whose rows went with their partition.
SELECT first_leaf, last_leaf FROM execution.audit_dropped_leaves WHERE last_leaf >= $1 ORDER BY first_leaf

-- name: newest_checkpoint
SELECT tree_size, root_hash, note FROM execution.audit_checkpoints ORDER BY tree_size DESC LIMIT 1

-- name: ensure_partitions
SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)
WHERE to_regclass('execution.audit_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL

-- name: stored
UPDATE execution.audit_tree
SET stored_size = greatest(stored_size, $2), tiled_size = greatest(tiled_size, $3) WHERE log = $1
