-- The audit log read by those who check it.

-- name: rows
SELECT position, recorded_on, xid::text::bigint AS xid, event_id, event_type, key, recorded_by, body
FROM execution.audit_events
WHERE (xid, position) > (%(xid)s::text::xid8, %(position)s)
  AND (xid, position) <= (%(last_xid)s::text::xid8, %(last_position)s)
ORDER BY audit_events.xid, position
LIMIT %(limit)s

-- name: beyond
-- What has landed and is in no leaf yet.
SELECT count(*) AS rows FROM execution.audit_events WHERE (xid, position) > (%(xid)s::text::xid8, %(position)s)

-- name: tree
SELECT origin, tree_size, xid::text::bigint AS xid, position, stored_size, tiled_size
FROM execution.audit_tree WHERE log = 'audit'

-- name: tiles
SELECT level, number, hashes FROM execution.audit_tiles
WHERE level = %(level)s AND number >= %(first)s AND number < %(until)s ORDER BY number

-- name: some_tiles
SELECT t.level, t.number, t.hashes FROM execution.audit_tiles t
JOIN unnest(%(levels)s::int[], %(numbers)s::bigint[]) AS w(level, number) USING (level, number)

-- name: checkpoints
SELECT tree_size, root_hash, note FROM execution.audit_checkpoints WHERE tree_size > %(after)s
ORDER BY tree_size LIMIT %(limit)s

-- name: covering
-- The newest checkpoint that has leaf %(index)s; at %(size)s where one is named.
SELECT tree_size, root_hash, note, made_at FROM execution.audit_checkpoints
WHERE tree_size > %(index)s AND (%(size)s::bigint IS NULL OR tree_size = %(size)s)
ORDER BY tree_size DESC LIMIT 1

-- name: checkpoint
SELECT tree_size, root_hash, note, made_at FROM execution.audit_checkpoints WHERE tree_size = %(size)s

-- name: by_event
SELECT position, recorded_on, xid::text::bigint AS xid, event_id, event_type, key, recorded_by, body
FROM execution.audit_events WHERE event_id = %(event_id)s ORDER BY audit_events.xid, position LIMIT 2

-- name: by_position
SELECT position, recorded_on, xid::text::bigint AS xid, event_id, event_type, key, recorded_by, body
FROM execution.audit_events WHERE position = %(position)s

-- name: tile_of
-- A row's tile is the last one that does not begin behind it.
SELECT number FROM execution.audit_tiles
WHERE level = 0 AND (first_xid, first_position) <= (%(xid)s::text::xid8, %(position)s)
ORDER BY first_xid DESC, first_position DESC LIMIT 1

-- name: first_of
-- Where the rows of a tile begin.
SELECT first_xid::text::bigint AS xid, first_position AS position FROM execution.audit_tiles
WHERE level = 0 AND number = %(number)s

-- name: dropped
-- Leaves whose rows went with their partition.
SELECT first_leaf, last_leaf, recorded_on FROM execution.audit_dropped_leaves WHERE last_leaf >= %(first)s
ORDER BY first_leaf

-- name: waiting_drops
-- Partitions that were dropped just now. A row of a transaction that is yet to come never gets a leaf: it is none.
SELECT position, recorded_on, xid::text::bigint AS xid, event_id, event_type, key, recorded_by, body
FROM execution.audit_events
WHERE (xid, position) > (%(xid)s::text::xid8, %(position)s) AND xid < pg_snapshot_xmax(pg_current_snapshot())
  AND event_type = 'archive_partition_dropped'
ORDER BY audit_events.xid, position

-- name: drop_leaves
INSERT INTO execution.audit_dropped_leaves (first_leaf, last_leaf, recorded_on)
VALUES (%(first)s, %(last)s, %(day)s)

-- name: last_verified
-- The verifications that found nothing wrong, the newest first, and when the whole log was verified last. One that is
-- yet to be is none.
SELECT tree_size, root_hash, max(verified_at) FILTER (WHERE from_size = 0) OVER () AS whole_at
FROM execution.audit_verifications WHERE problems = '{}' AND verified_at <= clock_timestamp()
ORDER BY verification_id DESC LIMIT %(limit)s

-- name: faults_told
SELECT DISTINCT unnest(faults) AS fault FROM execution.audit_verifications

-- name: verified
INSERT INTO execution.audit_verifications (from_size, tree_size, root_hash, problems, faults)
VALUES (%(from_size)s, %(tree_size)s, %(root_hash)s, %(problems)s, %(faults)s)
