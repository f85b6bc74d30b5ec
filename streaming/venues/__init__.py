"""Wire formats of venues: raw bytes -> ``FillReport``, pure functions, one module a format."""
