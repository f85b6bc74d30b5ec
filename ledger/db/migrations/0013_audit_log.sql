-- The audit log: audit_events that nobody changes, the Merkle tree over them, and the acts of persons as events.

-- Who wrote an event: the login, and the SPIFFE id that the process says it has. Rows of before have neither.
ALTER TABLE execution.audit_events ADD COLUMN recorded_by TEXT DEFAULT '' NOT NULL;
ALTER TABLE execution.audit_events ALTER COLUMN recorded_by
    SET DEFAULT SESSION_USER::text || coalesce(' ' || nullif(current_setting('execution.process', true), ''), '');
COMMENT ON COLUMN execution.audit_events.recorded_by IS 'the login that wrote it, set by the database, and the SPIFFE id of its process, as that says';
CREATE INDEX audit_events_event ON execution.audit_events (event_id);

CREATE TABLE execution.audit_tree (
    log TEXT NOT NULL,
    origin TEXT NOT NULL,
    tree_size BIGINT NOT NULL CHECK (tree_size >= 0),
    xid xid8 NOT NULL,
    position BIGINT NOT NULL,
    stored_size BIGINT DEFAULT 0 NOT NULL,
    tiled_size BIGINT DEFAULT 0 NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (log)
);
COMMENT ON TABLE execution.audit_tree IS 'How far the audit events are in the Merkle tree: one row.';
COMMENT ON COLUMN execution.audit_tree.origin IS 'the log''s name, first line of its checkpoints';
COMMENT ON COLUMN execution.audit_tree.xid IS 'of the last leaf: leaves are in the order of (xid, position)';
COMMENT ON COLUMN execution.audit_tree.stored_size IS 'of the last checkpoint in the locked bucket';
COMMENT ON COLUMN execution.audit_tree.tiled_size IS 'leaves whose full tiles are in the locked bucket';

CREATE TABLE execution.audit_tiles (
    level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    number BIGINT NOT NULL,
    hashes BYTEA NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    first_xid xid8,
    first_position BIGINT,
    PRIMARY KEY (level, number),
    CHECK ((level = 0) = (first_xid IS NOT NULL AND first_position IS NOT NULL))
);
ALTER TABLE execution.audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes do not compress
CREATE INDEX audit_tiles_first ON execution.audit_tiles (first_xid, first_position) WHERE level = 0;
COMMENT ON TABLE execution.audit_tiles IS 'The Merkle tree over the audit events in tiles of 256 hashes, laid out as c2sp.org/tlog-tiles says.';
COMMENT ON COLUMN execution.audit_tiles.level IS 'tiles of level n hold the nodes of height 8 n';
COMMENT ON COLUMN execution.audit_tiles.hashes IS 'SHA-256, 32 bytes each, from the left; fewer than 256 where the tree ends';
COMMENT ON COLUMN execution.audit_tiles.first_xid IS 'of its first leaf, level 0 only';
COMMENT ON COLUMN execution.audit_tiles.first_position IS 'of its first leaf, level 0 only';

-- Append-only: the service's own login is refused, too. A trigger for each row is copied to every partition, one
-- for TRUNCATE is not: ensure_partitions makes it.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON execution.audit_events
    FOR EACH ROW EXECUTE FUNCTION execution.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();
