-- The day derived again from the landed facts: what it reads, compares and corrects (execution_assets).

-- name: day_reports
-- The day's fills and, whatever their date, the busts and corrects of any order, tied to their orders as
-- `reference_of` ties them; one stream in the order of the orders. A report whose intent has not come is not here.
-- A share is some orders, by their ids: several connections with one snapshot read a day together.
SELECT * FROM (
SELECT o.correlation_id AS owner, f.report_id, f.content, f.venue, f.account, f.symbol, f.trade_date, f.exec_id,
       f.kind, f.exec_ref_id, f.cl_ord_id, f.venue_order_id, f.correlation_id, f.side, f.last_qty, f.last_px,
       f.cum_qty, f.leaves_qty, f.avg_px, f.currency, f.fee, f.fee_currency, f.liquidity, f.transact_ns, f.part_of,
       f.trade_report_id
FROM execution.fills f
JOIN execution.orders o ON o.venue = f.venue AND o.msg_id = f.cl_ord_id
WHERE f.trade_date = :day OR f.kind <> 'fill'
UNION ALL
SELECT o.correlation_id, f.report_id, f.content, f.venue, f.account, f.symbol, f.trade_date, f.exec_id,
       f.kind, f.exec_ref_id, f.cl_ord_id, f.venue_order_id, f.correlation_id, f.side, f.last_qty, f.last_px,
       f.cum_qty, f.leaves_qty, f.avg_px, f.currency, f.fee, f.fee_currency, f.liquidity, f.transact_ns, f.part_of,
       f.trade_report_id
FROM execution.fills f
CROSS JOIN LATERAL (
    SELECT correlation_id FROM execution.order_references
    WHERE venue = f.venue AND kind = 'v' AND reference = f.venue_order_id
    ORDER BY routed_ns, msg_id COLLATE "C"
    LIMIT 1
) o
WHERE f.cl_ord_id IS NULL AND (f.trade_date = :day OR f.kind <> 'fill')
UNION ALL
SELECT o.correlation_id, f.report_id, f.content, f.venue, f.account, f.symbol, f.trade_date, f.exec_id,
       f.kind, f.exec_ref_id, f.cl_ord_id, f.venue_order_id, f.correlation_id, f.side, f.last_qty, f.last_px,
       f.cum_qty, f.leaves_qty, f.avg_px, f.currency, f.fee, f.fee_currency, f.liquidity, f.transact_ns, f.part_of,
       f.trade_report_id
FROM execution.fills f
CROSS JOIN LATERAL (
    SELECT correlation_id FROM execution.order_references
    WHERE venue = f.venue AND kind = 'c' AND reference = f.cl_ord_id
    ORDER BY routed_ns, msg_id COLLATE "C"
    LIMIT 1
) o
WHERE (f.trade_date = :day OR f.kind <> 'fill')
  AND NOT EXISTS (SELECT 1 FROM execution.orders i WHERE i.venue = f.venue AND i.msg_id = f.cl_ord_id)
) told
WHERE :shares = 1 OR (hashtext(owner) & 2147483647) % :shares = :share
ORDER BY owner

-- name: fills_of_other_days
SELECT e.correlation_id AS owner, f.report_id, f.content, f.venue, f.account, f.symbol, f.trade_date, f.exec_id,
       f.kind, f.exec_ref_id, f.cl_ord_id, f.venue_order_id, f.correlation_id, f.side, f.last_qty, f.last_px,
       f.cum_qty, f.leaves_qty, f.avg_px, f.currency, f.fee, f.fee_currency, f.liquidity, f.transact_ns, f.part_of,
       f.trade_report_id
FROM execution.executions e
JOIN execution.fills f ON f.report_id = e.execution_id AND f.trade_date = e.trade_date
WHERE e.correlation_id = ANY(:ids) AND e.trade_date <> :day
  AND NOT EXISTS (SELECT 1 FROM execution.fills_pending p
                  WHERE p.report_id = f.report_id AND p.content = f.content AND p.reason = 'awaiting_intent')

-- name: intents
SELECT correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side, order_qty, limit_price,
       decision_price, currency, routed_ns, venue_order_id
FROM execution.orders WHERE correlation_id = ANY(:ids)

-- name: resolutions
SELECT * FROM execution.break_resolutions WHERE correlation_id = ANY(:ids) AND verdict = 'reject'
ORDER BY at_ns, resolution_id

