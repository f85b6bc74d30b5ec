-- ``execution-agent venues``: which feed each venue is counted on, what is out, what was out today.

-- name: switches
SELECT venue, from_feed, to_feed, cause, reason, switched_at FROM execution.feed_switches
WHERE returned_ns IS NULL ORDER BY venue

-- name: outages
SELECT venue, feed, cause, reason, began_at FROM execution.feed_outages WHERE ended_ns IS NULL ORDER BY venue, feed

-- name: today
-- What was out at some time of the day (UTC), with its seconds of the day. What ends when it begins is no outage:
-- the numbers started over.
WITH day AS (
    SELECT (extract(epoch FROM date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') * 1e9)::bigint AS began,
           (extract(epoch FROM now()) * 1e9)::bigint AS ends
)
SELECT venue, count(*) AS outages,
       (sum(greatest(coalesce(ended_ns, ends) - greatest(began_ns, began), 0)) / 1e9)::float8 AS seconds
FROM execution.feed_outages, day
WHERE coalesce(ended_ns, ends) >= began AND told_ns <= ends AND ended_ns IS DISTINCT FROM began_ns
GROUP BY venue

-- name: last_reports
SELECT venue, feed, to_timestamp(max(received_ns)::double precision / 1e9) AS received_at FROM execution.fills
WHERE trade_date >= (now() AT TIME ZONE 'UTC')::date - 1
GROUP BY venue, feed ORDER BY venue, feed
