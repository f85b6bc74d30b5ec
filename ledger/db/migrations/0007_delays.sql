-- Fill delays: orders in flight that were late, and the provisional hedges asked for meanwhile.
--
-- The table of 0001 had no delay, and nothing wrote to it.

CREATE TABLE execution.fill_delays (
    delay_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    episode INTEGER NOT NULL CHECK (episode >= 1),
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    order_type TEXT NOT NULL CHECK (order_type IN ('market', 'limit')),
    leaves_qty NUMERIC NOT NULL,
    cum_qty NUMERIC NOT NULL,
    feed TEXT NOT NULL,
    samples INTEGER NOT NULL,
    expected_ns BIGINT NOT NULL,
    since_ns BIGINT NOT NULL,
    since_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(since_ns::double precision / 1e9)) VIRTUAL,
    began_ns BIGINT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(began_ns::double precision / 1e9)) VIRTUAL,
    ended_ns BIGINT,
    ended_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(ended_ns::double precision / 1e9)) VIRTUAL,
    outcome TEXT CHECK (outcome IN ('filled', 'partially_filled', 'closed', 'working')),
    filled_qty NUMERIC,
    PRIMARY KEY (delay_id)
);
CREATE UNIQUE INDEX fill_delays_episode ON execution.fill_delays (correlation_id, episode);
CREATE UNIQUE INDEX fill_delays_open ON execution.fill_delays (correlation_id) WHERE ended_ns IS NULL;
COMMENT ON TABLE execution.fill_delays IS 'Orders in flight that were late, and what ended it. An order has one open row at most.';
COMMENT ON COLUMN execution.fill_delays.episode IS 'which delay of the order, from 1';
COMMENT ON COLUMN execution.fill_delays.order_type IS 'market, limit';
COMMENT ON COLUMN execution.fill_delays.feed IS 'the state of the venue''s feed';
COMMENT ON COLUMN execution.fill_delays.samples IS 'past orders that the time is learned from; 0: configured';
COMMENT ON COLUMN execution.fill_delays.expected_ns IS 'how long such an order was expected to take';
COMMENT ON COLUMN execution.fill_delays.outcome IS 'filled, partially_filled, closed, working';
COMMENT ON COLUMN execution.fill_delays.filled_qty IS 'what filled since the delay began';

DROP TABLE execution.provisional_hedges;
CREATE TABLE execution.provisional_hedges (
    hedge_id UUID NOT NULL,
    delay_id UUID NOT NULL,
    correlation_id TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity NUMERIC NOT NULL,
    price NUMERIC NOT NULL,
    exposure NUMERIC NOT NULL,
    currency TEXT NOT NULL,
    limit_value NUMERIC NOT NULL,
    snapshot_id TEXT NOT NULL,
    snapshot_age_ns BIGINT NOT NULL,
    confidence TEXT NOT NULL CHECK (confidence IN ('high', 'medium', 'low')),
    basis TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('requested', 'confirmed', 'adjusted', 'withdrawn')),
    requested_ns BIGINT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(requested_ns::double precision / 1e9)) VIRTUAL,
    settled_ns BIGINT,
    settled_at TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS (to_timestamp(settled_ns::double precision / 1e9)) VIRTUAL,
    filled_qty NUMERIC,
    difference NUMERIC,
    PRIMARY KEY (hedge_id),
    CHECK ((status = 'requested') = (settled_ns IS NULL)),
    CHECK (quantity + difference = filled_qty)
);
CREATE UNIQUE INDEX provisional_hedges_delay ON execution.provisional_hedges (delay_id);
CREATE UNIQUE INDEX provisional_hedges_open ON execution.provisional_hedges (correlation_id) WHERE settled_ns IS NULL;
COMMENT ON TABLE execution.provisional_hedges IS 'Hedges asked for on an estimated fill, and what became of them: one a delay at most.';
COMMENT ON COLUMN execution.provisional_hedges.side IS 'the hedge''s: the other one than the order''s';
COMMENT ON COLUMN execution.provisional_hedges.price IS 'of the estimated fill';
COMMENT ON COLUMN execution.provisional_hedges.exposure IS 'LeavesQty at the mid';
COMMENT ON COLUMN execution.provisional_hedges.currency IS 'of the exposure and the limit';
COMMENT ON COLUMN execution.provisional_hedges.limit_value IS 'the venue''s limit, which the exposure passed';
COMMENT ON COLUMN execution.provisional_hedges.confidence IS 'high, medium, low';
COMMENT ON COLUMN execution.provisional_hedges.status IS 'requested, confirmed, adjusted, withdrawn';
COMMENT ON COLUMN execution.provisional_hedges.filled_qty IS 'what filled since the delay began';
COMMENT ON COLUMN execution.provisional_hedges.difference IS 'filled_qty less quantity';

GRANT SELECT ON execution.fill_delays, execution.provisional_hedges TO execution_operator;

-- What a landing changes about delays and hedges, called beside execution.land in its transaction: few do. Updates
-- come first: an order whose delay ends may be late again in the same batch.
CREATE FUNCTION execution.land_delays(doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE execution.fill_delays d
    SET ended_ns = c.ended_ns, outcome = c.outcome, filled_qty = c.filled_qty
    FROM jsonb_to_recordset(doc->'delays_ended') AS c(
        delay_id uuid, ended_ns bigint, outcome text, filled_qty numeric)
    WHERE d.delay_id = c.delay_id AND d.ended_ns IS NULL;
    UPDATE execution.provisional_hedges h
    SET status = c.status, settled_ns = c.settled_ns, filled_qty = c.filled_qty, difference = c.difference
    FROM jsonb_to_recordset(doc->'hedges_ended') AS c(
        hedge_id uuid, status text, settled_ns bigint, filled_qty numeric, difference numeric)
    WHERE h.hedge_id = c.hedge_id AND h.settled_ns IS NULL;
    INSERT INTO execution.fill_delays (
        delay_id, correlation_id, episode, venue, symbol, side, order_type, leaves_qty, cum_qty, feed, samples,
        expected_ns, since_ns, began_ns)
    SELECT
        delay_id, correlation_id, episode, venue, symbol, side, order_type, leaves_qty, cum_qty, feed, samples,
        expected_ns, since_ns, began_ns
    FROM jsonb_to_recordset(doc->'delays') AS c(
        delay_id uuid, correlation_id text, episode integer, venue text, symbol text, side text, order_type text,
        leaves_qty numeric, cum_qty numeric, feed text, samples integer, expected_ns bigint, since_ns bigint,
        began_ns bigint);
    INSERT INTO execution.provisional_hedges (
        hedge_id, delay_id, correlation_id, venue, symbol, side, quantity, price, exposure, currency, limit_value,
        snapshot_id, snapshot_age_ns, confidence, basis, status, requested_ns)
    SELECT
        hedge_id, delay_id, correlation_id, venue, symbol, side, quantity, price, exposure, currency, limit_value,
        snapshot_id, snapshot_age_ns, confidence, basis, status, requested_ns
    FROM jsonb_to_recordset(doc->'hedges') AS c(
        hedge_id uuid, delay_id uuid, correlation_id text, venue text, symbol text, side text, quantity numeric,
        price numeric, exposure numeric, currency text, limit_value numeric, snapshot_id text,
        snapshot_age_ns bigint, confidence text, basis text, status text, requested_ns bigint);
END
$$;