-- name: snapshots_of_day
-- The question's own day first: the planner prunes to one partition for each question.
SELECT w.symbol AS wanted_symbol, w.at_ns AS wanted_ns,
       s.snapshot_id, s.symbol, s.bid, s.ask, s.bid_size, s.ask_size, s.at_ns
FROM unnest(CAST(:symbols AS text[]), CAST(:days AS date[]), CAST(:times AS bigint[])) AS w(symbol, day, at_ns)
LEFT JOIN LATERAL (
    SELECT * FROM execution.benchmark_snapshots b
    WHERE b.taken_on = w.day AND b.symbol = w.symbol AND b.at_ns <= w.at_ns
    ORDER BY b.at_ns DESC, b.snapshot_id COLLATE "C" DESC
    LIMIT 1
) s ON true

-- name: snapshots_before
-- The few questions that their own day does not answer: the last snapshot of any earlier day.
SELECT w.symbol AS wanted_symbol, w.at_ns AS wanted_ns,
       s.snapshot_id, s.symbol, s.bid, s.ask, s.bid_size, s.ask_size, s.at_ns
FROM unnest(CAST(:symbols AS text[]), CAST(:days AS date[]), CAST(:times AS bigint[])) AS w(symbol, day, at_ns)
LEFT JOIN LATERAL (
    SELECT * FROM execution.benchmark_snapshots b
    WHERE b.taken_on < w.day AND b.symbol = w.symbol AND b.at_ns <= w.at_ns
    ORDER BY b.at_ns DESC, b.snapshot_id COLLATE "C" DESC
    LIMIT 1
) s ON true

-- name: snapshot_count
SELECT count(*) AS snapshot_count FROM (
    SELECT 1 FROM execution.benchmark_snapshots WHERE taken_on = :day AND symbol = :symbol LIMIT :row_limit
) s

-- name: snapshot_columns
-- One CSV text of a symbol's day: row by row the same takes ten times as long.
SELECT convert_to(string_agg(
           concat(at_ns, ',"', replace(snapshot_id, '"', '""'), '",', bid, ',', ask, ',', bid_size, ',', ask_size, ',',
                  traded_qty, ',', traded_notional),
           E'\n' ORDER BY at_ns, snapshot_id COLLATE "C"), 'UTF8')
FROM execution.benchmark_snapshots WHERE taken_on = :day AND symbol = :symbol

-- name: live_executions
SELECT * FROM execution.executions WHERE trade_date = :day AND execution_id = ANY(CAST(:ids AS uuid[]))

-- name: live_metrics
SELECT * FROM execution.slippage_metrics
WHERE trade_date = :day AND kind = ANY(:kinds) AND execution_id = ANY(CAST(:ids AS uuid[]))

-- name: unsupported_executions
-- Live rows that no landed fill stands behind.
SELECT e.* FROM execution.executions e
WHERE e.trade_date = :day
  AND NOT EXISTS (
    SELECT 1 FROM execution.fills f
    WHERE f.report_id = e.execution_id AND f.trade_date = e.trade_date AND f.kind = 'fill'
      AND CASE WHEN f.cl_ord_id IS NOT NULL
          THEN EXISTS (SELECT 1 FROM execution.orders o WHERE o.venue = f.venue AND o.msg_id = f.cl_ord_id)
            OR EXISTS (SELECT 1 FROM execution.order_references r
                       WHERE r.venue = f.venue AND r.kind = 'c' AND r.reference = f.cl_ord_id)
          ELSE EXISTS (SELECT 1 FROM execution.order_references r
                       WHERE r.venue = f.venue AND r.kind = 'v' AND r.reference = f.venue_order_id) END)

-- name: unsupported_metrics
SELECT m.* FROM execution.slippage_metrics m
WHERE m.trade_date = :day AND m.kind = ANY(:kinds)
  AND NOT EXISTS (
    SELECT 1 FROM execution.fills f
    WHERE f.report_id = m.execution_id AND f.trade_date = m.trade_date AND f.kind = 'fill'
      AND CASE WHEN f.cl_ord_id IS NOT NULL
          THEN EXISTS (SELECT 1 FROM execution.orders o WHERE o.venue = f.venue AND o.msg_id = f.cl_ord_id)
            OR EXISTS (SELECT 1 FROM execution.order_references r
                       WHERE r.venue = f.venue AND r.kind = 'c' AND r.reference = f.cl_ord_id)
          ELSE EXISTS (SELECT 1 FROM execution.order_references r
                       WHERE r.venue = f.venue AND r.kind = 'v' AND r.reference = f.venue_order_id) END)

