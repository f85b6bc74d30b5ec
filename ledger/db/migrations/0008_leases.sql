-- The writer's lease as a row with a token: a process that is stopped keeps its session, and with it the advisory
-- lock that was all there was.

CREATE TABLE execution.leases (
    writer TEXT NOT NULL,
    token BIGINT NOT NULL,
    holder TEXT NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE NOT NULL,
    renewed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (writer)
);
COMMENT ON TABLE execution.leases IS 'Who writes: one process a writer''s name.';
COMMENT ON COLUMN execution.leases.token IS
    'one more each time the lease is taken; checked by every landing transaction';
COMMENT ON COLUMN execution.leases.expires_at IS 'after it another may take it';
