-- Halts: venues that are halted, by us or by a person, clocks that are off, and persons' requests.
--
-- The table of 0001 had no cause, and nothing wrote to it.

DROP TABLE execution.halts;
CREATE TABLE execution.halts (
    halt_id UUID NOT NULL,
    venue TEXT NOT NULL,
    cause TEXT NOT NULL CHECK (cause IN ('latency_p95', 'late_in_a_row', 'silence', 'person')),
    reason TEXT NOT NULL,
    figure BIGINT,
    limit_value BIGINT,
    since_ns BIGINT NOT NULL,
    since_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(since_ns::double precision / 1e9)) VIRTUAL,
    halted_ns BIGINT NOT NULL,
    halted_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(halted_ns::double precision / 1e9)) VIRTUAL,
    halted_by TEXT NOT NULL,
    resumed_ns BIGINT,
    resumed_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(resumed_ns::double precision / 1e9)) VIRTUAL,
    resumed_by TEXT,
    resume_reason TEXT,
    PRIMARY KEY (halt_id)
);
CREATE UNIQUE INDEX halts_open ON execution.halts (venue) WHERE resumed_ns IS NULL;
COMMENT ON TABLE execution.halts IS 'Venues that are halted or were. A venue has one open row at most.';
COMMENT ON COLUMN execution.halts.cause IS 'latency_p95, late_in_a_row, silence, person';
COMMENT ON COLUMN execution.halts.figure IS 'what was beyond the limit: ns, of late_in_a_row reports; null by hand';
COMMENT ON COLUMN execution.halts.limit_value IS 'the limit, in the unit of the figure';
COMMENT ON COLUMN execution.halts.halted_by IS 'a person''s login, or execution-agent';

CREATE TABLE execution.clock_alerts (
    alert_id UUID NOT NULL,
    venue TEXT NOT NULL,
    offset_ns BIGINT NOT NULL,
    limit_ns BIGINT NOT NULL,
    began_ns BIGINT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(began_ns::double precision / 1e9)) VIRTUAL,
    ended_ns BIGINT,
    ended_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(ended_ns::double precision / 1e9)) VIRTUAL,
    ended_offset_ns BIGINT,
    PRIMARY KEY (alert_id)
);
CREATE UNIQUE INDEX clock_alerts_open ON execution.clock_alerts (venue) WHERE ended_ns IS NULL;
COMMENT ON TABLE execution.clock_alerts IS 'Times in which a venue''s clock was off by more than the limit.';
COMMENT ON COLUMN execution.clock_alerts.offset_ns IS 'ours less the venue''s: negative is a clock ahead';

CREATE TABLE execution.halt_requests (
    request_id BIGINT GENERATED ALWAYS AS IDENTITY,
    venue TEXT NOT NULL CHECK (length(venue) BETWEEN 1 AND 200),
    action TEXT NOT NULL CHECK (action IN ('halt', 'resume')),
    reason TEXT NOT NULL CHECK (reason ~ '[^[:space:]]' AND length(reason) <= 2000),
    person TEXT DEFAULT SESSION_USER NOT NULL,
    at_ns BIGINT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(at_ns::double precision / 1e9)) VIRTUAL,
    done_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    PRIMARY KEY (request_id)
);
CREATE INDEX halt_requests_open ON execution.halt_requests (request_id) WHERE done_at IS NULL;
COMMENT ON TABLE execution.halt_requests IS 'Halts and resumes that persons asked for, and what became of each.';
COMMENT ON COLUMN execution.halt_requests.action IS 'halt, resume';
COMMENT ON COLUMN execution.halt_requests.person IS 'the role that was logged in, set by the database';
COMMENT ON COLUMN execution.halt_requests.outcome IS 'halted, resumed, or unchanged or refused with why';

-- A request is a person's. Error: EA002 not a person's login.
CREATE FUNCTION execution.stamp_halt_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT r.rolsuper OR pg_has_role(r.oid, n.nspowner, 'MEMBER')
        FROM pg_roles r, pg_namespace n WHERE r.rolname = session_user AND n.nspname = 'execution') THEN
        RAISE EXCEPTION '% is the service''s own login, and a % is a person''s', session_user, NEW.action
            USING ERRCODE = 'EA002', HINT = 'execution-agent people add NAME makes a login for a person';
    END IF;
    NEW.person := session_user;
    NEW.at_ns := (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint;
    NEW.done_at := NULL;
    NEW.outcome := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp_halt_request BEFORE INSERT ON execution.halt_requests
    FOR EACH ROW EXECUTE FUNCTION execution.stamp_halt_request();

GRANT SELECT ON execution.halts, execution.clock_alerts, execution.halt_requests TO execution_operator;
GRANT INSERT (venue, action, reason) ON execution.halt_requests TO execution_operator;
