-- ``execution-agent halts``: what is halted, and what persons ask for.

-- name: listed
SELECT halt_id, venue, cause, reason, figure, limit_value, since_at, halted_at, halted_by, resumed_at, resumed_by,
       resume_reason
FROM execution.halts
WHERE %(all)s OR resumed_ns IS NULL
ORDER BY halted_ns, halt_id

-- name: clocks
SELECT venue, offset_ns, limit_ns, began_at FROM execution.clock_alerts WHERE ended_ns IS NULL ORDER BY venue

-- name: ask
INSERT INTO execution.halt_requests (venue, action, reason) VALUES (%(venue)s, %(action)s, %(reason)s)
RETURNING request_id, person

-- name: outcome
SELECT outcome FROM execution.halt_requests WHERE request_id = %(request_id)s AND done_at IS NOT NULL
