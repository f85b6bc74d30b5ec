-- People at the desk: their votes on breaks, their notes, their requests to replay dead letters, and the answers.
--
-- Who did it is the role that is logged in, set by triggers: a person can give a verdict, a reason, a note, and no
-- name and no time. All of them are members of execution_operator, which may read the ledger and add such rows.

CREATE INDEX breaks_open ON execution.breaks (opened_at) WHERE ended_at IS NULL;

CREATE TABLE execution.break_votes (
    vote_id BIGINT GENERATED ALWAYS AS IDENTITY,
    break_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('release', 'reject')),
    reason TEXT NOT NULL CHECK (reason ~ '[^[:space:]]' AND length(reason) <= 2000),
    ours TEXT NOT NULL,
    theirs TEXT NOT NULL,
    person TEXT DEFAULT SESSION_USER NOT NULL,
    at_ns BIGINT NOT NULL,
    voted_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(at_ns::double precision / 1e9)) VIRTUAL,
    PRIMARY KEY (vote_id)
);
CREATE INDEX break_votes_break ON execution.break_votes (break_id);
COMMENT ON TABLE execution.break_votes IS 'Persons'' verdicts on breaks: two who agree release or reject. Append-only.';
COMMENT ON COLUMN execution.break_votes.ours IS 'as the break stood when the vote was cast';
COMMENT ON COLUMN execution.break_votes.theirs IS 'as the break stood when the vote was cast';
COMMENT ON COLUMN execution.break_votes.person IS 'the role that was logged in, set by the database';

CREATE TABLE execution.break_notes (
    note_id BIGINT GENERATED ALWAYS AS IDENTITY,
    break_id UUID NOT NULL,
    person TEXT DEFAULT SESSION_USER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('note', 'owner')),
    note TEXT NOT NULL CHECK (note ~ '[^[:space:]]' AND length(note) <= 2000),
    noted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (note_id)
);
CREATE INDEX break_notes_break ON execution.break_notes (break_id);
COMMENT ON TABLE execution.break_notes IS 'What people noted on breaks, and who owns them: the last owner counts. Append-only.';
COMMENT ON COLUMN execution.break_notes.person IS 'the role that was logged in, set by the database';
COMMENT ON COLUMN execution.break_notes.kind IS 'note, owner';

CREATE TABLE execution.replay_requests (
    request_id BIGINT GENERATED ALWAYS AS IDENTITY,
    dead_letter_id UUID NOT NULL,
    again BOOLEAN DEFAULT false NOT NULL,
    person TEXT DEFAULT SESSION_USER NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    PRIMARY KEY (request_id)
);
CREATE INDEX replay_requests_open ON execution.replay_requests (request_id) WHERE done_at IS NULL;
COMMENT ON TABLE execution.replay_requests IS 'Dead letters that a person wants handed in again, and what became of each.';
COMMENT ON COLUMN execution.replay_requests.again IS 'also where it was replayed with success';
COMMENT ON COLUMN execution.replay_requests.person IS 'the role that was logged in, set by the database';
COMMENT ON COLUMN execution.replay_requests.outcome IS 'landed, duplicate, pending, skipped, or dead letter again with the reason';

CREATE TABLE execution.desk_outcomes (
    resolution_id UUID NOT NULL,
    break_id UUID NOT NULL,
    votes BIGINT[] NOT NULL,
    outcome TEXT NOT NULL,
    why TEXT,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (resolution_id)
);
CREATE INDEX desk_outcomes_break ON execution.desk_outcomes (break_id);
COMMENT ON TABLE execution.desk_outcomes IS 'What two persons'' verdict came to, written with the rows that it changed.';
COMMENT ON COLUMN execution.desk_outcomes.votes IS 'the votes it answers: they are used up';
COMMENT ON COLUMN execution.desk_outcomes.outcome IS 'applied, refused';
COMMENT ON COLUMN execution.desk_outcomes.why IS 'of a refused one: why it does not apply, and what can be done';

