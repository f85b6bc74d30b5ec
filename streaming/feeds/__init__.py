"""Feeds: each hands arrivals to the inbox with a position, and goes on where Postgres says it stands."""
