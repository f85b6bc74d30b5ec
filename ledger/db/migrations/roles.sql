-- Who may do what: run after every migration, as land.sql is, so that a new table or a replaced function is covered.
--
-- Roles are the cluster's and cannot log in; a site gives them to logins of its own. They have nothing on partitions:
-- everything goes through the partitioned table, whose rights count for all its partitions, those of days to come too.
-- What else persons of execution_operator may do is granted in 0005 and after. docs/security.md has the whole table.
DO $$
DECLARE
    group_role text;
    missing text[] := '{}';
BEGIN
    FOREACH group_role IN ARRAY ARRAY['execution_writer', 'execution_publisher', 'execution_dagster',
                                      'execution_analyst', 'execution_auditor', 'execution_operator']
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = group_role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', group_role);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database's migration has made it meanwhile
            WHEN insufficient_privilege THEN
                missing := missing || format('CREATE ROLE %I NOLOGIN;', group_role);
        END;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE EXCEPTION '% may not make roles: have an administrator run  %  and migrate again',
            current_user, array_to_string(missing, ' ') USING ERRCODE = '42501';
    END IF;
END
$$;

DO $$
DECLARE
    role_names constant text := 'execution_writer, execution_publisher, execution_dagster, execution_analyst, '
                                'execution_auditor';
    given record;
BEGIN
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA execution FROM ' || role_names;
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA execution FROM PUBLIC, ' || role_names;
    EXECUTE 'GRANT USAGE ON SCHEMA execution TO ' || role_names;
    -- column rights do not go with a table's
    FOR given IN
        SELECT DISTINCT format('REVOKE ALL (%I) ON execution.%I FROM %s', a.attname, c.relname, role_names) AS statement
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'execution'::regnamespace AND a.attacl IS NOT NULL AND NOT a.attisdropped
    LOOP
        EXECUTE given.statement;
    END LOOP;

    -- reading: the writer decides, and Dagster derives, from everything
    FOR given IN
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'execution'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    LOOP
        EXECUTE format('GRANT SELECT ON execution.%I TO execution_writer, execution_dagster, execution_auditor',
                       given.relname);
    END LOOP;

    FOR given IN
        SELECT g.role, g.verbs, t.name FROM (VALUES
            ('execution_writer', 'INSERT',
             'orders fills order_reports order_references benchmark_snapshots dead_letters '
             'break_resolutions desk_outcomes look_back_audits audit_checkpoints'),
            -- who wrote it and when are the database's to say
            ('execution_writer', 'INSERT (event_id, event_type, key, body)', 'audit_events'),
            ('execution_writer', 'INSERT, UPDATE',
             'executions breaks order_standings order_totals halts clock_alerts feed_outages '
             'feed_switches feed_counts feed_positions fill_delays provisional_hedges completeness_findings leases '
             'audit_tree audit_tiles'),
            ('execution_writer', 'INSERT, UPDATE, DELETE', 'fills_pending slippage_metrics'),
            ('execution_writer', 'UPDATE (replayed_at, replay_outcome)', 'dead_letters'),
            ('execution_writer', 'UPDATE (done_at, outcome)', 'replay_requests halt_requests'),
            ('execution_writer', 'UPDATE (done_at, outcome, theirs, ours, missing, handed_in, unconfirmed)',
             'look_back_requests'),
            ('execution_publisher', 'SELECT', 'audit_events dead_letters'),
            ('execution_publisher', 'SELECT, INSERT, UPDATE', 'publish_cursors'),
            ('execution_dagster', 'INSERT, UPDATE, DELETE',
             'executions slippage_metrics executions_derived derivations slippage_finals order_costs '
             'reconciliation_breaks venue_quality check_outcomes'),
            ('execution_dagster', 'INSERT, UPDATE', 'archives'),
            ('execution_dagster', 'INSERT (from_size, tree_size, root_hash, problems, faults)', 'audit_verifications'),
            ('execution_dagster', 'INSERT (dead_letter_id, again)', 'replay_requests'),
            ('execution_analyst', 'SELECT',
             'orders order_states fills order_reports executions slippage_metrics slippage_finals order_costs '
             'benchmark_snapshots instruments breaks reconciliation_breaks venue_quality executions_derived '
             'derivations check_outcomes fills_pending order_standings order_totals halts feed_outages feed_switches '
             'fill_delays provisional_hedges look_back_audits completeness_findings'),
            ('execution_operator', 'SELECT',
             'slippage_finals order_costs reconciliation_breaks venue_quality executions_derived derivations '
             'check_outcomes'),
            ('execution_auditor', 'UPDATE (verified_at, legal_hold, key_id)', 'archives')
        ) AS g(role, verbs, names)
        CROSS JOIN LATERAL string_to_table(g.names, ' ') AS t(name)
        -- a database on its way up has not got them all yet
        WHERE to_regclass('execution.' || t.name) IS NOT NULL
    LOOP
        EXECUTE format('GRANT %s ON execution.%I TO %I', given.verbs, given.name, given.role);
    END LOOP;

    FOR given IN
        SELECT g.role, to_regprocedure('execution.' || g.signature) AS function FROM (VALUES
            ('execution_writer', 'land(jsonb)'),
            ('execution_writer', 'land_delays(jsonb)'),
            ('execution_writer', 'land_completeness(jsonb)'),
            ('execution_writer', 'ensure_partitions(date)'),
            ('execution_dagster', 'ensure_partitions(date)'),
            ('execution_dagster', 'record_correction(date,bigint,bigint,text,text)'),
            ('execution_dagster', 'hand_in_archive_access(uuid,text,jsonb)'),
            ('execution_auditor', 'record_archive_access(uuid,text,jsonb)'),
            ('execution_operator', 'record_person(text,text)'),
            ('execution_auditor', 'record_person(text,text)'),
            ('execution_analyst', 'record_person(text,text)')
        ) AS g(role, signature)
    LOOP
        IF given.function IS NOT NULL THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', given.function, given.role);
        END IF;
    END LOOP;

    -- Partitions belong to the schema's owner whoever asks for them. The writer cannot put anything in the path.
    ALTER FUNCTION execution.ensure_partitions(date) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
END
$$;
