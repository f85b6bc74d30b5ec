-- What the data quality checks look at (execution_assets.checks): one row for each thing that is judged, its identity,
-- and a column for each rule: null where it holds, else what is wrong, with both values. All is compared here, as
-- numeric: no figure of money becomes a float on its way to a verdict. Parameters by name, as psycopg reads them.

-- name: last_derived_day
SELECT max(trade_date) AS day FROM execution.executions_derived

-- name: table_exists
SELECT to_regclass('execution.' || %(table)s) IS NOT NULL AS found

-- name: sound_executions
-- NaN and infinity are numeric, and above zero.
SELECT replace(execution_id::text, '-', '') AS execution_id, correlation_id, msg_id, venue, symbol,
       CASE WHEN NOT (last_qty > 0 AND last_qty < 'Infinity')
            THEN 'LastQty ' || last_qty || ' is not above zero' END AS quantity,
       CASE WHEN NOT (last_px > 0 AND last_px < 'Infinity')
            THEN 'LastPx ' || last_px || ' is not above zero' END AS price,
       CASE WHEN count(*) OVER (PARTITION BY execution_id) > 1 THEN 'the execution is there more than once'
            -- an account that trades with itself has one trade id on both of its orders
            WHEN count(*) OVER (PARTITION BY venue, account, symbol, correlation_id, exec_id) > 1
            THEN 'ExecID ' || exec_id || ' of ' || venue || ' is more than one execution of the order' END AS uniqueness
FROM execution.executions WHERE trade_date = %(day)s

-- name: conserved_quantity
-- Every landed fill is an execution or pending, every execution is a landed fill, and says what its reports say.
WITH told AS (
    SELECT report_id, array_agg(trim_scale(last_qty) || ' at ' || trim_scale(last_px)) AS values, min(venue) AS venue,
           bool_and(NOT EXISTS (SELECT 1 FROM execution.fills_pending p
                                WHERE p.report_id = f.report_id AND p.content = f.content)) AS is_decided
    FROM execution.fills f WHERE trade_date = %(day)s AND kind = 'fill' GROUP BY report_id
), kept AS (
    SELECT e.*, a.corrected, a.is_busted
    FROM execution.executions e
    LEFT JOIN LATERAL (
        SELECT array_agg(trim_scale(r.last_qty) || ' at ' || trim_scale(r.last_px)) FILTER (WHERE r.kind = 'correct') AS corrected,
               bool_or(r.kind = 'bust') AS is_busted
        FROM execution.fills r WHERE e.chain IS NOT NULL AND r.report_id = ANY(e.chain)
    ) a ON true
    WHERE e.trade_date = %(day)s
)
SELECT replace(coalesce(t.report_id, e.execution_id)::text, '-', '') AS report_id, coalesce(t.venue, e.venue) AS venue,
       CASE WHEN e.execution_id IS NULL AND t.is_decided
            THEN t.values[1] || ' landed, but is no execution and does not wait' END AS lost,
       CASE WHEN t.report_id IS NULL
            THEN trim_scale(e.last_qty) || ' at ' || trim_scale(e.last_px) || ' that no landed report tells of' END AS invented,
       CASE WHEN t.report_id IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1 FROM execution.fills f
                 WHERE f.report_id = e.execution_id AND f.trade_date = e.trade_date
                   AND e.corrected IS NULL AND f.last_qty = e.last_qty AND f.last_px = e.last_px)
             AND NOT EXISTS (
                 SELECT 1 FROM execution.fills f
                 WHERE e.corrected IS NOT NULL AND f.report_id = ANY(e.chain)
                   AND f.last_qty = e.last_qty AND f.last_px = e.last_px)
             AND e.execution_id IS NOT NULL
            THEN trim_scale(e.last_qty) || ' at ' || trim_scale(e.last_px) || ', reported '
                 || (coalesce(e.corrected, t.values))[1] END AS changed,
       CASE WHEN e.status = 'busted' AND NOT coalesce(e.is_busted, false) THEN 'busted without a landed bust'
            WHEN e.status = 'active' AND coalesce(e.is_busted, false) THEN 'active in spite of a landed bust' END AS status
FROM told t FULL JOIN kept e ON e.execution_id = t.report_id