CREATE FUNCTION execution.protect_audit_partition(child text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER append_only BEFORE TRUNCATE ON execution.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change()', child);
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON execution.%I FROM CURRENT_USER', child);
END
$$;
SELECT execution.protect_audit_partition(relname)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'execution.audit_events'::regclass;
REVOKE UPDATE, DELETE, TRUNCATE ON execution.audit_events, execution.audit_checkpoints FROM CURRENT_USER;

-- Makes the partitions of one day. Serialised by an advisory lock; a day that exists is left alone. So is a day of
-- which the default partition already holds rows: it goes on there.
CREATE OR REPLACE FUNCTION execution.ensure_partitions(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('execution.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['fills', 'executions', 'slippage_metrics', 'benchmark_snapshots', 'audit_events',
                                'order_reports', 'slippage_finals', 'order_costs']
    LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('execution.' || child) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE execution.%I PARTITION OF execution.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, day, day + 1);
                IF parent = 'audit_events' THEN
                    PERFORM execution.protect_audit_partition(child);
                END IF;
            EXCEPTION WHEN check_violation THEN
                RAISE WARNING 'execution.% goes on in the default partition, which has rows of that day', child;
            END;
        END IF;
    END LOOP;
END
$$;

-- What a person or a program beside the streaming process did, as an audit event. Only the schema's owner calls it;
-- persons' rows do so by triggers, which run as the owner while session_user stays the person.
CREATE FUNCTION execution.record_act(event text, subject uuid, key text, correlation_id text, detail jsonb)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id uuid := gen_random_uuid();
    today date := (now() AT TIME ZONE 'UTC')::date;
    texts jsonb;
BEGIN
    IF to_regclass('execution.audit_events_' || to_char(today, 'YYYYMMDD')) IS NULL THEN
        PERFORM execution.ensure_partitions(today);
    END IF;
    SELECT coalesce(jsonb_object_agg(d.key, d.value), '{}') INTO texts FROM jsonb_each_text(detail) d;
    INSERT INTO execution.audit_events (event_id, event_type, key, body)
    VALUES (new_id, event, key, convert_to(json_build_object(
        'event', event,
        'event_id', replace(new_id::text, '-', ''),
        'correlation_id', correlation_id,
        'subject', replace(subject::text, '-', ''),
        'detail', texts || jsonb_build_object(
            'person', session_user, 'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    )::text, 'UTF8'));
    RETURN new_id;
END
$$;
REVOKE ALL ON FUNCTION execution.record_act(text, uuid, text, text, jsonb) FROM PUBLIC;

-- Triggers' arguments: the event's type; its subject's column, or '' where the row has no id but its number; the
-- column that is its key, or '' for the correlation id of the break it is about.
CREATE FUNCTION execution.tell_act() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told jsonb := to_jsonb(NEW) - 'person';
    subject uuid;
    correlation text := to_jsonb(NEW)->>'correlation_id';
    event text := TG_ARGV[0];
BEGIN
    IF TG_ARGV[1] = '' THEN
        subject := md5('execution.' || TG_TABLE_NAME || ':' || (told->>'request_id'))::uuid;
    ELSE
        subject := (told->>TG_ARGV[1])::uuid;
    END IF;
    IF TG_ARGV[2] = '' THEN
        correlation := (SELECT b.correlation_id FROM execution.breaks b WHERE b.break_id = subject);
    END IF;
    IF told->>'kind' = 'owner' THEN
        event := 'break_assigned';
    END IF;
    SELECT jsonb_object_agg(t.key, t.value) INTO told FROM jsonb_each(jsonb_strip_nulls(told)) t
    WHERE t.key IN ('from_ns', 'until_ns')
       OR (t.key NOT LIKE '%\_at' AND t.key NOT LIKE '%\_ns' AND t.key <> 'correlation_id');
    PERFORM execution.record_act(event, subject, CASE TG_ARGV[2]
        WHEN '' THEN coalesce(correlation, '')
        WHEN TG_ARGV[1] THEN replace(subject::text, '-', '')  -- as other events of it are keyed
        ELSE to_jsonb(NEW)->>TG_ARGV[2]
    END, correlation, told);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION execution.tell_act() FROM PUBLIC;
CREATE TRIGGER tell_act AFTER INSERT ON execution.break_votes
    FOR EACH ROW EXECUTE FUNCTION execution.tell_act('break_voted', 'break_id', '');
CREATE TRIGGER tell_act AFTER INSERT ON execution.break_notes
    FOR EACH ROW EXECUTE FUNCTION execution.tell_act('break_noted', 'break_id', '');
CREATE TRIGGER tell_act AFTER INSERT ON execution.replay_requests
    FOR EACH ROW EXECUTE FUNCTION execution.tell_act('replay_requested', 'dead_letter_id', 'dead_letter_id');
CREATE TRIGGER tell_act AFTER INSERT ON execution.halt_requests
    FOR EACH ROW EXECUTE FUNCTION execution.tell_act('halt_requested', '', 'venue');
CREATE TRIGGER tell_act AFTER INSERT ON execution.look_back_requests
    FOR EACH ROW EXECUTE FUNCTION execution.tell_act('look_back_requested', '', 'venue');

GRANT SELECT ON execution.audit_tree, execution.audit_tiles, execution.audit_checkpoints TO execution_operator;
