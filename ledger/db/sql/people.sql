-- Persons: logins of the cluster that are members of the groups of operations.people. A member of the writer's or the
-- publisher's group is a program, and so is one that inherits Dagster's rights; a person who may backfill does not.

-- name: listed
SELECT r.rolname AS name, r.rolcanlogin AS may_log_in,
       array_agg(DISTINCT CASE g.rolname WHEN 'execution_dagster' THEN 'backfill'
                          ELSE substr(g.rolname, length('execution_') + 1) END)
           FILTER (WHERE m.set_option OR m.inherit_option)
       || CASE WHEN r.rolcreaterole THEN ARRAY['administrator'] ELSE '{}' END AS roles
FROM pg_auth_members m
JOIN pg_roles r ON r.oid = m.member
JOIN pg_roles g ON g.oid = m.roleid
WHERE g.rolname IN ('execution_operator', 'execution_auditor', 'execution_analyst', 'execution_dagster')
  AND NOT (g.rolname = 'execution_dagster' AND m.inherit_option)
GROUP BY r.rolname, r.rolcanlogin, r.rolcreaterole
ORDER BY r.rolname

-- name: one
SELECT r.rolname AS name, r.rolcanlogin AS may_log_in, r.rolsuper AS is_superuser,
       EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
               WHERE m.member = r.oid AND g.rolname IN (
                   'execution_operator', 'execution_auditor', 'execution_analyst', 'execution_dagster')) AS is_person
FROM pg_roles r WHERE r.rolname = %(name)s

-- name: logged_in
-- Of a superuser every membership is true: a superuser is no person.
SELECT r.rolname AS name, r.rolsuper AS is_superuser,
       r.rolsuper OR r.rolcreaterole AND NOT serves AS may_add_persons,
       NOT r.rolsuper AND NOT serves AND roles <> '{}' AS is_person,
       roles
FROM pg_roles r
CROSS JOIN LATERAL (
    SELECT NOT r.rolsuper AND (pg_has_role(r.oid, 'execution_writer', 'MEMBER')
                               OR pg_has_role(r.oid, 'execution_publisher', 'MEMBER')
                               OR pg_has_role(r.oid, 'execution_dagster', 'USAGE')) AS serves,
           array_remove(ARRAY[
               CASE WHEN pg_has_role(r.oid, 'execution_operator', 'USAGE') THEN 'operator' END,
               CASE WHEN pg_has_role(r.oid, 'execution_auditor', 'USAGE') THEN 'auditor' END,
               CASE WHEN pg_has_role(r.oid, 'execution_analyst', 'USAGE') THEN 'analyst' END,
               CASE WHEN pg_has_role(r.oid, 'execution_dagster', 'SET') THEN 'backfill' END,
               CASE WHEN r.rolcreaterole THEN 'administrator' END], NULL) AS roles
) has
WHERE r.rolname = session_user

-- name: tell
SELECT execution.record_person(%(event)s, %(name)s)