-- name: order_totals
-- The venue's newest CumQty of each order against what its active executions make (ledger.domain.claims). A claim
-- of zero says nothing, one from before a bust or correct is of another time, and an order with an execution that
-- two persons voided is ours to know better.
WITH touched AS (
    SELECT DISTINCT correlation_id FROM execution.executions WHERE trade_date = %(day)s
), ours AS (
    SELECT e.correlation_id, min(e.venue) AS venue,
           coalesce(sum(e.last_qty) FILTER (WHERE e.status = 'active'), 0) AS qty,
           bool_or(e.status = 'voided') AS is_voided,
           max((SELECT max(r.transact_ns) FROM execution.fills r
                WHERE e.chain IS NOT NULL AND r.report_id = ANY(e.chain))) AS amended_ns,
           max(e.transact_ns) AS newest_ns
    FROM execution.executions e JOIN touched USING (correlation_id) GROUP BY e.correlation_id
), claims AS (
    SELECT DISTINCT ON (correlation_id) correlation_id, cum_qty, transact_ns, source
    FROM (
        SELECT e.correlation_id, f.cum_qty, f.transact_ns, 'ExecID ' || f.exec_id AS source
        FROM execution.executions e
        JOIN touched USING (correlation_id)
        JOIN execution.fills f ON f.report_id = e.execution_id AND f.trade_date = e.trade_date
        WHERE f.cum_qty > 0
        UNION ALL
        SELECT o.correlation_id, r.cum_qty, r.transact_ns, 'order report ' || r.exec_type
        FROM touched
        JOIN execution.orders o USING (correlation_id)
        JOIN execution.order_reports r ON r.venue = o.venue AND r.cl_ord_id = o.msg_id
        WHERE r.cum_qty > 0
    ) c
    ORDER BY correlation_id, transact_ns DESC, cum_qty DESC
)
SELECT correlation_id, venue,
       CASE WHEN is_voided OR coalesce(amended_ns >= transact_ns, false) THEN NULL
            WHEN cum_qty > qty
            THEN source || ' counts ' || trim_scale(cum_qty) || ', the executions make ' || trim_scale(qty) || ': '
                 || trim_scale(cum_qty - qty) || ' is missing'
            WHEN cum_qty < qty AND transact_ns >= newest_ns
            THEN source || ' counts ' || trim_scale(cum_qty) || ', the executions make ' || trim_scale(qty) || ': '
                 || trim_scale(qty - cum_qty) || ' too many' END AS total
FROM ours LEFT JOIN claims USING (correlation_id)

-- name: feed_sequences
-- A FIX feed's position is the end of what has landed without a hole: nothing lands beyond it and stays there.
-- MsgSeqNum(34) is in the raw bytes; an incarnation `reset-...` says since when the session counts anew.
SELECT p.feed, landed.newest AS newest_landed, p.position,
       CASE WHEN landed.newest > p.position
            THEN 'MsgSeqNum ' || landed.newest || ' has landed, but all before it only up to ' || p.position END AS hole
FROM execution.feed_positions p
CROSS JOIN LATERAL (
    SELECT max((substring(encode(f.raw, 'escape') FROM '\u000134=([0-9]{1,15})'))::bigint) AS newest
    FROM execution.fills f
    WHERE f.trade_date = %(day)s AND f.feed = p.feed AND substring(f.raw FROM 1 FOR 2) = '\x383d'::bytea
      AND (p.incarnation NOT LIKE 'reset-%%'
           OR f.received_ns >= extract(epoch FROM substr(p.incarnation, 7)::timestamptz) * 1000000000)
) landed
WHERE landed.newest IS NOT NULL

-- name: limits_and_band
-- The loosest limit that the order ever had, as the live rules have it; the band is around the mid at the fill.
WITH limits AS (
    SELECT o.correlation_id, max(o.limit_price) AS highest, min(o.limit_price) AS lowest
    FROM execution.orders o
    WHERE o.action <> 'cancel'
      AND o.correlation_id IN (SELECT correlation_id FROM execution.executions WHERE trade_date = %(day)s)
    GROUP BY o.correlation_id
    HAVING count(*) = count(o.limit_price)
)
SELECT replace(e.execution_id::text, '-', '') AS execution_id, e.venue, e.symbol,
       CASE WHEN e.side = 'buy' AND e.last_px > l.highest
            THEN 'bought at ' || trim_scale(e.last_px) || ', the limit is ' || trim_scale(l.highest)
            WHEN e.side = 'sell' AND e.last_px < l.lowest
            THEN 'sold at ' || trim_scale(e.last_px) || ', the limit is ' || trim_scale(l.lowest) END AS order_limit,
       CASE WHEN abs(m.bps) > %(band)s::numeric
            THEN trim_scale(e.last_px) || ' is ' || trim_scale(round(abs(m.bps), 4)) || ' bps from the mid '
                 || trim_scale(m.benchmark) || ', the band is ' || %(band)s::numeric END AS band
FROM execution.executions e
LEFT JOIN limits l USING (correlation_id)
LEFT JOIN execution.slippage_metrics m
    ON m.execution_id = e.execution_id AND m.trade_date = e.trade_date AND m.kind = 'fill_mid' AND m.quality = 'exact'
