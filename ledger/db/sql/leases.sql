-- The writer's lease: a row with a token, and an advisory lock on the session that lands.

-- name: takeover
-- One taker at a time: what it reads of the holder is still so when it acts on it.
SELECT pg_try_advisory_xact_lock(hashtextextended('execution.takeover:' || $1, 0))

-- name: lock
SELECT pg_try_advisory_lock(hashtextextended('execution.writer:' || $1, 0))

-- name: known
-- A lease from the future was renewed before the server's clock was set back: it says nothing. One with the taker's
-- own last token is the taker's, whose session got lost.
SELECT holder, token,
       expires_at < clock_timestamp() OR renewed_at > clock_timestamp() + interval '1 s' OR token = $2 AS is_over
FROM execution.leases WHERE writer = $1

-- name: end_holder
-- The session that has the lock, whoever's it is; waits a second at most for its end.
SELECT count(pg_terminate_backend(l.pid, 1000))
FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('execution.writer:' || $1, 0)

-- name: hold_row
-- Waits for a landing of the holder that is about to commit; none can begin meanwhile.
SELECT token FROM execution.leases WHERE writer = $1 FOR UPDATE

-- name: take
INSERT INTO execution.leases AS l (writer, token, holder, taken_at, renewed_at, expires_at)
VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp(), clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (writer) DO UPDATE
SET token = l.token + 1, holder = excluded.holder, taken_at = excluded.taken_at,
    renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
RETURNING token

-- name: renew
-- No key changes: it does not wait for a landing, which holds the row FOR KEY SHARE.
UPDATE execution.leases
SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE writer = $1 AND token = $2
RETURNING token

-- name: idle_since
-- When the server last did something for a session, s: null while it is at work, 0 where it has ended it.
SELECT CASE WHEN NOT coalesce(bool_or(state = 'active' AND coalesce(wait_event_type, '') <> 'Client'), false)
       THEN coalesce(extract(epoch FROM max(state_change))::double precision, 0) END
FROM pg_stat_activity WHERE pid = $1
