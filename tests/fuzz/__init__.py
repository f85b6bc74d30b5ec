"""Fuzzing of what reads other people's bytes: ``make fuzz MINUTES=10``; a bounded slice runs with the tests.

python -m tests.fuzz --minutes 10 --seed 1
"""
