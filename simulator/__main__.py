"""``python -m simulator --config FILE.json``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

from simulator.capture import CaptureError
from simulator.config import Config, ConfigError, load
from simulator.simulation import Simulation


async def _run(config: Config) -> None:
    simulation = Simulation(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, simulation.leave)
    await simulation.run()


def main() -> int:
    """Run until told to stop; what cannot work is said in one line."""
    parser = argparse.ArgumentParser(prog="simulator", description="Venues to practise against.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see docs/simulator.md")
    try:
        asyncio.run(_run(load(parser.parse_args().config)))
    except (ConfigError, CaptureError, OSError, sqlite3.OperationalError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
