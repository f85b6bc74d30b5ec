-- The manifest of archives as it is written, and who opened them.
--
-- Nothing wrote to the table of 0001.

ALTER TABLE execution.archives
    ADD COLUMN table_name TEXT NOT NULL,
    ADD COLUMN revision INTEGER NOT NULL CHECK (revision >= 1),
    ADD COLUMN sha256 TEXT NOT NULL,
    ADD COLUMN size_bytes BIGINT NOT NULL,
    ADD COLUMN manifest_key TEXT NOT NULL,
    ADD COLUMN archived_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    ADD COLUMN dropped_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX archives_day ON execution.archives (record_class, trade_date, venue);
COMMENT ON COLUMN execution.archives.digest IS 'of the rows: equal digests are equal rows';
COMMENT ON COLUMN execution.archives.sha256 IS 'of the object''s bytes';
COMMENT ON COLUMN execution.archives.revision IS 'from 1; late facts of a day make another';
COMMENT ON COLUMN execution.archives.verified_at IS 'when it was last read back, decrypted and compared';
COMMENT ON COLUMN execution.archives.dropped_at IS 'when the day''s partitions were dropped from this database';

CREATE TABLE execution.archive_accesses (
    event_id UUID NOT NULL,
    event_type TEXT NOT NULL,
    person TEXT NOT NULL,
    detail JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (event_id)
);
COMMENT ON TABLE execution.archive_accesses IS 'Who opened, held or rotated archives, and why. Append-only.';
COMMENT ON COLUMN execution.archive_accesses.person IS 'the login that recorded it';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.archive_accesses
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();

-- Records an access and its audit event, once an event id. The login is the session's: nobody names another.
CREATE FUNCTION execution.record_archive_access(event uuid, kind text, told jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named text := replace(event::text, '-', '');
    said jsonb := told || jsonb_build_object('login', session_user::text);
BEGIN
    IF kind NOT IN ('archive_pulled', 'archive_queried', 'archive_hold_placed', 'archive_hold_lifted',
                    'archive_keys_rotated', 'archive_partition_dropped') THEN
        RAISE EXCEPTION 'event %: it is none of an archive', kind USING ERRCODE = '22023';
    END IF;
    IF coalesce(told->>'reason', '') = '' OR coalesce(told->>'person', '') = '' THEN
        RAISE EXCEPTION 'an access to archives says who and why: person and reason are required'
            USING ERRCODE = '22023';
    END IF;
    INSERT INTO execution.archive_accesses (event_id, event_type, person, detail)
    VALUES (event, kind, session_user, said)
    ON CONFLICT (event_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date);
    INSERT INTO execution.audit_events (event_id, event_type, key, body)
    VALUES (event, kind, named, convert_to(jsonb_build_object(
        'event', kind, 'event_id', named, 'correlation_id', NULL, 'subject', named, 'detail', said)::text, 'UTF8'));
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION execution.record_archive_access(uuid, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION execution.record_archive_access(uuid, text, jsonb) TO execution_operator;
GRANT SELECT ON execution.archives, execution.archive_accesses TO execution_operator;
