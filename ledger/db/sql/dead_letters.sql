-- What came in and is no fact, for a person. Parameters by name, as psycopg reads them.

-- name: listed
SELECT dead_letter_id::text, received_ns, source, feed, reason, field, value, rule, remedy, raw
FROM execution.dead_letters
WHERE (%(venue)s::text IS NULL OR source = %(venue)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(since_ns)s::bigint IS NULL OR received_ns >= %(since_ns)s)
ORDER BY received_ns DESC, dead_letter_id
LIMIT %(limit)s

-- name: one
SELECT dead_letter_id::text, received_ns, source, feed, reason, field, value, rule, remedy, raw
FROM execution.dead_letters
WHERE dead_letter_id = %(dead_letter_id)s
