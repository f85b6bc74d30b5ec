-- What people at the desk ask of the writer, and is not answered yet (streaming.feeds.desk).

-- name: open_votes
-- The votes on open breaks that no outcome has used up, in the order in which they were cast. Those from before the
-- break opened again are of another time.
SELECT v.vote_id, v.break_id, v.correlation_id, v.verdict, v.person, v.reason, v.ours, v.theirs, v.at_ns
FROM execution.breaks b
JOIN execution.break_votes v USING (break_id)
WHERE b.ended_at IS NULL
  AND v.at_ns >= (extract(epoch FROM b.opened_at) * 1000000000)::bigint
  AND NOT EXISTS (SELECT 1 FROM execution.desk_outcomes o
                  WHERE o.break_id = v.break_id AND v.vote_id = ANY(o.votes))
ORDER BY v.vote_id

-- name: open_requests
SELECT r.request_id, r.again, r.person, d.dead_letter_id, d.source, d.feed, d.reason, d.raw,
       d.replayed_at, d.replay_outcome
FROM execution.replay_requests r
JOIN execution.dead_letters d USING (dead_letter_id)
WHERE r.done_at IS NULL
ORDER BY r.request_id
LIMIT $1

-- name: skip_requests
UPDATE execution.replay_requests r SET done_at = clock_timestamp(), outcome = s.outcome
FROM unnest($1::bigint[], $2::text[]) AS s(request_id, outcome)
WHERE r.request_id = s.request_id AND r.done_at IS NULL

-- name: open_halt_requests
SELECT request_id, venue, action, reason, person, at_ns FROM execution.halt_requests
WHERE done_at IS NULL
ORDER BY request_id
LIMIT $1

-- name: refuse_halts
UPDATE execution.halt_requests r SET done_at = clock_timestamp(), outcome = s.outcome
FROM unnest($1::bigint[], $2::text[]) AS s(request_id, outcome)
WHERE r.request_id = s.request_id AND r.done_at IS NULL
