-- Reference data of the venues' symbols (ledger/domain/instruments.py).

-- name: instruments
SELECT venue, symbol, kind, base, quote, settlement, contract_size, multiplier, tick, lot
FROM execution.instruments
ORDER BY venue, symbol
