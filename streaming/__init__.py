"""The lightweight process: feeds in, ledger, events out. Never imports dagster."""
