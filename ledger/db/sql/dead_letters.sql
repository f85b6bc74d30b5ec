-- What came in and is no fact, for a person. Parameters by name, as psycopg reads them.

-- name: listed
SELECT dead_letter_id::text, received_ns, source, feed, reason, field, value, rule, remedy, raw,
       replayed_at, replay_outcome
FROM execution.dead_letters
WHERE (%(venue)s::text IS NULL OR source = %(venue)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(since_ns)s::bigint IS NULL OR received_ns >= %(since_ns)s)
ORDER BY received_ns DESC, dead_letter_id
LIMIT %(limit)s

-- name: beginning
-- Those whose id begins so; one more than are named to a person.
SELECT dead_letter_id::text, received_ns, source, feed, reason, field, value, rule, remedy, raw,
       replayed_at, replay_outcome
FROM execution.dead_letters
WHERE starts_with(replace(dead_letter_id::text, '-', ''), %(prefix)s)
ORDER BY dead_letter_id
LIMIT 6

-- name: selected
-- Those to hand in again, the oldest first.
SELECT dead_letter_id::text, received_ns, source, feed, reason, field, value, rule, remedy, raw, replay_outcome
FROM execution.dead_letters
WHERE (%(ids)s::text[] IS NULL OR EXISTS (
        SELECT 1 FROM unnest(%(ids)s::text[]) AS wanted
        WHERE starts_with(replace(dead_letter_id::text, '-', ''), wanted)))
  AND (%(venue)s::text IS NULL OR source = %(venue)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(since_ns)s::bigint IS NULL OR received_ns >= %(since_ns)s)
ORDER BY received_ns, dead_letter_id
LIMIT %(limit)s

-- name: request
INSERT INTO execution.replay_requests (dead_letter_id, again)
SELECT id, %(again)s FROM unnest(%(ids)s::uuid[]) AS id
RETURNING request_id, dead_letter_id::text

-- name: outcomes
SELECT request_id, dead_letter_id::text, outcome FROM execution.replay_requests
WHERE request_id = ANY(%(request_ids)s) AND done_at IS NOT NULL

-- name: is_known
-- Whether this very fact has landed, and waits still; parameters that do not apply are null.
SELECT EXISTS (SELECT 1 FROM execution.fills WHERE report_id = %(report_id)s::uuid AND content = %(content)s::uuid)
    OR EXISTS (SELECT 1 FROM execution.order_reports WHERE report_id = %(report_id)s::uuid)
    OR EXISTS (SELECT 1 FROM execution.orders WHERE venue = %(venue)s AND msg_id = %(msg_id)s)
    OR EXISTS (SELECT 1 FROM execution.benchmark_snapshots WHERE snapshot_id = %(snapshot_id)s) AS known,
    EXISTS (SELECT 1 FROM execution.fills_pending
            WHERE report_id = %(report_id)s::uuid AND content = %(content)s::uuid AND reason <> 'awaiting_gap') AS waits