-- name: live_entries
-- What ledger.domain.digest makes of an execution with its slippages: its id, and the hash of the same text. The
-- rows of a day are compared by it, and only those that differ are fetched.
WITH measured AS (
    SELECT execution_id, count(*) AS metric_count,
           string_agg(concat_ws(E'\x1f', E'\x1d' || kind, coalesce(trim_scale(bps)::text, E'\x1e'),
               coalesce(trim_scale(benchmark)::text, E'\x1e'), coalesce(benchmark_ns::text, E'\x1e'),
               coalesce(snapshot_id, E'\x1e'), quality, coalesce(quality_reason, E'\x1e')),
               '' ORDER BY kind COLLATE "C") AS told
    FROM execution.slippage_metrics
    WHERE trade_date = :day AND kind = ANY(:kinds)
      AND (CAST(:ids AS uuid[]) IS NULL OR execution_id = ANY(CAST(:ids AS uuid[])))
    GROUP BY execution_id
), executed AS (
    SELECT execution_id,
           concat_ws(E'\x1f', correlation_id, msg_id, venue, account, symbol, side,
               to_char(trade_date, 'YYYY-MM-DD'), exec_id, last_exec_id, status, trim_scale(last_qty),
               trim_scale(last_px), coalesce(currency, E'\x1e'), coalesce(trim_scale(fee)::text, E'\x1e'),
               coalesce(fee_currency, E'\x1e'), coalesce(liquidity, E'\x1e'), transact_ns,
               coalesce(match_rule, E'\x1e'), coalesce(trim_scale(fee_bps)::text, E'\x1e')) AS told
    FROM execution.executions
    WHERE trade_date = :day AND (CAST(:ids AS uuid[]) IS NULL OR execution_id = ANY(CAST(:ids AS uuid[])))
)
SELECT uuid_send(execution_id)
       || sha256(convert_to(coalesce(e.told, '') || coalesce(m.told, ''), 'UTF8')) AS entry,
       e.told IS NOT NULL AS is_execution, coalesce(m.metric_count, 0) AS metric_count
FROM executed e FULL JOIN measured m USING (execution_id)

-- name: live_counts
SELECT (SELECT count(*) FROM execution.executions WHERE trade_date = :day) AS execution_count,
       (SELECT count(*) FROM execution.slippage_metrics
        WHERE trade_date = :day AND kind = ANY(:kinds)) AS metric_count

-- name: high_water
SELECT count(*) AS report_count, coalesce(max(received_ns), 0) AS high_water
FROM execution.fills WHERE trade_date = :day

-- name: write_executions
INSERT INTO execution.executions (
    execution_id, trade_date, correlation_id, msg_id, venue, account, symbol, side, exec_id, last_exec_id, status,
    last_qty, last_px, currency, fee, fee_currency, liquidity, transact_ns, match_rule, fee_bps, chain, withheld)
SELECT execution_id, trade_date, correlation_id, msg_id, venue, account, symbol, side, exec_id, last_exec_id,
       status, last_qty, last_px, currency, fee, fee_currency, liquidity, transact_ns, match_rule, fee_bps, chain,
       withheld
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(
    execution_id uuid, trade_date date, correlation_id text, msg_id text, venue text, account text, symbol text,
    side text, exec_id text, last_exec_id text, status text, last_qty numeric, last_px numeric, currency text,
    fee numeric, fee_currency text, liquidity text, transact_ns bigint, match_rule text, fee_bps numeric,
    chain uuid[], withheld uuid[])
ON CONFLICT (execution_id, trade_date) DO UPDATE
-- `withheld` stays: whether an event went out is the live process's knowledge, not the reports'
SET correlation_id = excluded.correlation_id, msg_id = excluded.msg_id, venue = excluded.venue,
    account = excluded.account, symbol = excluded.symbol, side = excluded.side, exec_id = excluded.exec_id,
    last_exec_id = excluded.last_exec_id, status = excluded.status, last_qty = excluded.last_qty,
    last_px = excluded.last_px, currency = excluded.currency, fee = excluded.fee,
    fee_currency = excluded.fee_currency, liquidity = excluded.liquidity, transact_ns = excluded.transact_ns,
    match_rule = excluded.match_rule, fee_bps = excluded.fee_bps, chain = excluded.chain

