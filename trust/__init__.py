"""Who we are and what can be proven: Merkle log, signatures, keys, locked storage, identity. Knows no fills."""
