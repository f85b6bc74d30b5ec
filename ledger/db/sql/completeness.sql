-- Looking back: what is here of a venue's list, what is waited for, and what was asked.

-- name: known
-- Which of these reports have landed, waiting or not.
SELECT DISTINCT f.report_id
FROM execution.fills f
WHERE f.report_id = ANY($1::uuid[]) AND f.trade_date = ANY($2::date[])

-- name: ours
-- Our fills of a span of the venue's time, with their orders; a trade date may be a day off the UTC date. Keyset by
-- (transact_ns, report_id), and one row a fill however many wordings it came in: two feeds may tell its time to a
-- microsecond and to a nanosecond; the earliest counts.
SELECT f.report_id, min(f.exec_id) AS exec_id, min(f.symbol) AS symbol, f.transact_ns,
       min(e.correlation_id) AS correlation_id
FROM execution.fills f
LEFT JOIN execution.executions e ON e.execution_id = f.report_id AND e.trade_date = f.trade_date
WHERE f.venue = $1 AND f.kind = ANY($2::text[])
  AND f.transact_ns >= $3 AND f.transact_ns < $4
  AND f.trade_date BETWEEN $5 AND $6
  AND ($7::text IS NULL OR f.account = $7)
  AND (f.transact_ns, f.report_id) > ($8, $9)
  AND NOT EXISTS (SELECT 1 FROM execution.fills w
                  WHERE w.report_id = f.report_id AND w.trade_date = f.trade_date AND w.transact_ns < f.transact_ns)
GROUP BY f.transact_ns, f.report_id
ORDER BY f.transact_ns, f.report_id
LIMIT $10

-- name: audited
-- The end of each venue's last audit: windows follow each other.
SELECT venue, max(until_ns) AS until_ns FROM execution.look_back_audits WHERE reason = 'audit' GROUP BY venue

-- name: open_findings
SELECT finding_id, kind, venue, report_id, exec_id, symbol, transact_ns, correlation_id
FROM execution.completeness_findings
WHERE ended_ns IS NULL

-- name: gaps
-- Orders that wait for a fill that the venue's CumQty counts, with the names that the venue knows them by: so many of
-- each venue, those that have waited too long last, and of each the one that waits longest.
SELECT p.correlation_id, p.venue, p.since_ns, p.overdue_at IS NOT NULL AS is_overdue,
       (SELECT min(o.routed_ns) FROM execution.orders o WHERE o.correlation_id = p.correlation_id) AS routed_ns,
       (SELECT min(o.symbol) FROM execution.orders o WHERE o.correlation_id = p.correlation_id) AS symbol,
       ARRAY(SELECT o.msg_id FROM execution.orders o WHERE o.correlation_id = p.correlation_id) AS cl_ord_ids,
       ARRAY(SELECT r.reference FROM execution.order_references r
             WHERE r.correlation_id = p.correlation_id AND r.kind = 'v') AS venue_order_ids
FROM (
    SELECT correlation_id, venue, since_ns, overdue_at,
           row_number() OVER (PARTITION BY venue ORDER BY overdue_at IS NOT NULL, since_ns) AS place,
           min(since_ns) OVER (PARTITION BY venue) AS longest_ns
    FROM execution.fills_pending
    WHERE reason = 'awaiting_gap'
) p
WHERE p.place <= $1 OR p.since_ns = p.longest_ns
ORDER BY p.since_ns

-- name: open_requests
SELECT request_id, venue, from_ns, until_ns FROM execution.look_back_requests
WHERE done_at IS NULL
ORDER BY request_id
LIMIT $1

-- name: answer
UPDATE execution.look_back_requests
SET done_at = clock_timestamp(), outcome = $2, theirs = $3, ours = $4, missing = $5, handed_in = $6, unconfirmed = $7
WHERE request_id = $1 AND done_at IS NULL

-- name: ask
INSERT INTO execution.look_back_requests (venue, from_ns, until_ns)
VALUES (%(venue)s, %(from_ns)s, %(until_ns)s)
RETURNING request_id, person

-- name: outcome
SELECT outcome, theirs, ours, missing, handed_in, unconfirmed FROM execution.look_back_requests
WHERE request_id = %(request_id)s AND done_at IS NOT NULL
