-- Who opened an archive is whom the database has let in, and nobody's word for it.

-- Writes an access and its audit event, once an event id. Only the two functions below call it.
CREATE FUNCTION execution.write_archive_access(event uuid, kind text, said jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named text := replace(event::text, '-', '');
BEGIN
    IF kind NOT IN ('archive_pulled', 'archive_queried', 'archive_hold_placed', 'archive_hold_lifted',
                    'archive_keys_rotated', 'archive_partition_dropped') THEN
        RAISE EXCEPTION 'event %: it is none of an archive', kind USING ERRCODE = '22023';
    END IF;
    IF coalesce(said->>'reason', '') = '' OR coalesce(said->>'person', '') = '' THEN
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
REVOKE ALL ON FUNCTION execution.write_archive_access(uuid, text, jsonb) FROM PUBLIC;

-- An access of the session's own login: what the caller says of person and login does not count.
CREATE OR REPLACE FUNCTION execution.record_archive_access(event uuid, kind text, told jsonb) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT execution.write_archive_access(event, kind, told || jsonb_build_object(
        'person', session_user::text, 'login', session_user::text, 'known_by', 'login'))
$$;
REVOKE ALL ON FUNCTION execution.record_archive_access(uuid, text, jsonb) FROM execution_operator;

-- An access of the time when Postgres was away, by its signed receipt: the person is as named then, which the event
-- says, and the login is whoever hands it in. For Dagster's process alone.
CREATE FUNCTION execution.hand_in_archive_access(event uuid, kind text, told jsonb) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT execution.write_archive_access(event, kind, told || jsonb_build_object(
        'login', session_user::text, 'known_by', 'claim'))
$$;
REVOKE ALL ON FUNCTION execution.hand_in_archive_access(uuid, text, jsonb) FROM PUBLIC;