-- name: write_metrics
INSERT INTO execution.slippage_metrics (
    execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason)
SELECT execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS c(
    execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
    snapshot_id text, quality text, quality_reason text)
ON CONFLICT (execution_id, kind, trade_date) DO UPDATE
SET bps = excluded.bps, benchmark = excluded.benchmark, benchmark_ns = excluded.benchmark_ns,
    snapshot_id = excluded.snapshot_id, quality = excluded.quality, quality_reason = excluded.quality_reason

-- name: remove_executions
DELETE FROM execution.executions WHERE trade_date = :day AND execution_id = ANY(CAST(:ids AS uuid[]))

-- name: remove_metrics
DELETE FROM execution.slippage_metrics m
USING unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[])) AS gone(execution_id, kind)
WHERE m.trade_date = :day AND m.execution_id = gone.execution_id AND m.kind = gone.kind

-- name: tell_correction
-- Who changed live rows, and how many: into the audit trail, with the changes.
SELECT execution.record_correction(CAST(:day AS date), CAST(:executions AS bigint), CAST(:slippages AS bigint),
                                   CAST(:live_digest AS text), CAST(:derived_digest AS text))

-- name: forget_derivation
DELETE FROM execution.executions_derived WHERE trade_date = :day

-- name: record_derivation
INSERT INTO execution.executions_derived (
    trade_date, derived_digest, live_digest, execution_count, difference_count, differences, high_water)
VALUES (:day, :derived_digest, :live_digest, :execution_count, :difference_count, :differences, :high_water)

-- name: derivation
SELECT * FROM execution.executions_derived WHERE trade_date = :day

-- name: last_derived_day
SELECT max(trade_date) AS day FROM execution.executions_derived

-- name: execution_columns
-- For the quality checks: signs and nulls survive the cast to float8, sums are never taken of it.
SELECT replace(CAST(execution_id AS text), '-', '') AS execution_id, correlation_id, msg_id, venue, symbol,
       CAST(last_qty AS float8) AS last_qty, CAST(last_px AS float8) AS last_px
FROM execution.executions WHERE trade_date = :day

-- name: metric_columns
SELECT replace(CAST(execution_id AS text), '-', '') AS execution_id, kind, quality,
       CAST(bps AS float8) AS bps, CAST(benchmark AS float8) AS benchmark
FROM execution.slippage_metrics WHERE trade_date = :day AND kind = ANY(:kinds)

-- name: slippage_by_venue
-- Sums only, which numeric takes exactly; the division is the domain's. The weight is the notional in quote: of an
-- inverse contract quantity x units at any price. A symbol without reference data is taken for spot.
SELECT e.venue, m.kind, coalesce(e.currency, '') AS currency,
       count(*) AS metric_count,
       count(*) FILTER (WHERE m.quality <> 'exact') AS best_effort_count,
       count(m.bps) AS measured_count,
       coalesce(sum(m.bps), 0) AS bps_sum,
       coalesce(sum(n.notional) FILTER (WHERE m.bps IS NOT NULL), 0) AS notional,
       coalesce(sum(m.bps * n.notional), 0) AS bps_notional
FROM execution.slippage_metrics m
JOIN execution.executions e ON e.execution_id = m.execution_id AND e.trade_date = m.trade_date
LEFT JOIN execution.instruments own ON own.venue = e.venue AND own.symbol = e.symbol
LEFT JOIN execution.instruments anyones ON anyones.venue = '*' AND anyones.symbol = e.symbol
CROSS JOIN LATERAL (
    SELECT e.last_qty
           * coalesce(own.contract_size * own.multiplier, anyones.contract_size * anyones.multiplier, 1)
           * CASE WHEN coalesce(own.kind, anyones.kind) = 'inverse' THEN 1 ELSE e.last_px END AS notional
) n
WHERE m.trade_date = :day AND m.kind = ANY(:kinds)
GROUP BY e.venue, m.kind, coalesce(e.currency, '')
ORDER BY e.venue, m.kind, currency

-- name: pending_too_long
SELECT replace(CAST(report_id AS text), '-', '') AS report_id, venue, reason, reference, since_at
FROM execution.fills_pending
WHERE trade_date = :day AND since_ns < :before_ns
ORDER BY since_ns