WHERE e.trade_date = %(day)s AND e.status = 'active'

-- name: plausible_times
SELECT replace(f.report_id::text, '-', '') AS report_id, f.venue,
       CASE WHEN f.transact_ns > f.received_ns + %(skew_ns)s::bigint
            THEN 'happened at ' || f.transact_at || ', after it was received at ' || f.received_at END AS received,
       CASE WHEN f.received_at > f.landed_at + interval '1 second'
            THEN 'received at ' || f.received_at || ', after it landed at ' || f.landed_at END AS landed,
       CASE WHEN f.transact_ns + %(skew_ns)s::bigint < o.routed_ns AND f.kind = 'fill'
            THEN 'filled at ' || f.transact_at || ', before its order was routed at ' || o.routed_at END AS routed,
       CASE WHEN abs((f.transact_at AT TIME ZONE 'UTC')::date - f.trade_date) > 1
            THEN 'happened at ' || f.transact_at || ', its trade date is ' || f.trade_date END AS trade_date
FROM execution.fills f
LEFT JOIN execution.orders o ON o.venue = f.venue AND o.msg_id = f.cl_ord_id
WHERE f.trade_date = %(day)s

-- name: references
-- What points at nothing: an execution without its routed message or with a benchmark snapshot that is not there, a
-- slippage without its execution, a wait without its report.
WITH orphans AS (
    SELECT m.execution_id, string_agg(m.kind, ', ' ORDER BY m.kind) AS kinds
    FROM execution.slippage_metrics m
    WHERE m.trade_date = %(day)s
      AND NOT EXISTS (SELECT 1 FROM execution.executions e
                      WHERE e.execution_id = m.execution_id AND e.trade_date = m.trade_date)
    GROUP BY m.execution_id
), unknown AS (
    SELECT m.execution_id, string_agg(m.kind || ' ' || m.snapshot_id, ', ' ORDER BY m.kind) AS snapshots
    FROM execution.slippage_metrics m
    -- a month of snapshots is looked through, not all of them
    WHERE m.trade_date = %(day)s AND m.kind IN ('arrival_mid', 'fill_mid') AND m.snapshot_id IS NOT NULL
      AND m.benchmark_at >= %(day)s::date - 30
      AND NOT EXISTS (SELECT 1 FROM execution.benchmark_snapshots s
                      WHERE s.snapshot_id = m.snapshot_id
                        AND s.taken_on BETWEEN %(day)s::date - 31 AND %(day)s::date + 1)
    GROUP BY m.execution_id
)
SELECT replace(e.execution_id::text, '-', '') AS row_id,
       CASE WHEN NOT EXISTS (SELECT 1 FROM execution.orders o
                             WHERE o.correlation_id = e.correlation_id AND o.venue = e.venue)
            THEN 'order ' || e.correlation_id || ' has no routed message' END AS routed_order,
       'snapshot is not there: ' || u.snapshots AS snapshot, NULL AS execution, NULL AS report
FROM execution.executions e LEFT JOIN unknown u USING (execution_id)
WHERE e.trade_date = %(day)s
UNION ALL
SELECT replace(execution_id::text, '-', ''), NULL, NULL, 'slippages without their execution: ' || kinds, NULL
FROM orphans
UNION ALL
SELECT replace(p.report_id::text, '-', ''), NULL, NULL, NULL, p.reason || ' without its report'
FROM execution.fills_pending p
WHERE p.trade_date = %(day)s AND p.reason <> 'awaiting_gap'
  AND NOT EXISTS (SELECT 1 FROM execution.fills f WHERE f.report_id = p.report_id AND f.content = p.content)

-- name: pending_reports
SELECT replace(report_id::text, '-', '') AS report_id, venue, reason,
       CASE WHEN since_ns < %(before_ns)s::bigint
            THEN reason || ' since ' || since_at || ': ' || reference_kind || ' ' || reference END AS waiting
FROM execution.fills_pending WHERE trade_date = %(day)s
ORDER BY since_ns

-- name: latencies
-- From the first byte in the process to landed, which is the commit to within a statement.
SELECT venue, reports, p50_us, p95_us, p99_us,
       CASE WHEN p95_us > %(limit_us)s::bigint
            THEN 'p95 is ' || trim_scale(round(p95_us / 1000.0, 3)) || ' ms of ' || reports || ' reports, the SLO is '
                 || trim_scale(round(%(limit_us)s::bigint / 1000.0, 3)) || ' ms' END AS p95
FROM (
    SELECT venue, count(*) AS reports,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY took) AS p50_us,
           percentile_disc(0.95) WITHIN GROUP (ORDER BY took) AS p95_us,
           percentile_disc(0.99) WITHIN GROUP (ORDER BY took) AS p99_us
    FROM (SELECT venue, (extract(epoch FROM landed_at) * 1000000)::bigint - received_ns / 1000 AS took
          FROM execution.fills WHERE trade_date = %(day)s) t
    GROUP BY venue
) v

