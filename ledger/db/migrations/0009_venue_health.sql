-- Health of the venues' feeds: outages, and the times in which a venue's backup feed is counted on.

CREATE TABLE execution.feed_outages (
    outage_id UUID NOT NULL,
    venue TEXT NOT NULL,
    feed TEXT NOT NULL,
    cause TEXT NOT NULL CHECK (cause IN ('silence', 'quiet', 'gap', 'snapshots')),
    reason TEXT NOT NULL,
    began_ns BIGINT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(began_ns::double precision / 1e9)) VIRTUAL,
    told_ns BIGINT NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(told_ns::double precision / 1e9)) VIRTUAL,
    ended_ns BIGINT,
    ended_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(ended_ns::double precision / 1e9)) VIRTUAL,
    PRIMARY KEY (outage_id)
);
CREATE UNIQUE INDEX feed_outages_open ON execution.feed_outages (venue, feed) WHERE ended_ns IS NULL;
CREATE INDEX feed_outages_began ON execution.feed_outages (began_ns);
COMMENT ON TABLE execution.feed_outages IS 'Feeds that are out or were. A feed has one open row at most.';
COMMENT ON COLUMN execution.feed_outages.venue IS 'of the snapshot feed: market-data';
COMMENT ON COLUMN execution.feed_outages.feed IS 'of the snapshots of one symbol: market-data.SYMBOL';
COMMENT ON COLUMN execution.feed_outages.cause IS 'silence, quiet, gap, snapshots';
COMMENT ON COLUMN execution.feed_outages.began_ns IS 'the last that was heard of it';
COMMENT ON COLUMN execution.feed_outages.told_ns IS 'when that was long enough to be an outage';
COMMENT ON COLUMN execution.feed_outages.ended_ns IS 'from when on it was well';

CREATE TABLE execution.feed_switches (
    switch_id UUID NOT NULL,
    venue TEXT NOT NULL,
    from_feed TEXT NOT NULL,
    to_feed TEXT NOT NULL,
    cause TEXT NOT NULL CHECK (cause IN ('silence', 'quiet', 'gap')),
    reason TEXT NOT NULL,
    switched_ns BIGINT NOT NULL,
    switched_at TIMESTAMP WITH TIME ZONE
        GENERATED ALWAYS AS (to_timestamp(switched_ns::double precision / 1e9)) VIRTUAL,
    returned_ns BIGINT,
    returned_at TIMESTAMP WITH TIME ZONE
        GENERATED ALWAYS AS (to_timestamp(returned_ns::double precision / 1e9)) VIRTUAL,
    return_reason TEXT,
    PRIMARY KEY (switch_id)
);
CREATE UNIQUE INDEX feed_switches_open ON execution.feed_switches (venue) WHERE returned_ns IS NULL;
COMMENT ON TABLE execution.feed_switches IS 'Times in which a venue''s backup feed is counted on. A venue has one open row at most.';
COMMENT ON COLUMN execution.feed_switches.cause IS 'silence, quiet, gap';

GRANT SELECT ON execution.feed_outages, execution.feed_switches, execution.feed_positions TO execution_operator;
