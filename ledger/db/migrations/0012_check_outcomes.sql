-- What each check of a day found last: the day's report shows it, and it outlives Dagster's event log.

CREATE TABLE execution.check_outcomes (
    trade_date DATE NOT NULL,
    asset TEXT NOT NULL,
    check_name TEXT NOT NULL,
    passed BOOLEAN NOT NULL,
    severity TEXT NOT NULL,
    blocking BOOLEAN NOT NULL,
    row_count BIGINT NOT NULL,
    failing BIGINT NOT NULL,
    findings JSONB NOT NULL,
    skipped TEXT,
    description TEXT NOT NULL,
    remedy TEXT NOT NULL,
    of_digest TEXT,
    checked_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (trade_date, asset, check_name)
);
COMMENT ON TABLE execution.check_outcomes IS 'What each check of a day found when it last looked.';
COMMENT ON COLUMN execution.check_outcomes.severity IS 'of a failure: ERROR, WARN';
COMMENT ON COLUMN execution.check_outcomes.blocking IS 'nothing downstream is made while it fails';
COMMENT ON COLUMN execution.check_outcomes.row_count IS 'rows that were looked at';
COMMENT ON COLUMN execution.check_outcomes.findings IS 'at most twenty [row, what is wrong with it]';
COMMENT ON COLUMN execution.check_outcomes.skipped IS 'why there was nothing to judge';
COMMENT ON COLUMN execution.check_outcomes.of_digest IS 'derived_digest of the executions that were judged';