-- name: duplicates
-- Of a feed: what it told twice and we recognised; not judged where the venue told the day on a second feed, too (a
-- backup, its own list), for that tells the same on purpose. Of a venue: what may have got through, one execution under
-- two ExecIDs: the same order, side, quantity, price and instant.
WITH landed AS (
    SELECT feed, count(*) AS reports FROM execution.fills WHERE trade_date = %(day)s GROUP BY feed
), told AS (
    SELECT feed, coalesce(l.reports, 0) + coalesce(c.duplicates, 0) AS reports, coalesce(c.duplicates, 0) AS twice
    FROM landed l
    FULL JOIN (SELECT feed, duplicates FROM execution.feed_counts WHERE counted_on = %(day)s) c USING (feed)
), second AS (
    SELECT DISTINCT split_part(feed, '.', 1) AS venue FROM told
    WHERE split_part(feed, '.', 2) IN ('backup', 'look_back')
), fed AS (
    SELECT t.feed AS subject, t.reports, t.twice,
           CASE WHEN s.venue IS NULL THEN 'recognised' ELSE 'recognised, a second feed told the same' END AS what
    FROM told t
    LEFT JOIN second s ON s.venue = split_part(t.feed, '.', 1)
), through AS (
    SELECT venue AS subject, count(*) AS reports, count(*) FILTER (WHERE alike > 1) AS twice, 'in the ledger' AS what
    FROM (SELECT venue, row_number() OVER (
              PARTITION BY venue, correlation_id, side, last_qty, last_px, transact_ns ORDER BY execution_id) AS alike
          FROM execution.executions WHERE trade_date = %(day)s AND status = 'active') e
    GROUP BY venue
)
SELECT subject, reports, twice, what,
       CASE WHEN twice * 1000000 >= reports * %(per_million)s::bigint AND twice > 0
                 AND what IN ('recognised', 'in the ledger')
            THEN twice || ' of ' || reports || ' are duplicates ' || what || ': '
                 || round(twice * 1000000.0 / reports) || ' in a million, less than ' || %(per_million)s
                 || ' is required' END AS share
FROM (SELECT * FROM fed UNION ALL SELECT * FROM through) d

-- name: look_backs_of
SELECT count(*) AS audits FROM execution.look_back_audits
WHERE from_ns < %(end_ns)s::bigint AND until_ns > %(start_ns)s::bigint

-- name: look_backs
-- The audits of the day by venue, and the fills of the day that one side has and the other has not.
SELECT 'audits of ' || venue AS row_id, venue, count(*) || ' up to ' || max(until_at) AS audited,
       NULL AS missing, NULL AS unconfirmed
FROM execution.look_back_audits
WHERE from_ns < %(end_ns)s::bigint AND until_ns > %(start_ns)s::bigint
GROUP BY venue
UNION ALL
SELECT replace(report_id::text, '-', ''), venue, NULL,
       CASE WHEN kind = 'missing' THEN venue || ' lists ExecID ' || exec_id || ' (' || symbol || ', ' || transact_at
            || '), it is not here' END,
       CASE WHEN kind = 'unconfirmed' THEN 'ExecID ' || exec_id || ' (' || symbol || ', ' || transact_at || ') is here, '
            || venue || ' does not list it' END
FROM execution.completeness_findings
WHERE ended_ns IS NULL AND transact_ns >= %(start_ns)s::bigint AND transact_ns < %(end_ns)s::bigint

-- name: derived_digest
-- What is judged: a later derivation of other rows makes an outcome one of the past.
SELECT max(derived_digest) AS digest FROM execution.executions_derived WHERE trade_date = %(day)s

-- name: keep_outcome
INSERT INTO execution.check_outcomes
    (trade_date, asset, check_name, passed, severity, blocking, row_count, failing, findings, skipped, description,
     remedy, of_digest)
VALUES (%(trade_date)s, %(asset)s, %(check_name)s, %(passed)s, %(severity)s, %(blocking)s, %(row_count)s,
        %(failing)s, %(findings)s::jsonb, %(skipped)s, %(description)s, %(remedy)s, %(of_digest)s)
ON CONFLICT (trade_date, asset, check_name) DO UPDATE SET
    passed = excluded.passed, severity = excluded.severity, blocking = excluded.blocking,
    row_count = excluded.row_count, failing = excluded.failing, findings = excluded.findings,
    skipped = excluded.skipped, description = excluded.description, remedy = excluded.remedy,
    of_digest = excluded.of_digest, checked_at = clock_timestamp()
