"""Dagster's sensors. The decision of each is a pure function beside it, with a table of cases as its test."""