-- name: landed_days
-- The days that something landed for, and up to where. One leased writer lands, so landed_at grows with commits.
WITH landed AS MATERIALIZED (
    SELECT report_id, trade_date, venue, kind, cl_ord_id, venue_order_id, landed_at
    FROM execution.fills WHERE landed_at > :since
), touched AS (
    SELECT trade_date AS day, landed_at FROM landed
    UNION ALL
    SELECT trade_date, landed_at FROM execution.order_reports WHERE landed_at > :since
    UNION ALL
    -- a bust or correct changes the day of the fill it refers to
    SELECT e.trade_date, l.landed_at
    FROM landed l
    CROSS JOIN LATERAL (
        SELECT correlation_id FROM execution.orders WHERE venue = l.venue AND msg_id = l.cl_ord_id
        UNION
        SELECT correlation_id FROM execution.order_references
        WHERE venue = l.venue AND kind = 'v' AND reference = l.venue_order_id
    ) o
    JOIN execution.executions e ON e.correlation_id = o.correlation_id AND l.report_id = ANY(e.chain)
    WHERE l.kind <> 'fill'
), days AS (
    SELECT day, CAST(extract(epoch FROM max(landed_at)) * 1000000 AS bigint) AS high_water FROM touched GROUP BY day
), waiting AS (
    SELECT trade_date AS day, count(*) AS pending FROM execution.fills_pending GROUP BY trade_date
)
SELECT day, coalesce(d.high_water, 0) AS high_water, coalesce(w.pending, 0) AS pending
FROM days d FULL JOIN waiting w USING (day)
ORDER BY day

-- name: newest_of_day
-- What the lineage shows of the other landed tables; every subquery is a probe of an index.
WITH RECURSIVE symbols AS (
    (SELECT symbol FROM execution.benchmark_snapshots WHERE taken_on = :day ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT b.symbol FROM execution.benchmark_snapshots b
            WHERE b.taken_on = :day AND b.symbol > s.symbol ORDER BY b.symbol LIMIT 1)
    FROM symbols s WHERE s.symbol IS NOT NULL
)
SELECT
    (SELECT max(routed_ns) FROM execution.orders
     WHERE routed_ns >= :start_ns AND routed_ns < :end_ns) AS newest_order_ns,
    (SELECT max((SELECT b.at_ns FROM execution.benchmark_snapshots b
                 WHERE b.taken_on = :day AND b.symbol = s.symbol ORDER BY b.at_ns DESC LIMIT 1))
     FROM symbols s WHERE s.symbol IS NOT NULL) AS newest_snapshot_ns

-- name: fills_of_share
-- The day's executions that count, as sums and as CSV lines by order, symbol and currencies, in the order of the
-- orders. Sums of numeric are exact.
SELECT correlation_id, venue, symbol, currency, fee_currency, count(*), sum(last_qty), sum(last_qty * last_px),
       sum(fee), sum(fee * last_px), count(*) FILTER (WHERE fee <> 0), count(*) - count(fee), max(transact_ns),
       string_agg(concat(replace(CAST(execution_id AS text), '-', ''), ',', side, ',', last_px, ',', transact_ns), E'\n')
FROM execution.executions
WHERE trade_date = :day AND status = 'active'
  AND (:shares = 1 OR (hashtext(correlation_id) & 2147483647) % :shares = :share)
GROUP BY correlation_id, venue, symbol, currency, fee_currency
ORDER BY correlation_id

-- name: executions_of_orders
SELECT * FROM execution.executions
WHERE trade_date = :day AND status = 'active' AND correlation_id = ANY(:ids)

-- name: orders_without_executions
-- Orders that began on the day and of which nothing traded on it.
SELECT DISTINCT correlation_id FROM execution.orders o
WHERE routed_ns >= :start_ns AND routed_ns < :end_ns AND action = 'new'
  AND (:shares = 1 OR (hashtext(correlation_id) & 2147483647) % :shares = :share)
  AND NOT EXISTS (SELECT 1 FROM execution.executions e
                  WHERE e.correlation_id = o.correlation_id AND e.trade_date = :day AND e.status = 'active')
ORDER BY correlation_id

-- name: earlier_executions
SELECT * FROM execution.executions
WHERE correlation_id = ANY(:ids) AND trade_date < :day AND status = 'active'

