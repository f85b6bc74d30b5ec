-- The landing transaction is the function execution.land (migration 0001); here is what surrounds it.

-- name: land
SELECT execution.land($1::jsonb)

-- name: land_with_delays
-- One statement, one transaction; the ended ones go first in each.
SELECT execution.land($1::jsonb), execution.land_delays($2::jsonb)

-- name: ensure_partitions
SELECT execution.ensure_partitions(day) FROM unnest($1::date[]) AS day
