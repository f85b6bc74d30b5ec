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
