"""Dagster's side of the ledger: the day derived again from the landed facts, compared, checked and shown.

It reads and corrects the tables of ``ledger.db`` by the rules of ``ledger.domain``; it never imports streaming.
``derivation``, ``comparison``, ``correction`` and ``expectations`` know nothing of Dagster.
"""
