-- What is known of the audit log beside its rows: leaves whose partition was dropped, and when it was verified.

CREATE TABLE execution.audit_dropped_leaves (
    first_leaf BIGINT NOT NULL CHECK (first_leaf >= 0),
    last_leaf BIGINT NOT NULL CHECK (last_leaf >= first_leaf),
    recorded_on DATE NOT NULL,
    dropped_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (first_leaf)
);
COMMENT ON TABLE execution.audit_dropped_leaves IS 'Leaves of audit events whose partition was dropped: from first to last. Append-only.';
COMMENT ON COLUMN execution.audit_dropped_leaves.recorded_on IS 'the day of the partition: its archive has the rows';

CREATE TABLE execution.audit_verifications (
    verification_id BIGINT GENERATED ALWAYS AS IDENTITY,
    verified_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    from_size BIGINT NOT NULL CHECK (from_size >= 0),
    tree_size BIGINT NOT NULL CHECK (tree_size >= from_size),
    root_hash BYTEA NOT NULL,
    problems TEXT[] NOT NULL,
    faults TEXT[] NOT NULL,
    PRIMARY KEY (verification_id)
);
COMMENT ON TABLE execution.audit_verifications IS 'Each scheduled verification of the audit log. Append-only.';
COMMENT ON COLUMN execution.audit_verifications.from_size IS 'events that an earlier one had verified: their root was compared';
COMMENT ON COLUMN execution.audit_verifications.tree_size IS 'events of the checkpoint in the bucket that it went to';
COMMENT ON COLUMN execution.audit_verifications.problems IS 'what is not as it was logged; {} is good';
COMMENT ON COLUMN execution.audit_verifications.faults IS 'what somebody put into the bucket beside the log';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.audit_dropped_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.audit_verifications
    FOR EACH STATEMENT EXECUTE FUNCTION execution.refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON execution.audit_dropped_leaves, execution.audit_verifications FROM CURRENT_USER;
GRANT SELECT ON execution.audit_dropped_leaves, execution.audit_verifications TO execution_operator;
