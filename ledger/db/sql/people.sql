-- The desk's people: logins of the cluster that are members of execution_operator.

-- name: listed
SELECT r.rolname AS name, r.rolcanlogin AS may_log_in, r.rolsuper AS is_superuser
FROM pg_auth_members m
JOIN pg_roles r ON r.oid = m.member
JOIN pg_roles g ON g.oid = m.roleid
WHERE g.rolname = 'execution_operator'
ORDER BY r.rolname

-- name: one
SELECT r.rolname AS name, r.rolcanlogin AS may_log_in, r.rolsuper AS is_superuser,
       pg_has_role(r.oid, 'execution_operator', 'MEMBER') AS is_person
FROM pg_roles r WHERE r.rolname = %(name)s

-- name: tell
SELECT execution.record_act(%(event)s, md5('execution.person:' || %(name)s)::uuid, %(name)s, NULL,
                            jsonb_build_object('login', %(name)s::text))
