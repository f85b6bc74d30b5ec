-- Made anew at the end of every migration (env.py): one text of it, and its history is the repository's.
--
-- The landing transaction in one statement: small batches whole; of large ones what COPY does not write.
-- `doc` has one key a table or kind of change (ledger.db.landing names them). Deletes come before inserts: a
-- report may stop waiting for its intent and begin to wait for another report in one decision.
CREATE OR REPLACE FUNCTION execution.land(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    IF doc ? 'lease' THEN
        -- The fence: whoever takes the lease locks the row FOR UPDATE, so a landing is wholly before or refused.
        PERFORM 1 FROM execution.leases
        WHERE writer = doc->'lease'->>'writer' AND token = (doc->'lease'->>'token')::bigint FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another process has taken the lease of %', doc->'lease'->>'writer'
                USING ERRCODE = 'EA002';
        END IF;
    END IF;
    IF doc ? 'pending_gone' THEN
        DELETE FROM execution.fills_pending
        WHERE report_id IN (SELECT value::uuid FROM jsonb_array_elements_text(doc->'pending_gone'));
    END IF;
    IF doc ? 'wordings_gone' THEN
        DELETE FROM execution.fills_pending
        WHERE (report_id, content) IN (
            SELECT (value->>0)::uuid, (value->>1)::uuid FROM jsonb_array_elements(doc->'wordings_gone'));
    END IF;
    IF doc ? 'metrics_gone' THEN
        DELETE FROM execution.slippage_metrics
        WHERE (execution_id, kind) IN (
            SELECT (value->>0)::uuid, value->>1 FROM jsonb_array_elements(doc->'metrics_gone'));
    END IF;
    IF doc ? 'orders' THEN
        INSERT INTO execution.orders (
            correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side, order_qty, limit_price,
            decision_price, currency, routed_ns, venue_order_id)
        SELECT
            correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side, order_qty, limit_price,
            decision_price, currency, routed_ns, venue_order_id
        FROM jsonb_to_recordset(doc->'orders') AS r(
            correlation_id text, msg_id text, action text, orig_msg_id text, venue text, account text, symbol
            text, side text, order_qty numeric, limit_price numeric, decision_price numeric,
            currency text, routed_ns bigint, venue_order_id text);
    END IF;
    IF doc ? 'benchmark_snapshots' THEN
        INSERT INTO execution.benchmark_snapshots (
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns, traded_qty, traded_notional)
        SELECT
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns, traded_qty, traded_notional
        FROM jsonb_to_recordset(doc->'benchmark_snapshots') AS r(
            snapshot_id text, taken_on date, symbol text, bid numeric, ask numeric, bid_size numeric, ask_size
            numeric, at_ns bigint, traded_qty numeric, traded_notional numeric);
    END IF;
    IF doc ? 'fills' THEN
        INSERT INTO execution.fills (
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, part_of, trade_report_id, feed,
            raw, received_ns)
        SELECT
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, part_of, trade_report_id, feed,
            raw, received_ns
        FROM jsonb_to_recordset(doc->'fills') AS r(
            report_id uuid, content uuid, venue text, account text, symbol text, trade_date date, exec_id text,
            kind text, exec_ref_id text, cl_ord_id text, venue_order_id text, correlation_id text,
            side text, last_qty numeric, last_px numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, part_of text, trade_report_id text, feed text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'order_reports' THEN
        INSERT INTO execution.order_reports (
            report_id, trade_date, venue, account, symbol, exec_id, exec_type, ord_status, cl_ord_id,
            orig_cl_ord_id, venue_order_id, correlation_id, side, order_qty, limit_price, cum_qty, leaves_qty,
            avg_px, reason, transact_ns, feed, raw, received_ns)
        SELECT
            report_id, trade_date, venue, account, symbol, exec_id, exec_type, ord_status, cl_ord_id,
            orig_cl_ord_id, venue_order_id, correlation_id, side, order_qty, limit_price, cum_qty, leaves_qty,
            avg_px, reason, transact_ns, feed, raw, received_ns
        FROM jsonb_to_recordset(doc->'order_reports') AS r(
            report_id uuid, trade_date date, venue text, account text, symbol text, exec_id text, exec_type text,
            ord_status text, cl_ord_id text, orig_cl_ord_id text, venue_order_id text, correlation_id text,
            side text, order_qty numeric, limit_price numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, reason text, transact_ns bigint, feed text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'order_references' THEN
        INSERT INTO execution.order_references (venue, kind, reference, correlation_id, msg_id, routed_ns)
        SELECT venue, kind, reference, correlation_id, msg_id, routed_ns
        FROM jsonb_to_recordset(doc->'order_references') AS r(
            venue text, kind text, reference text, correlation_id text, msg_id text, routed_ns bigint);
    END IF;
    IF doc ? 'executions' THEN
        INSERT INTO execution.executions (
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, match_rule, fee_bps, chain, withheld)
        SELECT
            execution_id, correlation_id, msg_id, venue, account, symbol, side, trade_date, exec_id,
            last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
            transact_ns, match_rule, fee_bps, chain, withheld
        FROM jsonb_to_recordset(doc->'executions') AS r(
            execution_id uuid, correlation_id text, msg_id text, venue text, account text, symbol text, side
            text, trade_date date, exec_id text, last_exec_id text, status text, last_qty numeric,
            last_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, match_rule text, fee_bps numeric, chain uuid[], withheld uuid[]);
    END IF;
    IF doc ? 'slippage_metrics' THEN
        INSERT INTO execution.slippage_metrics (
            execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason)
        SELECT
            execution_id, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id, quality, quality_reason
        FROM jsonb_to_recordset(doc->'slippage_metrics') AS r(
            execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
            snapshot_id text, quality text, quality_reason text);
    END IF;
    IF doc ? 'fills_pending' THEN
        INSERT INTO execution.fills_pending (
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns,
            venue_order_id)
        SELECT
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns,
            venue_order_id
        FROM jsonb_to_recordset(doc->'fills_pending') AS r(
            report_id uuid, content uuid, trade_date date, venue text, reason text, reference_kind text,
            reference text, correlation_id text, since_ns bigint, venue_order_id text);
    END IF;
    IF doc ? 'dead_letters' THEN
        INSERT INTO execution.dead_letters (
            dead_letter_id, source, feed, reason, field, value, rule, remedy, raw, received_ns)
        SELECT
            dead_letter_id, source, feed, reason, field, value, rule, remedy, raw, received_ns
        FROM jsonb_to_recordset(doc->'dead_letters') AS r(
            dead_letter_id uuid, source text, feed text, reason text, field text, value text, rule text, remedy
            text, raw bytea, received_ns bigint);
    END IF;
    IF doc ? 'audit_events' THEN
        INSERT INTO execution.audit_events (
            event_id, event_type, key, body)
        SELECT
            event_id, event_type, key, body
        FROM jsonb_to_recordset(doc->'audit_events') AS r(
            event_id uuid, event_type text, key text, body bytea);
    END IF;
    IF doc ? 'executions_changed' THEN
        UPDATE execution.executions e
        SET last_exec_id = c.last_exec_id, msg_id = c.msg_id, status = c.status, last_qty = c.last_qty,
            last_px = c.last_px, fee = c.fee, fee_currency = c.fee_currency, venue = c.venue,
            account = c.account, symbol = c.symbol, side = c.side, currency = c.currency,
            liquidity = c.liquidity, transact_ns = c.transact_ns, match_rule = c.match_rule, fee_bps = c.fee_bps
        FROM jsonb_to_recordset(doc->'executions_changed') AS c(
            execution_id uuid, trade_date date, last_exec_id text, msg_id text, status text, last_qty numeric,
            last_px numeric, fee numeric, fee_currency text, venue text, account text, symbol text, side text,
            currency text, liquidity text, transact_ns bigint, match_rule text, fee_bps numeric)
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'chains' THEN
        UPDATE execution.executions e SET chain = c.chain
        FROM jsonb_to_recordset(doc->'chains') AS c(execution_id uuid, trade_date date, chain uuid[])
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'withheld' THEN
        UPDATE execution.executions e SET withheld = c.withheld
        FROM jsonb_to_recordset(doc->'withheld') AS c(execution_id uuid, trade_date date, withheld uuid[])
        WHERE e.execution_id = c.execution_id AND e.trade_date = c.trade_date;
    END IF;
    IF doc ? 'metrics_changed' THEN
        UPDATE execution.slippage_metrics m
        SET bps = c.bps, benchmark = c.benchmark, benchmark_ns = c.benchmark_ns, snapshot_id = c.snapshot_id,
            quality = c.quality, quality_reason = c.quality_reason
        FROM jsonb_to_recordset(doc->'metrics_changed') AS c(
            execution_id uuid, trade_date date, kind text, bps numeric, benchmark numeric, benchmark_ns bigint,
            snapshot_id text, quality text, quality_reason text)
        WHERE m.execution_id = c.execution_id AND m.kind = c.kind AND m.trade_date = c.trade_date;
    END IF;
    IF doc ? 'breaks' THEN
        INSERT INTO execution.breaks (break_id, correlation_id, kind, report_id, ours, theirs)
        SELECT break_id, correlation_id, kind, report_id, ours, theirs
        FROM jsonb_to_recordset(doc->'breaks') AS c(
            break_id uuid, correlation_id text, kind text, report_id uuid, ours text, theirs text)
        ON CONFLICT (break_id) DO UPDATE
        SET ours = excluded.ours, theirs = excluded.theirs, ended_at = NULL, ended_how = NULL,
            opened_at = CASE WHEN breaks.ended_at IS NULL THEN breaks.opened_at ELSE excluded.opened_at END;
    END IF;
    IF doc ? 'breaks_ended' THEN
        UPDATE execution.breaks b SET ended_at = clock_timestamp(), ended_how = c.how
        FROM jsonb_to_recordset(doc->'breaks_ended') AS c(break_id uuid, how text)
        WHERE b.break_id = c.break_id;
    END IF;
    IF doc ? 'break_resolutions' THEN
        INSERT INTO execution.break_resolutions (
            resolution_id, break_id, correlation_id, verdict, ours, theirs, requested_by, approved_by, reason,
            at_ns, voids)
        SELECT resolution_id, break_id, correlation_id, verdict, ours, theirs, requested_by, approved_by, reason,
               at_ns, voids
        FROM jsonb_to_recordset(doc->'break_resolutions') AS c(
            resolution_id uuid, break_id uuid, correlation_id text, verdict text, ours text, theirs text,
            requested_by text, approved_by text, reason text, at_ns bigint, voids jsonb);
    END IF;
    IF doc ? 'order_standings' THEN
        INSERT INTO execution.order_standings (
            correlation_id, order_qty, closed, closed_ns, leaves, pending, held, base)
        SELECT correlation_id, order_qty, closed, closed_ns, leaves, pending, held, base
        FROM jsonb_to_recordset(doc->'order_standings') AS c(
            correlation_id text, order_qty numeric, closed text, closed_ns bigint, leaves boolean, pending text,
            held text, base text)
        ON CONFLICT (correlation_id) DO UPDATE
        SET order_qty = excluded.order_qty, closed = excluded.closed, closed_ns = excluded.closed_ns,
            leaves = excluded.leaves, pending = excluded.pending, held = excluded.held, base = excluded.base;
    END IF;
    IF doc ? 'order_totals' THEN
        INSERT INTO execution.order_totals (report_id, correlation_id, rule, cum_qty, avg_px, execution_ids)
        SELECT report_id, correlation_id, rule, cum_qty, avg_px, execution_ids
        FROM jsonb_to_recordset(doc->'order_totals') AS c(
            report_id uuid, correlation_id text, rule text, cum_qty numeric, avg_px numeric, execution_ids uuid[])
        ON CONFLICT (report_id) DO UPDATE
        SET rule = excluded.rule, cum_qty = excluded.cum_qty, avg_px = excluded.avg_px,
            execution_ids = excluded.execution_ids, matched_at = clock_timestamp();
    END IF;
    IF doc ? 'pending_overdue' THEN
        UPDATE execution.fills_pending SET overdue_at = clock_timestamp()
        WHERE report_id IN (SELECT value::uuid FROM jsonb_array_elements_text(doc->'pending_overdue'));
    END IF;
    IF doc ? 'letters_ended' THEN
        UPDATE execution.dead_letters d SET replayed_at = clock_timestamp(), replay_outcome = c.outcome
        FROM jsonb_to_recordset(doc->'letters_ended') AS c(dead_letter_id uuid, outcome text)
        WHERE d.dead_letter_id = c.dead_letter_id;
    END IF;
    IF doc ? 'desk_outcomes' THEN
        INSERT INTO execution.desk_outcomes (resolution_id, break_id, votes, outcome, why)
        SELECT resolution_id, break_id, votes, outcome, why
        FROM jsonb_to_recordset(doc->'desk_outcomes') AS c(
            resolution_id uuid, break_id uuid, votes bigint[], outcome text, why text)
        ON CONFLICT (resolution_id) DO NOTHING;
    END IF;
    IF doc ? 'replays_done' THEN
        UPDATE execution.replay_requests r SET done_at = clock_timestamp(), outcome = c.outcome
        FROM jsonb_to_recordset(doc->'replays_done') AS c(request_id bigint, outcome text)
        WHERE r.request_id = c.request_id AND r.done_at IS NULL;
    END IF;
    IF doc ? 'halts_ended' THEN
        UPDATE execution.halts h
        SET resumed_ns = c.resumed_ns, resumed_by = c.resumed_by, resume_reason = c.resume_reason
        FROM jsonb_to_recordset(doc->'halts_ended') AS c(
            halt_id uuid, resumed_ns bigint, resumed_by text, resume_reason text)
        WHERE h.halt_id = c.halt_id AND h.resumed_ns IS NULL;
    END IF;
    IF doc ? 'halts' THEN
        INSERT INTO execution.halts (
            halt_id, venue, cause, reason, figure, limit_value, since_ns, halted_ns, halted_by, resumed_ns,
            resumed_by, resume_reason)
        SELECT
            h.halt_id, h.venue, h.cause, h.reason, h.figure, h.limit_value, h.since_ns, h.halted_ns, h.halted_by,
            e.resumed_ns, e.resumed_by, e.resume_reason
        FROM jsonb_to_recordset(doc->'halts') AS h(
            halt_id uuid, venue text, cause text, reason text, figure bigint, limit_value bigint, since_ns bigint,
            halted_ns bigint, halted_by text)
        LEFT JOIN jsonb_to_recordset(doc->'halts_ended') AS e(
            halt_id uuid, resumed_ns bigint, resumed_by text, resume_reason text) USING (halt_id);
    END IF;
    IF doc ? 'clock_alerts_ended' THEN
        UPDATE execution.clock_alerts a SET ended_ns = c.ended_ns, ended_offset_ns = c.ended_offset_ns
        FROM jsonb_to_recordset(doc->'clock_alerts_ended') AS c(
            alert_id uuid, ended_ns bigint, ended_offset_ns bigint)
        WHERE a.alert_id = c.alert_id;
    END IF;
    IF doc ? 'clock_alerts' THEN
        INSERT INTO execution.clock_alerts (
            alert_id, venue, offset_ns, limit_ns, began_ns, ended_ns, ended_offset_ns)
        SELECT a.alert_id, a.venue, a.offset_ns, a.limit_ns, a.began_ns, e.ended_ns, e.ended_offset_ns
        FROM jsonb_to_recordset(doc->'clock_alerts') AS a(
            alert_id uuid, venue text, offset_ns bigint, limit_ns bigint, began_ns bigint)
        LEFT JOIN jsonb_to_recordset(doc->'clock_alerts_ended') AS e(
            alert_id uuid, ended_ns bigint, ended_offset_ns bigint) USING (alert_id);
    END IF;
    IF doc ? 'halt_requests_done' THEN
        UPDATE execution.halt_requests r SET done_at = clock_timestamp(), outcome = c.outcome
        FROM jsonb_to_recordset(doc->'halt_requests_done') AS c(request_id bigint, outcome text)
        WHERE r.request_id = c.request_id AND r.done_at IS NULL;
    END IF;
    IF doc ? 'feed_outages_ended' THEN
        UPDATE execution.feed_outages o SET ended_ns = c.ended_ns
        FROM jsonb_to_recordset(doc->'feed_outages_ended') AS c(outage_id uuid, ended_ns bigint)
        WHERE o.outage_id = c.outage_id AND o.ended_ns IS NULL;
    END IF;
    IF doc ? 'feed_outages' THEN
        INSERT INTO execution.feed_outages (outage_id, venue, feed, cause, reason, began_ns, told_ns, ended_ns)
        SELECT o.outage_id, o.venue, o.feed, o.cause, o.reason, o.began_ns, o.told_ns, e.ended_ns
        FROM jsonb_to_recordset(doc->'feed_outages') AS o(
            outage_id uuid, venue text, feed text, cause text, reason text, began_ns bigint, told_ns bigint)
        LEFT JOIN jsonb_to_recordset(doc->'feed_outages_ended') AS e(outage_id uuid, ended_ns bigint)
            USING (outage_id);
    END IF;
    IF doc ? 'feed_switches_ended' THEN
        UPDATE execution.feed_switches s SET returned_ns = c.returned_ns, return_reason = c.return_reason
        FROM jsonb_to_recordset(doc->'feed_switches_ended') AS c(
            switch_id uuid, returned_ns bigint, return_reason text)
        WHERE s.switch_id = c.switch_id AND s.returned_ns IS NULL;
    END IF;
    IF doc ? 'feed_switches' THEN
        INSERT INTO execution.feed_switches (
            switch_id, venue, from_feed, to_feed, cause, reason, switched_ns, returned_ns, return_reason)
        SELECT
            s.switch_id, s.venue, s.from_feed, s.to_feed, s.cause, s.reason, s.switched_ns, e.returned_ns,
            e.return_reason
        FROM jsonb_to_recordset(doc->'feed_switches') AS s(
            switch_id uuid, venue text, from_feed text, to_feed text, cause text, reason text, switched_ns bigint)
        LEFT JOIN jsonb_to_recordset(doc->'feed_switches_ended') AS e(
            switch_id uuid, returned_ns bigint, return_reason text) USING (switch_id);
    END IF;
    IF doc ? 'completeness' THEN
        PERFORM execution.land_completeness(doc->'completeness');
    END IF;
    IF doc ? 'duplicates' THEN
        INSERT INTO execution.feed_counts (feed, duplicates)
        SELECT key, value::bigint FROM jsonb_each_text(doc->'duplicates')
        ON CONFLICT (feed, counted_on) DO UPDATE SET duplicates = feed_counts.duplicates + excluded.duplicates;
    END IF;
    IF doc ? 'positions' THEN
        INSERT INTO execution.feed_positions AS p (feed, stream, incarnation, position)
        SELECT feed, stream, incarnation, value
        FROM jsonb_to_recordset(doc->'positions') AS c(feed text, stream text, incarnation text, value bigint)
        ON CONFLICT (feed, stream) DO UPDATE
        SET incarnation = excluded.incarnation, position = excluded.position, updated_at = clock_timestamp()
        WHERE p.incarnation <> excluded.incarnation OR p.position <= excluded.position;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved <> jsonb_array_length(doc->'positions') THEN
            RAISE EXCEPTION 'positions only grow: one of % would go back', doc->'positions'
                USING ERRCODE = 'EA001';
        END IF;
    END IF;
END
$$;
