-- What the landing transaction does besides COPY. Sets of rows come as one jsonb parameter.

-- name: delete_pending
DELETE FROM execution.fills_pending WHERE report_id = ANY($1::uuid[])

-- name: change_executions
UPDATE execution.executions e
SET last_exec_id = c.last_exec_id, msg_id = c.msg_id, status = c.status, last_qty = c.last_qty, last_px = c.last_px,
    fee = c.fee, fee_currency = c.fee_currency, venue = c.venue, account = c.account, symbol = c.symbol,
    side = c.side, currency = c.currency, liquidity = c.liquidity, transact_ns = c.transact_ns
FROM jsonb_to_recordset($1::jsonb) AS c(
    execution_id uuid, trade_date date, last_exec_id text, msg_id text, status text, last_qty numeric,
    last_px numeric, fee numeric, fee_currency text, venue text, account text, symbol text, side text,
    currency text, liquidity text, transact_ns bigint)
WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date

-- name: set_chains
UPDATE execution.executions e SET chain = c.chain
FROM jsonb_to_recordset($1::jsonb) AS c(execution_id uuid, trade_date date, chain uuid[])
WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date

-- name: set_withheld
UPDATE execution.executions e SET withheld = c.withheld
FROM jsonb_to_recordset($1::jsonb) AS c(execution_id uuid, trade_date date, withheld uuid[])
WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date

-- name: change_metrics
UPDATE execution.slippage_metrics m
SET bps = c.bps, benchmark = c.benchmark, benchmark_ns = c.benchmark_ns, snapshot_id = c.snapshot_id,
    quality = c.quality, quality_reason = c.quality_reason
FROM jsonb_to_recordset($1::jsonb) AS c(
    execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
    snapshot_id text, quality text, quality_reason text)
WHERE m.execution_id = c.execution_id AND m.kind = c.kind AND m.trade_date = c.trade_date

-- name: delete_metrics
DELETE FROM execution.slippage_metrics WHERE execution_id = ANY($1::uuid[])

-- name: open_breaks
INSERT INTO execution.breaks (break_id, correlation_id, kind, report_id, ours, theirs)
SELECT break_id, correlation_id, kind, report_id, ours, theirs
FROM jsonb_to_recordset($1::jsonb) AS c(
    break_id uuid, correlation_id text, kind text, report_id uuid, ours text, theirs text)
ON CONFLICT (break_id) DO UPDATE
SET ours = excluded.ours, theirs = excluded.theirs, opened_at = excluded.opened_at, ended_at = NULL

-- name: end_breaks
UPDATE execution.breaks SET ended_at = clock_timestamp() WHERE break_id = ANY($1::uuid[])

-- name: count_duplicates
INSERT INTO execution.feed_counts (feed, duplicates)
SELECT key, value::bigint FROM jsonb_each_text($1::jsonb)
ON CONFLICT (feed, counted_on) DO UPDATE SET duplicates = feed_counts.duplicates + excluded.duplicates

-- name: advance_positions
INSERT INTO execution.feed_positions AS p (feed, stream, incarnation, position)
SELECT feed, stream, incarnation, position
FROM jsonb_to_recordset($1::jsonb) AS c(feed text, stream text, incarnation text, position bigint)
ON CONFLICT (feed, stream) DO UPDATE
SET incarnation = excluded.incarnation, position = excluded.position, updated_at = clock_timestamp()
WHERE p.incarnation <> excluded.incarnation OR p.position <= excluded.position
RETURNING feed, stream

-- name: ensure_partitions
SELECT execution.ensure_partitions(day) FROM unnest($1::date[]) AS day

-- name: take_lease
SELECT pg_try_advisory_lock(hashtextextended('execution.writer:' || $1, 0))