-- A vote is a person's, on an open break, as it stands. Errors: EA002 not a person's login, EA003 no open break,
-- EA004 the break has changed since.
CREATE FUNCTION execution.stamp_vote() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    standing execution.breaks;
BEGIN
    IF (SELECT r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'MEMBER')
        FROM pg_roles r, pg_namespace n WHERE r.rolname = session_user AND n.nspname = 'execution') THEN
        RAISE EXCEPTION '% is the service''s own login, and a vote is a person''s', session_user
            USING ERRCODE = 'EA002', HINT = 'execution-agent people add NAME makes a login for a person';
    END IF;
    SELECT * INTO standing FROM execution.breaks WHERE break_id = NEW.break_id AND ended_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'break % is not open', NEW.break_id USING ERRCODE = 'EA003';
    END IF;
    IF (standing.ours, standing.theirs) IS DISTINCT FROM (NEW.ours, NEW.theirs) THEN
        RAISE EXCEPTION 'the break has changed since: ours %, theirs %', standing.ours, standing.theirs
            USING ERRCODE = 'EA004';
    END IF;
    NEW.correlation_id := standing.correlation_id;
    NEW.person := session_user;
    NEW.at_ns := (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint;
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp_vote BEFORE INSERT ON execution.break_votes
    FOR EACH ROW EXECUTE FUNCTION execution.stamp_vote();

CREATE FUNCTION execution.stamp_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM execution.breaks WHERE break_id = NEW.break_id) THEN
        RAISE EXCEPTION 'there is no break %', NEW.break_id USING ERRCODE = 'EA003';
    END IF;
    NEW.person := session_user;
    NEW.noted_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp_note BEFORE INSERT ON execution.break_notes
    FOR EACH ROW EXECUTE FUNCTION execution.stamp_note();

CREATE FUNCTION execution.stamp_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM execution.dead_letters WHERE dead_letter_id = NEW.dead_letter_id) THEN
        RAISE EXCEPTION 'there is no dead letter %', NEW.dead_letter_id USING ERRCODE = 'EA003';
    END IF;
    NEW.person := session_user;
    NEW.requested_at := clock_timestamp();
    NEW.done_at := NULL;
    NEW.outcome := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp_request BEFORE INSERT ON execution.replay_requests
    FOR EACH ROW EXECUTE FUNCTION execution.stamp_request();

CREATE FUNCTION execution.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: add a row instead', TG_TABLE_NAME USING ERRCODE = 'EA005';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.break_votes
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.break_notes
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();

-- The group of the desk's people. Roles are the cluster's: another database's migration may make it meanwhile.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'execution_operator') THEN
        CREATE ROLE execution_operator NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role execution_operator is not there, and % may not make it', current_user
            USING ERRCODE = '42501', HINT = 'Have an administrator run CREATE ROLE execution_operator NOLOGIN; then migrate again';
END
$$;
GRANT USAGE ON SCHEMA execution TO execution_operator;
GRANT SELECT ON
    execution.breaks, execution.break_votes, execution.break_notes, execution.break_resolutions,
    execution.desk_outcomes, execution.replay_requests, execution.dead_letters, execution.orders, execution.fills,
    execution.executions, execution.slippage_metrics, execution.fills_pending, execution.order_reports,
    execution.order_references, execution.order_standings, execution.order_totals, execution.order_states,
    execution.audit_events, execution.benchmark_snapshots, execution.instruments, execution.feed_positions
    TO execution_operator;
GRANT INSERT (break_id, verdict, reason, ours, theirs) ON execution.break_votes TO execution_operator;
GRANT INSERT (break_id, kind, note) ON execution.break_notes TO execution_operator;
GRANT INSERT (dead_letter_id, again) ON execution.replay_requests TO execution_operator;

-- The landing transaction in one statement: small batches whole; of large ones what COPY does not write.
-- `doc` has one key a table or kind of change (ledger.db.landing names them). Deletes come before inserts: a
-- report may stop waiting for its intent and begin to wait for another report in one decision.
CREATE OR REPLACE FUNCTION execution.land(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
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
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns)
        SELECT
            snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns
        FROM jsonb_to_recordset(doc->'benchmark_snapshots') AS r(
            snapshot_id text, taken_on date, symbol text, bid numeric, ask numeric, bid_size numeric, ask_size
            numeric, at_ns bigint);
    END IF;
    IF doc ? 'fills' THEN
        INSERT INTO execution.fills (
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, part_of, feed, raw, received_ns)
        SELECT
            report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
            venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px,
            currency, fee, fee_currency, liquidity, transact_ns, part_of, feed, raw, received_ns
        FROM jsonb_to_recordset(doc->'fills') AS r(
            report_id uuid, content uuid, venue text, account text, symbol text, trade_date date, exec_id text,
            kind text, exec_ref_id text, cl_ord_id text, venue_order_id text, correlation_id text,
            side text, last_qty numeric, last_px numeric, cum_qty numeric, leaves_qty numeric,
            avg_px numeric, currency text, fee numeric, fee_currency text, liquidity text,
            transact_ns bigint, part_of text, feed text, raw bytea, received_ns bigint);
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
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns)
        SELECT
            report_id, content, trade_date, venue, reason, reference_kind, reference, correlation_id, since_ns
        FROM jsonb_to_recordset(doc->'fills_pending') AS r(
            report_id uuid, content uuid, trade_date date, venue text, reason text, reference_kind text,
            reference text, correlation_id text, since_ns bigint);
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
