-- Looking back: audits of a venue's list of fills against ours, what they found, and persons' requests.

-- Our fills of a span of time, by the venue's clock. Rows come nearly in that order, so a block range is enough and
-- costs a landing nothing.
CREATE INDEX fills_transacted ON execution.fills USING brin (transact_ns) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE execution.look_back_audits (
    audit_id UUID NOT NULL,
    venue TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('audit', 'order', 'request', 'recovery')),
    from_ns BIGINT NOT NULL,
    from_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(from_ns::double precision / 1e9)) VIRTUAL,
    until_ns BIGINT NOT NULL,
    until_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(until_ns::double precision / 1e9)) VIRTUAL,
    compared_ns BIGINT NOT NULL,
    compared_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(compared_ns::double precision / 1e9)) VIRTUAL,
    theirs BIGINT NOT NULL,
    ours BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    handed_in BIGINT NOT NULL,
    unconfirmed BIGINT NOT NULL,
    PRIMARY KEY (audit_id),
    CHECK (from_ns < until_ns)
);
CREATE INDEX look_back_audits_last ON execution.look_back_audits (venue, until_ns);
COMMENT ON TABLE execution.look_back_audits IS 'Comparisons of a venue''s own list of fills with ours, over [from, until) of its clock.';
COMMENT ON COLUMN execution.look_back_audits.reason IS 'audit, order (a gap waited), request (of a person), recovery (after an outage)';
COMMENT ON COLUMN execution.look_back_audits.theirs IS 'reports of the window that the venue lists';
COMMENT ON COLUMN execution.look_back_audits.ours IS 'fills of the window that we had or have now';
COMMENT ON COLUMN execution.look_back_audits.missing IS 'reports that were not here';
COMMENT ON COLUMN execution.look_back_audits.handed_in IS 'of these, those that have landed';
COMMENT ON COLUMN execution.look_back_audits.unconfirmed IS 'our fills that the venue does not list';

CREATE TABLE execution.completeness_findings (
    finding_id UUID NOT NULL,
    audit_id UUID NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('missing', 'unconfirmed')),
    venue TEXT NOT NULL,
    report_id UUID NOT NULL,
    exec_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    correlation_id TEXT,
    transact_ns BIGINT NOT NULL,
    transact_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(transact_ns::double precision / 1e9)) VIRTUAL,
    found_ns BIGINT NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(found_ns::double precision / 1e9)) VIRTUAL,
    ended_ns BIGINT,
    ended_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(ended_ns::double precision / 1e9)) VIRTUAL,
    PRIMARY KEY (finding_id)
);
CREATE UNIQUE INDEX completeness_findings_open ON execution.completeness_findings (kind, report_id) WHERE ended_ns IS NULL;
COMMENT ON TABLE execution.completeness_findings IS 'Fills that one side had and the other had not. They end when the fill has landed, or is listed.';
COMMENT ON COLUMN execution.completeness_findings.kind IS 'missing: the venue lists it, we had it not; unconfirmed: the other way round';

CREATE TABLE execution.look_back_requests (
    request_id BIGINT GENERATED ALWAYS AS IDENTITY,
    venue TEXT NOT NULL CHECK (length(venue) BETWEEN 1 AND 200),
    from_ns BIGINT NOT NULL,
    until_ns BIGINT NOT NULL,
    person TEXT DEFAULT SESSION_USER NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    theirs BIGINT,
    ours BIGINT,
    missing BIGINT,
    handed_in BIGINT,
    unconfirmed BIGINT,
    PRIMARY KEY (request_id),
    CHECK (from_ns < until_ns)
);
CREATE INDEX look_back_requests_open ON execution.look_back_requests (request_id) WHERE done_at IS NULL;
COMMENT ON TABLE execution.look_back_requests IS 'Spans of time that persons want compared, and what became of each.';
COMMENT ON COLUMN execution.look_back_requests.person IS 'the role that was logged in, set by the database';
COMMENT ON COLUMN execution.look_back_requests.outcome IS 'done, or refused or failed with why';

GRANT SELECT ON execution.look_back_audits, execution.completeness_findings, execution.look_back_requests
    TO execution_operator;
GRANT INSERT (venue, from_ns, until_ns) ON execution.look_back_requests TO execution_operator;

-- What a landing changes about completeness, called by execution.land in its transaction: few do.
CREATE FUNCTION execution.land_completeness(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution.completeness_findings (
        finding_id, audit_id, kind, venue, report_id, exec_id, symbol, correlation_id, transact_ns, found_ns)
    SELECT finding_id, audit_id, kind, venue, report_id, exec_id, symbol, correlation_id, transact_ns, found_ns
    FROM jsonb_to_recordset(doc->'findings') AS c(
        finding_id uuid, audit_id uuid, kind text, venue text, report_id uuid, exec_id text, symbol text,
        correlation_id text, transact_ns bigint, found_ns bigint);
    UPDATE execution.completeness_findings f SET ended_ns = c.ended_ns
    FROM jsonb_to_recordset(doc->'ended') AS c(finding_id uuid, ended_ns bigint)
    WHERE f.finding_id = c.finding_id AND f.ended_ns IS NULL;
    INSERT INTO execution.look_back_audits (
        audit_id, venue, reason, from_ns, until_ns, compared_ns, theirs, ours, missing, handed_in, unconfirmed)
    SELECT audit_id, venue, reason, from_ns, until_ns, compared_ns, theirs, ours, missing, handed_in, unconfirmed
    FROM jsonb_to_recordset(doc->'audits') AS c(
        audit_id uuid, venue text, reason text, from_ns bigint, until_ns bigint, compared_ns bigint, theirs bigint,
        ours bigint, missing bigint, handed_in bigint, unconfirmed bigint);
END
$$;