-- name: reported_orders
SELECT correlation_id FROM execution.order_standings WHERE correlation_id = ANY(:ids)

-- name: messages_of_fills
-- The ClOrdIDs that fills of the orders name, up to a day.
SELECT DISTINCT e.correlation_id, f.cl_ord_id
FROM execution.executions e
JOIN execution.fills f ON f.report_id = e.execution_id AND f.trade_date = e.trade_date
WHERE e.correlation_id = ANY(:ids) AND e.trade_date <= :day AND f.cl_ord_id IS NOT NULL

-- name: learned_references
SELECT venue, kind, reference, correlation_id FROM execution.order_references WHERE correlation_id = ANY(:ids)

-- name: order_reports_until
-- What was reported of orders before a day's end, by what names them: an index probe a name, in the partitions from
-- the order's first day on, with a day of room at both ends. `earliest`: the planner leaves out the
-- partitions before it.
SELECT DISTINCT ON (o.report_id)
       o.report_id, o.venue, o.account, o.symbol, o.trade_date, o.exec_id, o.exec_type, o.ord_status, o.cl_ord_id,
       o.orig_cl_ord_id, o.venue_order_id, o.correlation_id, o.side, o.order_qty, o.limit_price, o.cum_qty,
       o.leaves_qty, o.avg_px, o.reason, o.transact_ns
FROM unnest(CAST(:venues AS text[]), CAST(:kinds AS text[]), CAST(:refs AS text[]), CAST(:first AS date[]))
     AS r(venue, kind, reference, day)
JOIN LATERAL (
    SELECT * FROM execution.order_reports
    WHERE r.kind = 'c' AND venue = r.venue AND cl_ord_id = r.reference
      AND trade_date >= r.day - 1 AND trade_date BETWEEN CAST(:earliest AS date) - 1 AND CAST(:day AS date) + 1
      AND transact_ns < :end_ns
    UNION ALL
    SELECT * FROM execution.order_reports
    WHERE r.kind = 'c' AND venue = r.venue AND orig_cl_ord_id = r.reference
      AND trade_date >= r.day - 1 AND trade_date BETWEEN CAST(:earliest AS date) - 1 AND CAST(:day AS date) + 1
      AND transact_ns < :end_ns
    UNION ALL
    SELECT * FROM execution.order_reports
    WHERE r.kind = 'v' AND venue = r.venue AND venue_order_id = r.reference
      AND trade_date >= r.day - 1 AND trade_date BETWEEN CAST(:earliest AS date) - 1 AND CAST(:day AS date) + 1
      AND transact_ns < :end_ns
) o ON true

-- name: fee_rates
SELECT replace(CAST(execution_id AS text), '-', '') AS execution_id, bps FROM execution.slippage_metrics
WHERE trade_date = ANY(CAST(:days AS date[])) AND kind = 'fee' AND execution_id = ANY(CAST(:ids AS uuid[]))

-- name: newest_snapshot
-- Up to when the market is known: each probe is of one symbol's index.
SELECT max(newest) AS known_until FROM (
    SELECT DISTINCT symbol FROM execution.executions WHERE trade_date = :day
    UNION SELECT DISTINCT symbol FROM execution.orders WHERE routed_ns >= :start_ns AND routed_ns < :end_ns
) s
CROSS JOIN LATERAL (
    SELECT b.at_ns AS newest FROM execution.benchmark_snapshots b
    WHERE b.taken_on >= :day AND b.taken_on <= CAST(:day AS date) + 1 AND b.symbol = s.symbol
    ORDER BY b.at_ns DESC LIMIT 1
) n

-- name: snapshots_within
SELECT at_ns, bid, ask, traded_qty, traded_notional FROM execution.benchmark_snapshots
WHERE symbol = :symbol AND at_ns > :from_ns AND at_ns <= :until_ns
  AND taken_on >= :first AND taken_on <= :last
ORDER BY at_ns, snapshot_id COLLATE "C"

-- name: forget_derived
DELETE FROM execution.derivations WHERE trade_date = :day AND asset = :asset

-- name: record_derived
INSERT INTO execution.derivations (asset, trade_date, digest, row_count, changed_count, removed_count)
VALUES (:asset, :day, :digest, :rows, :changed, :removed)

-- name: ensure_partitions
SELECT execution.ensure_partitions(:day)
