"""``make outages``: each server fails in every way, under load; then promises and books are checked."""
